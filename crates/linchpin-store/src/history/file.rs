//! The two files: appending whole lines, and beginning a new file when one is full.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Event;
use crate::lock::lock_blocking;
use crate::locks::LocalLocks;
use crate::permissions::{check_file, io_error, no_follow, open_error, open_private, private_dir};
use crate::{Directories, LockRequest, StoreError};

/// A file is full at this length, in bytes.
const FULL: u64 = 1 << 20;
/// How long beginning a new file waits for another process that does the same.
const ROTATION: LockRequest = LockRequest { purpose: "history", within: Duration::from_millis(250) };
/// So far back from the end of the file, in bytes, it is looked for what was told before.
const TAIL: u64 = 64 << 10;
/// So many times one kind of thing is said of a sign-in with nothing done in between, whatever it says.
const MOST_SAID: usize = 16;
/// How often a line is written again that went into a file which was removed meanwhile.
const TRIES: usize = 8;

/// `events.jsonl`, and `events.jsonl.1` before it.
#[derive(Debug, Clone)]
pub(super) struct HistoryFile {
    path: PathBuf,
    older: PathBuf,
    lock: PathBuf,
    full: u64,
}

impl HistoryFile {
    pub(super) fn new(directories: &Directories) -> Self {
        let path = directories.events_file();
        let lock = LocalLocks::new(directories).of_file(&path);
        let mut older = path.clone().into_os_string();
        older.push(".1");
        Self { path, older: older.into(), lock, full: FULL }
    }

    #[cfg(test)]
    pub(super) fn full_at(self, full: u64) -> Self {
        Self { full, ..self }
    }

    #[cfg(test)]
    pub(super) fn paths(&self) -> [&Path; 2] {
        [&self.path, &self.older]
    }

    /// Appends events, except for one that says again what the file has as the last one of its sign-in: a client that
    /// starts a process every second would push out what it is about. Every line is one write at the end of the file,
    /// so lines of several processes do not mix. Blocks: for a blocking thread.
    pub(super) fn append(&self, events: &VecDeque<Event>) -> Result<(), StoreError> {
        private_dir(directory(&self.path))?;
        let mut file = None;
        for event in events {
            if !self.has_told(event) {
                self.append_line(&mut file, &event.to_line())?;
            }
        }
        Ok(())
    }

    /// Whether the same was said about the same sign-in since anything was done about it, as far as the end of the file
    /// tells: two processes at the same moment may both say it. What a server makes up anew each time is said
    /// [`MOST_SAID`] times.
    fn has_told(&self, event: &Event) -> bool {
        if !event.what.changes_nothing() {
            return false;
        }
        let Ok(Some(tail)) = self.tail() else { return false };
        let events = tail.rsplit(|byte| *byte == b'\n').filter_map(Event::from_line);
        let said = events.filter(|last| last.key == event.key).take_while(|last| last.what.changes_nothing());
        let mut alike = 0;
        for last in said {
            alike += usize::from(std::mem::discriminant(&last.what) == std::mem::discriminant(&event.what));
            if alike >= MOST_SAID || last.store == event.store && event.what.repeats(&last.what) {
                return true;
            }
        }
        false
    }

    /// The end of the current file, if it is there; it may begin within a line.
    fn tail(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(mut file) = self.current()? else { return Ok(None) };
        let mut tail = Vec::new();
        let read = file.metadata().and_then(|metadata| {
            file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL)))?;
            file.take(TAIL).read_to_end(&mut tail)
        });
        read.map_err(|source| self.unreadable(source))?;
        Ok(Some(tail))
    }

    fn append_line(&self, current: &mut Option<File>, line: &str) -> Result<(), StoreError> {
        let failed = |source| io_error("write", &self.path, source);
        for _ in 0..TRIES {
            let file = match current.take() {
                Some(file) => file,
                None => self.open()?,
            };
            let length = file.metadata().map_err(failed)?.len();
            if length > 0 && length + line.len() as u64 >= self.full {
                // Whoever does it, the line goes into the new file. When nobody can, there is a second bound.
                match self.begin_anew(line.len()) {
                    Ok(()) => continue,
                    Err(error) if length >= 2 * self.full => return Err(error),
                    Err(_) => {}
                }
            }
            write_line(&file, line).map_err(failed)?;
            if is_there(&file).map_err(failed)? {
                *current = Some(file);
                return Ok(());
            }
        }
        Err(StoreError::Other("the history is replaced faster than it can be written"))
    }

    /// Opens what is there as a writer and a reader would: the length of both in bytes, `None` without any.
    pub(super) fn try_out(&self) -> Result<Option<u64>, StoreError> {
        let (current, older) = (self.current()?, self.older()?);
        if current.is_some() {
            self.open()?;
        }
        let length = |file: &File| file.metadata().map_or(0, |metadata| metadata.len());
        Ok([current, older].iter().flatten().map(length).reduce(|a, b| a + b))
    }

    /// The file to append to, made for its owner alone if it is not there.
    fn open(&self) -> Result<File, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        no_follow(&mut options);
        let file = options.open(&self.path).map_err(|source| open_error(&self.path, source))?;
        check_file(&self.path, &file).map(|()| file)
    }

    /// Makes the file the older one, unless another process has done so by now.
    fn begin_anew(&self, room: usize) -> Result<(), StoreError> {
        private_dir(directory(&self.lock))?;
        let _held = lock_blocking(&self.lock, ROTATION)?;
        let still_full =
            fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.len() + room as u64 >= self.full);
        if still_full {
            fs::rename(&self.path, &self.older).map_err(|source| io_error("replace", &self.older, source))?;
        }
        Ok(())
    }

    /// The current file for reading, if it is there.
    pub(super) fn current(&self) -> Result<Option<File>, StoreError> {
        open_private(&self.path)
    }

    /// The one before it.
    pub(super) fn older(&self) -> Result<Option<File>, StoreError> {
        open_private(&self.older)
    }

    /// What to say of a read that failed.
    pub(super) fn unreadable(&self, source: io::Error) -> StoreError {
        io_error("read", &self.path, source)
    }
}

/// One write of the whole line, after the end of a line that somebody could not finish.
fn write_line(mut file: &File, line: &str) -> io::Result<()> {
    let torn = ends_torn(file)?;
    let whole = format!("{}{line}\n", if torn { "\n" } else { "" });
    let written = file.write(whole.as_bytes())?;
    if written < whole.len() {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "only a part of a line could be written"));
    }
    Ok(())
}

fn ends_torn(mut file: &File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Whether the file has a name: one that was replaced under a writer takes lines that nobody will read.
#[cfg(unix)]
fn is_there(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(file.metadata()?.nlink() > 0)
}

#[cfg(not(unix))]
fn is_there(_: &File) -> io::Result<bool> {
    Ok(true)
}

fn directory(path: &Path) -> &Path {
    path.parent().expect("the history and its lock lie in directories")
}
