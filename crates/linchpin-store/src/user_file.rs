//! A file that belongs to the user and not to Linchpin: read with care, changed under a lock, its mode left alone.
//!
//! A store's file is private and no link. A configuration may be a link into a repository, may be readable by
//! everyone, and may belong to root; what it may not be is a thing that other people can change.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lock::{FileLock, lock_blocking};
use crate::locks::LocalLocks;
use crate::permissions::{io_error, never_wait, private_dir, refuse};
use crate::{Directories, LockError, LockRequest, StoreError};

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;
/// How long a change waits for another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file of the user's, with its lock among those of the installation.
#[derive(Debug, Clone)]
pub struct UserFile {
    path: PathBuf,
    locks: PathBuf,
    lock: PathBuf,
}

/// The right to replace a [`UserFile`], held by one process at a time. Dropping it gives the right back.
#[must_use = "dropping the guard releases the lock of the file"]
#[derive(Debug)]
pub struct UserFileGuard(#[expect(dead_code, reason = "dropping it is what it is for")] FileLock);

impl UserFile {
    /// The configuration of an installation. Touches nothing yet.
    pub fn config(directories: &Directories) -> Self {
        let path = directories.config_file();
        let lock = LocalLocks::new(directories).of_file(&path);
        Self { path, locks: directories.locks(), lock }
    }

    /// Where it is, as a person wrote it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text; `None` when it is not there. Never waits: a FIFO is refused.
    ///
    /// # Errors
    /// [`StoreError::Unsafe`] for what is no plain file, is of another user than root and this one, can be written
    /// by everyone, or is longer than 1 MiB; [`StoreError::Io`] for the rest.
    pub fn read(&self) -> Result<Option<String>, StoreError> {
        let path = &self.path;
        let Some(target) = self.target()? else { return Ok(None) };
        let file = open(&target).map_err(|source| io_error("open", path, source))?;
        check_file(path, &file)?;
        let mut text = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut text).map_err(|source| io_error("read", path, source))?;
        if text.len() as u64 > LONGEST {
            return Err(refuse(path, "it is longer than 1 MiB", "move it away"));
        }
        let text = String::from_utf8(text);
        text.map(Some).map_err(|_| refuse(path, "it is not UTF-8 text", "correct it, or move it away"))
    }

    /// Takes its lock, waiting on this thread for at most 10 s. What was read before may have changed since.
    ///
    /// # Errors
    /// [`LockError::TimedOut`] names who holds it; else the directories are not safe to use.
    pub fn lock(&self, purpose: &'static str) -> Result<UserFileGuard, LockError> {
        let untrusted = |error| LockError::File(Box::new(error));
        self.target().map_err(untrusted)?;
        private_dir(&self.locks).map_err(untrusted)?;
        lock_blocking(&self.lock, LockRequest { purpose, within: PATIENCE }).map(UserFileGuard)
    }

    /// Replaces its content, whole or not at all. A link stays one, and a mode stays as it is; a new file is private.
    ///
    /// # Errors
    /// [`StoreError`]; the old content is there then.
    pub fn replace(&self, _guard: &UserFileGuard, content: &str) -> Result<(), StoreError> {
        let target = if let Some(target) = self.target()? {
            target
        } else {
            private_dir(directory(&self.path))?;
            self.path.clone()
        };
        let failed = |source| io_error("write", &self.path, source);
        let directory = directory(&target);
        let mut temporary = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        if let Ok(metadata) = fs::metadata(&target) {
            temporary.as_file().set_permissions(metadata.permissions()).map_err(failed)?;
        }
        temporary.write_all(content.as_bytes()).map_err(failed)?;
        temporary.as_file().sync_all().map_err(failed)?;
        temporary.persist(&target).map_err(|error| failed(error.error))?;
        if cfg!(unix) {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    /// The file behind every link, `None` when there is none, after a look at the directories of both.
    fn target(&self) -> Result<Option<PathBuf>, StoreError> {
        check_directory(directory(&self.path))?;
        match fs::canonicalize(&self.path) {
            Ok(target) => check_directory(directory(&target)).map(|()| Some(target)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(&self.path).is_ok() {
                    return Err(refuse(&self.path, "it is a link to nothing", "correct it, or remove it"));
                }
                Ok(None)
            }
            Err(source) => Err(io_error("open", &self.path, source)),
        }
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    never_wait(&mut options);
    options.open(path)
}

fn check_file(path: &Path, file: &File) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(|source| io_error("read", path, source))?;
    if !metadata.is_file() {
        return Err(refuse(path, "it is not a plain file", "move it away"));
    }
    check_owner(path, &metadata)
}

/// A directory that is not there yet is nobody else's.
fn check_directory(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => check_owner(path, &metadata),
        Ok(_) => Err(refuse(path, "it is not a directory", "move it away")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io_error("read", path, source)),
    }
}

#[cfg(unix)]
fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt as _;
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us && metadata.uid() != 0 {
        return Err(refuse(path, "it belongs to another user", "change its owner, or set LINCHPIN_HOME"));
    }
    if metadata.mode() & 0o002 != 0 {
        let remedy = format!("run `chmod o-w {}`", path.display());
        return Err(refuse(path, "every user can write to it", &remedy));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owner(_: &Path, _: &fs::Metadata) -> Result<(), StoreError> {
    Ok(())
}
