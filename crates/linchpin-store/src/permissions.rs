//! Files that only their owner can read, in directories that only their owner can change (P2).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

use crate::StoreError;

/// Makes `dir` (and its parents) with mode 0700 if it is not there, and checks that nobody else could put a file
/// of theirs in it: it must be ours, no link, and not writable by everyone. Group write is taken away.
pub(crate) fn private_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(dir) {
        Ok(metadata) => check_dir(dir, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(dir),
        Err(source) => Err(io_error("read", dir, source)),
    }
}

/// Makes `dir`, and first its parents, for its owner alone, whatever the umask.
fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.exists()) {
        make_dir(parent)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.and_then(|()| give_owner_all(dir)).map_err(|source| io_error("create", dir, source))?,
    }
    let metadata = fs::symlink_metadata(dir).map_err(|source| io_error("read", dir, source))?;
    check_dir(dir, &metadata)
}

/// A directory that was just made has 0700 less the umask, which may leave its owner nothing.
fn give_owner_all(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::symlink_metadata(dir)?.permissions().mode() & 0o7777;
        if mode & 0o700 != 0o700 {
            return fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o700));
        }
    }
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

/// Opens `path` for reading if it is there, without following a link, and checks that it is a plain file of ours.
/// A mode that lets others in is repaired.
pub(crate) fn open_private(path: &Path) -> Result<Option<File>, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true);
    no_follow(&mut options);
    match options.open(path) {
        Ok(file) => check_file(path, &file).map(|()| Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(open_error(path, source)),
    }
}

/// Never follow a link, never wait for a FIFO's other end.
pub(crate) fn no_follow(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).expect("open flags fit an int"));
    }
    #[cfg(not(unix))]
    let _ = options;
}

/// Never wait for a FIFO's other end.
pub(crate) fn never_wait(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).expect("open flags fit an int"));
    }
    #[cfg(not(unix))]
    let _ = options;
}

/// What an open of `path` that failed means: a link is not an I/O problem.
pub(crate) fn open_error(path: &Path, source: io::Error) -> StoreError {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_symlink());
    if is_link {
        return refuse(path, "it is a symbolic link", "replace the link by the file itself");
    }
    io_error("open", path, source)
}

#[cfg(unix)]
fn check_dir(dir: &Path, metadata: &fs::Metadata) -> Result<(), StoreError> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    if metadata.file_type().is_symlink() {
        // A link in our own parent directory is ours; what counts is the directory that it leads to.
        let target = fs::metadata(dir).map_err(|source| io_error("read", dir, source))?;
        return check_dir(dir, &target);
    }
    if !metadata.is_dir() {
        return Err(refuse(dir, "it is not a directory", "move it away"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(refuse(dir, "it belongs to another user", "use a directory of your own (LINCHPIN_HOME)"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o002 != 0 {
        let remedy = format!("run `chmod 700 {}`", dir.display());
        return Err(refuse(dir, "every user can write to it", &remedy));
    }
    if mode & 0o020 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode & 0o7755))
            .map_err(|source| io_error("repair the mode of", dir, source))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_dir(dir: &Path, metadata: &fs::Metadata) -> Result<(), StoreError> {
    if metadata.is_dir() { Ok(()) } else { Err(refuse(dir, "it is not a directory", "move it away")) }
}

/// Checks an open file rather than a path, so that what was checked is what is read.
pub(crate) fn check_file(path: &Path, file: &File) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(|source| io_error("read", path, source))?;
    if !metadata.is_file() {
        return Err(refuse(path, "it is not a plain file", "move it away"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(refuse(path, "it belongs to another user", "move it away, or change its owner"));
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = format!("{mode:o}"),
                "others could read this file; its mode is now 600");
        }
        // Without the owner's bits it was born under a umask of 0600 and more, and we could not open it again.
        if mode & 0o677 != 0o600 {
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .map_err(|source| io_error("repair the mode of", path, source))?;
        }
    }
    Ok(())
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), source }
}

pub(crate) fn refuse(path: &Path, problem: &str, remedy: &str) -> StoreError {
    StoreError::Unsafe { path: path.to_owned(), problem: problem.to_owned(), remedy: remedy.to_owned() }
}
