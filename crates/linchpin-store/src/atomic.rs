//! A save is whole or not at all (P2).

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::StoreError;
use crate::permissions::{check_file, io_error};
use crate::steps::{Step, reached};

/// Replaces `path` by `content`: a temporary file in the same directory, private from its creation, synced, renamed
/// over `path`, and the directory synced. A crash at any instant leaves the old or the new content.
///
/// A temporary file left by a killed process is removed by the next replacement; the caller's lock makes sure that
/// it belongs to nobody.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    replace_if(path, content, || Ok(()))
}

/// The same, if `may` still says so when only the rename is left to do.
pub(crate) fn replace_if(
    path: &Path,
    content: &[u8],
    may: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let dir = path.parent().expect("a store's file lies in a directory");
    let prefix = temporary_prefix(path);
    remove_orphans(dir, &prefix);

    let mut temporary = temporary(dir, &prefix)?;
    reached(Step::TemporaryMade);
    let file = temporary.as_file_mut();
    file.write_all(content).map_err(|source| io_error("write", path, source))?;
    reached(Step::Written);
    file.sync_all().map_err(|source| io_error("write", path, source))?;
    reached(Step::Synced);
    may()?;
    temporary.persist(path).map_err(|error| io_error("replace", path, error.error))?;
    reached(Step::Renamed);
    sync_dir(dir)?;
    reached(Step::DirectorySynced);
    Ok(())
}

/// Whether `path` could be replaced by `length` bytes: as many are written to a temporary file next to it.
pub(crate) fn can_replace(path: &Path, length: usize) -> Result<(), StoreError> {
    let dir = path.parent().expect("a store's file lies in a directory");
    // Of another name than a replacement's, which whoever holds the lock takes for an orphan.
    let mut probe = temporary(dir, ".probe.")?;
    let written = probe.write_all(&vec![0; length]).and_then(|()| probe.as_file().sync_data());
    written.map_err(|source| io_error("write", path, source))
}

fn temporary(dir: &Path, prefix: &str) -> Result<NamedTempFile, StoreError> {
    let made = tempfile::Builder::new().prefix(prefix).suffix(".tmp").tempfile_in(dir);
    let made = made.map_err(|source| io_error("create a file in", dir, source))?;
    // Born with 0600 less the umask, which may leave its owner nothing.
    check_file(made.path(), made.as_file()).map(|()| made)
}

fn temporary_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.")
}

fn remove_orphans(dir: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(prefix) && name.ends_with(".tmp") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes a rename in `dir` durable.
fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error("sync", dir, source))?;
    }
    Ok(())
}
