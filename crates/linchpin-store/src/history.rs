//! What was decided about sign-ins, and why: a token-free history that an operator can read (`linchpin log`).
//!
//! It is told about decisions and takes part in none. Whoever tells it never waits: events are queued, and written by
//! a blocking task, whole lines in one append each, so that the lines of several processes interleave and never mix.
//! What cannot be written is lost, and said once. Two files of 1 MiB are kept.
//!
//! No event can carry a token, a code, a body or the query of a URL (P20): tokens are named by [`TokenName`], made of a
//! fingerprint alone, and every other text is a [`Code`], a [`Phrase`] or a [`Place`], which take what could hide one
//! away.
//!
//! # Limitations
//! A process that is killed loses what it had not written yet, some milliseconds' worth. The mark in the record, which
//! decides, is never lost that way.

mod event;
mod file;
mod reader;
mod what;
mod words;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

pub use event::Event;
use file::HistoryFile;
pub use reader::{Entry, Lines, Reader};
pub use what::{Cause, Earlier, Evidence, How, Next, Outcome, Reason, RevocationOutcome, What};
pub use words::{Code, Phrase, Place, TokenName};

use crate::{Directories, StoreError};

/// So many events wait to be written at most; what comes on top is lost. A disk that hangs costs no memory.
const LONGEST_QUEUE: usize = 1024;

/// Who is told what happened. [`Recorder::record`] is called in the middle of transactions, so it returns at once and
/// never fails.
#[async_trait]
pub trait Recorder: fmt::Debug + Send + Sync {
    /// Takes an event.
    fn record(&self, event: Event);

    /// Waits until what was told so far has been written, or lost. Call it before the process ends, with a bound.
    async fn written(&self) {}
}

/// Nobody is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unrecorded;

impl Recorder for Unrecorded {
    fn record(&self, _: Event) {}
}

/// The history in the memory of this process.
#[derive(Debug, Default)]
pub struct MemoryHistory(Mutex<Vec<Event>>);

impl MemoryHistory {
    /// Everything that was told so far.
    pub fn events(&self) -> Vec<Event> {
        locked(&self.0).clone()
    }
}

impl Recorder for MemoryHistory {
    fn record(&self, event: Event) {
        locked(&self.0).push(event);
    }
}

/// The history of an installation: `events.jsonl`, and the file before it. Cheap to clone; clones share the queue.
#[derive(Debug, Clone)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: HistoryFile,
    queue: Mutex<Queue>,
    /// Whether a task writes.
    busy: watch::Sender<bool>,
    /// Whether it was said that events are lost.
    told: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    writing: bool,
}

impl History {
    /// The history in `directories`. Touches nothing yet.
    pub fn new(directories: &Directories) -> Self {
        Self::of(HistoryFile::new(directories))
    }

    fn of(file: HistoryFile) -> Self {
        let (queue, busy, told) = (Mutex::default(), watch::Sender::new(false), AtomicBool::default());
        Self(Arc::new(Inner { file, queue, busy, told }))
    }

    /// Whether the files are such that it can be written and read: their lengths, in bytes, of those that are there.
    /// Blocks on the disk, and writes nothing.
    pub(crate) fn try_out(&self) -> Result<Option<u64>, StoreError> {
        self.0.file.try_out()
    }

    /// A reader that begins with the oldest event kept. Touches nothing yet.
    pub fn reader(&self) -> Reader {
        Reader::new(self.0.file.clone())
    }
}

#[async_trait]
impl Recorder for History {
    fn record(&self, event: Event) {
        let mut queue = locked(&self.0.queue);
        if queue.events.len() == LONGEST_QUEUE {
            drop(queue);
            self.0.lost(&"the disk does not keep up");
            return;
        }
        queue.events.push_back(event);
        if std::mem::replace(&mut queue.writing, true) {
            return;
        }
        self.0.busy.send_replace(true);
        drop(queue);
        let writing = Writing { inner: Arc::clone(&self.0), ended: false };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || writing.run())),
            Err(_) => writing.run(),
        }
    }

    async fn written(&self) {
        let _ = self.0.busy.subscribe().wait_for(|busy| !busy).await;
    }
}

/// The one task that writes. Dropped before its end, it leaves the queue to the next one.
struct Writing {
    inner: Arc<Inner>,
    ended: bool,
}

impl Writing {
    fn run(mut self) {
        while let Some(events) = self.next() {
            if let Err(error) = self.inner.file.append(&events) {
                self.inner.lost(&error);
            }
        }
    }

    /// What is to be written next. With nothing left the task has ended, and whoever tells something starts another.
    fn next(&mut self) -> Option<VecDeque<Event>> {
        let mut queue = locked(&self.inner.queue);
        let events = std::mem::take(&mut queue.events);
        if events.is_empty() {
            self.ended = true;
            self.inner.idle(&mut queue);
            return None;
        }
        Some(events)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.ended {
            self.inner.idle(&mut locked(&self.inner.queue));
        }
    }
}

impl Inner {
    fn idle(&self, queue: &mut Queue) {
        queue.writing = false;
        self.busy.send_replace(false);
    }

    /// Said once: it costs nobody anything but the history.
    fn lost(&self, error: &dyn fmt::Display) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::debug!("the history is not written: {error}");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
