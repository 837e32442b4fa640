//! Reading the history, also while it is written: across the change from a full file to a new one, past torn lines.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use super::Event;
use super::file::HistoryFile;
use crate::StoreError;

/// No event is longer, in bytes. What is, is not one.
const LONGEST_LINE: usize = 64 << 10;
/// Of a file that is longer, in bytes, only the end is read: Linchpin wrote no such file.
const MOST: u64 = 8 << 20;

/// An event, and its line as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The event.
    pub event: Event,
    /// The line, with whatever a later version put into it.
    pub line: String,
}

/// Reads the history from its oldest event on, and then what is added to it. Blocks on the disk: for a blocking thread.
#[derive(Debug)]
pub struct Reader {
    files: HistoryFile,
    /// Read to its end, and still read: a writer may have had it open when it was replaced.
    older: Option<Open>,
    current: Option<Open>,
    /// Damaged lines in files that are gone by now.
    damaged: usize,
}

impl Reader {
    pub(super) fn new(files: HistoryFile) -> Self {
        Self { files, older: None, current: None, damaged: 0 }
    }

    /// What was added since the last time; everything, the first time. Empty when there is no history.
    ///
    /// # Errors
    /// The files cannot be opened or trusted ([`StoreError::Unsafe`]), or read.
    pub fn more(&mut self) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        loop {
            for open in [&mut self.older, &mut self.current].into_iter().flatten() {
                open.read(&mut entries).map_err(|source| self.files.unreadable(source))?;
            }
            if !self.follow()? {
                return Ok(entries);
            }
        }
    }

    /// Lines that are no events, up to now.
    pub fn damaged(&self) -> usize {
        let open = [&self.older, &self.current].into_iter().flatten();
        self.damaged + open.map(|open| open.lines.damaged()).sum::<usize>()
    }

    /// Goes on to a file that has not been read yet; whether there is one.
    fn follow(&mut self) -> Result<bool, StoreError> {
        let newest = self.files.current()?;
        let older = self.files.older()?;
        // The older file first: it is the one between what was read and the newest, when two were filled meanwhile.
        for found in [older, newest].into_iter().flatten() {
            if !self.is_known(&found) {
                let found = Open::new(found).map_err(|source| self.files.unreadable(source))?;
                if let Some(gone) = std::mem::replace(&mut self.older, self.current.replace(found)) {
                    self.damaged += gone.lines.damaged();
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_known(&self, file: &File) -> bool {
        [&self.older, &self.current].into_iter().flatten().any(|open| open.is(file))
    }
}

#[derive(Debug)]
struct Open {
    file: File,
    read: u64,
    lines: Lines,
}

impl Open {
    fn new(mut file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut lines = Lines::default();
        let read = length.saturating_sub(MOST);
        if read > 0 {
            file.seek(SeekFrom::Start(read))?;
            lines.skipping = true;
        }
        Ok(Self { file, read, lines })
    }

    fn read(&mut self, entries: &mut Vec<Entry>) -> io::Result<()> {
        if self.file.metadata()?.len() < self.read {
            // Somebody cut it off.
            self.file.rewind()?;
            (self.read, self.lines) = (0, Lines { damaged: self.lines.damaged(), ..Lines::default() });
        }
        let mut bytes = vec![0; 64 << 10];
        loop {
            let length = self.file.read(&mut bytes)?;
            if length == 0 {
                return Ok(());
            }
            self.read += length as u64;
            entries.extend(self.lines.push(&bytes[..length]));
        }
    }

    #[cfg(unix)]
    fn is(&self, file: &File) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
        identity(&self.file) == identity(file)
    }

    #[cfg(not(unix))]
    fn is(&self, file: &File) -> bool {
        let identity = |file: &File| file.metadata().and_then(|metadata| metadata.created()).ok();
        identity(&self.file) == identity(file)
    }
}

/// Cuts bytes into lines, and takes those that are events. Pure: the bytes may come in any pieces.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// Whether what comes up to the next line's end is no event.
    skipping: bool,
    damaged: usize,
}

impl Lines {
    /// The events in the lines that end within `bytes`.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            if !self.skipping {
                self.partial.extend_from_slice(piece);
            }
            if self.partial.len() > LONGEST_LINE {
                self.partial.clear();
                self.skipping = true;
                self.damaged += 1;
            }
            if pieces.peek().is_some() {
                entries.extend(self.end_line());
            }
        }
        entries
    }

    /// Lines that are no events, a last one without its end included.
    pub fn damaged(&self) -> usize {
        self.damaged + usize::from(!self.partial.is_empty())
    }

    #[cfg(test)]
    pub(super) fn partial_length(&self) -> usize {
        self.partial.len()
    }

    fn end_line(&mut self) -> Option<Entry> {
        let line = std::mem::take(&mut self.partial);
        // An empty line is what is left between a torn line and the one after it.
        if std::mem::take(&mut self.skipping) || line.is_empty() {
            return None;
        }
        let event = Event::from_line(&line);
        let line = String::from_utf8(line).ok();
        let entry = event.zip(line).map(|(event, line)| Entry { event, line });
        self.damaged += usize::from(entry.is_none());
        entry
    }
}
