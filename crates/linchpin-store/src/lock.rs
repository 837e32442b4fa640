//! The operating system's file locks, taken by polling (P1, P6).
//!
//! A killed holder frees its lock at once, which no lease file can promise. The hazards of such locks are met here:
//! the file is never unlinked, and a lock on an inode that is no longer at the path is not taken for one, nor relied
//! on by who took it before (F11); the descriptor is close-on-exec, so no child keeps it; waits are bounded and name the holder; no blocking thread
//! waits, which could take the lock after its waiter gave up.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng as _;
use thiserror::Error;

use crate::permissions::{check_file, no_follow, open_error};
use crate::{Disposition, Held, LockRequest, LockWatch, StoreError, UnixMs};

mod note;

pub use note::LockHolder;
use note::holder;

/// The first pause between two tries; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause: a waiter takes a lock within 50 ms of its release.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);
/// After this long a wait is worth telling a person about.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// Why a lock was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else held it for the whole wait.
    #[error("waited {:.1} s for the lock {}{}", waited.as_secs_f64(), path.display(), held_by(holder.as_ref()))]
    TimedOut {
        /// The lock file.
        path: PathBuf,
        /// How long.
        waited: Duration,
        /// The holder, when it said who it is.
        holder: Option<LockHolder>,
    },
    /// The file system has no locks that work; going on without one would lose sign-ins.
    #[error("{} cannot be locked: {source}; put LINCHPIN_HOME on a local file system", path.display())]
    Unsupported {
        /// The lock file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The lock file cannot be opened or trusted.
    #[error("no lock: {0}")]
    File(#[source] Box<StoreError>),
    /// It was taken, and then its file was removed or replaced: whoever asks now is not kept out any more.
    #[error("the lock {} was removed while it was held; nothing was changed, try again", path.display())]
    Lost {
        /// The lock file.
        path: PathBuf,
    },
    /// The task that asks already holds it: a bug in Linchpin.
    #[error("a transaction asked again for the lock it holds ({}); please report this bug", path.display())]
    Reentered {
        /// The lock file.
        path: PathBuf,
    },
}

impl LockError {
    /// What can be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::TimedOut { .. } => Disposition::TimedOut,
            Self::Lost { .. } => Disposition::Retry,
            Self::Reentered { .. } | Self::Unsupported { .. } | Self::File(_) => Disposition::Configuration,
        }
    }
}

fn held_by(holder: Option<&LockHolder>) -> String {
    holder.map(|holder| format!(", held by process {} ({})", holder.pid, holder.purpose)).unwrap_or_default()
}

/// A held lock. Dropping it releases the lock.
#[must_use = "dropping it releases the lock"]
#[derive(Debug)]
pub(crate) struct FileLock {
    /// Goes first: once the lock is free, nobody is told of a re-entry.
    holding: Option<Holding>,
    file: File,
    path: PathBuf,
    made_at: Option<UnixMs>,
}

impl FileLock {
    /// The lock, and apart from it that this task holds it: the lock may be kept for longer than its task cares.
    pub(crate) fn split(mut self) -> (Self, Option<Holding>) {
        let holding = self.holding.take();
        (self, holding)
    }
}

impl Held for FileLock {
    fn still_excludes(&self) -> Result<(), LockError> {
        if is_still_at(&self.path, &self.file) {
            Ok(())
        } else {
            Err(LockError::Lost { path: self.path.clone() })
        }
    }

    fn made_at(&self) -> Option<UnixMs> {
        self.made_at
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        drop(self.holding.take());
        // Closing releases too; said explicitly because a test may have duplicated the descriptor by forking.
        let _ = self.file.unlock();
    }
}

/// That the task which took a lock has not given it up. Dropping it says that it has.
#[derive(Debug)]
pub(crate) struct Holding(PathBuf);

impl Drop for Holding {
    fn drop(&mut self) {
        held().remove(&self.0);
    }
}

/// Takes the lock at `path`, waiting on the async timer.
pub(crate) async fn lock(path: &Path, request: LockRequest) -> Result<FileLock, LockError> {
    let mut wait = Wait::new(path, request);
    loop {
        match wait.attempt()? {
            Attempt::Taken(lock) => return Ok(lock),
            Attempt::Pause(pause) => tokio::time::sleep(pause).await,
        }
    }
}

/// Takes the lock at `path`, waiting on this thread: for code that already runs on a blocking thread.
pub(crate) fn lock_blocking(path: &Path, request: LockRequest) -> Result<FileLock, LockError> {
    let mut wait = Wait::new(path, request);
    loop {
        match wait.attempt()? {
            Attempt::Taken(lock) => return Ok(lock),
            Attempt::Pause(pause) => std::thread::sleep(pause),
        }
    }
}

/// Sees a lock pass, by what its holders write into its file. One that is free has the holder that it had.
pub(crate) struct Watch {
    path: PathBuf,
    seen: Option<LockHolder>,
}

impl Watch {
    /// From now on.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { seen: holder(&path), path }
    }
}

#[async_trait]
impl LockWatch for Watch {
    async fn passed(&mut self) {
        loop {
            // One that does not read is being written.
            if let Some(now) = holder(&self.path)
                && self.seen.as_ref() != Some(&now)
            {
                self.seen = Some(now);
                return;
            }
            tokio::time::sleep(jittered(LONGEST_PAUSE)).await;
        }
    }
}

/// Jitter keeps waiters from trying in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// One wait for one lock: pure bookkeeping round [`try_lock`].
struct Wait<'a> {
    path: &'a Path,
    request: LockRequest,
    since: tokio::time::Instant,
    pause: Duration,
    told: bool,
}

enum Attempt {
    Taken(FileLock),
    Pause(Duration),
}

impl<'a> Wait<'a> {
    fn new(path: &'a Path, request: LockRequest) -> Self {
        Self { path, request, since: tokio::time::Instant::now(), pause: FIRST_PAUSE, told: false }
    }

    fn attempt(&mut self) -> Result<Attempt, LockError> {
        if let Some(lock) = try_lock(self.path, self.request.purpose)? {
            return Ok(Attempt::Taken(lock));
        }
        let waited = self.since.elapsed();
        let Some(left) = self.request.within.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return Err(LockError::TimedOut {
                path: self.path.to_owned(),
                waited,
                holder: holder(self.path),
            });
        };
        if waited >= NOTICE_AFTER && !self.told {
            self.told = true;
            if let Some(holder) = holder(self.path) {
                tracing::warn!(
                    "waiting for process {} ({}) to finish; at most {} s more",
                    holder.pid,
                    holder.purpose,
                    left.as_secs()
                );
            } else {
                tracing::warn!("waiting for another process to release {}", self.path.display());
            }
        }
        let pause = jittered(self.pause).min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(Attempt::Pause(pause))
    }
}

/// One try. `None`: somebody else holds it.
#[expect(clippy::disallowed_methods, reason = "the one home of file locks")]
fn try_lock(path: &Path, purpose: &str) -> Result<Option<FileLock>, LockError> {
    let task = TaskId::current();
    if held().get(path).is_some_and(|holder| *holder == task) {
        return Err(LockError::Reentered { path: path.to_owned() });
    }
    let mut file = open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(source)) => {
            return Err(LockError::Unsupported { path: path.to_owned(), source });
        }
    }
    if !is_still_at(path, &file) {
        return Ok(None);
    }
    if lets_a_second_in(path, &file)? {
        let source = io::Error::other("two takers get the same lock at once");
        return Err(LockError::Unsupported { path: path.to_owned(), source });
    }
    let made_at = note::write(&mut file, purpose);
    held().insert(path.to_owned(), task);
    let path = path.to_owned();
    Ok(Some(FileLock { holding: Some(Holding(path.clone())), file, path, made_at }))
}

/// The lock file, made if it is not there; anything else in its place is refused.
fn open(path: &Path) -> Result<File, LockError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    no_follow(&mut options);
    let untrusted = |error: StoreError| LockError::File(Box::new(error));
    let file = options.open(path).map_err(|source| untrusted(open_error(path, source)))?;
    check_file(path, &file).map_err(untrusted)?;
    Ok(file)
}

/// Whether the lock that `file` holds would be given to another descriptor too, as by a file system whose locks do
/// nothing (F12). Tried each time, since it costs microseconds and belief costs a sign-in.
#[expect(clippy::disallowed_methods, reason = "the one home of file locks")]
fn lets_a_second_in(path: &Path, file: &File) -> Result<bool, LockError> {
    let second = open(path)?;
    // Another file is there by now: that the first one was taken away is told where it counts.
    Ok(is_same(&second, file) && !matches!(second.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Tries a lock, as every taker does.
pub(crate) fn try_out(path: &Path) -> Result<(), LockError> {
    // One that is held keeps us out, which is as good an answer.
    try_lock(path, "doctor").map(drop)
}

/// Who holds the lock at `path` at this moment; `None` when nobody does, or the file cannot be asked.
#[expect(clippy::disallowed_methods, reason = "the one home of file locks")]
pub(crate) fn holder_of(path: &Path) -> Option<LockHolder> {
    let file = open(path).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => holder(path),
        _ => None,
    }
}

/// Whether the locked inode is the one at the path: somebody may have removed the file under us.
fn is_still_at(path: &Path, file: &File) -> bool {
    !cfg!(unix) || std::fs::symlink_metadata(path).is_ok_and(|there| is_of(&there, file))
}

fn is_same(one: &File, other: &File) -> bool {
    one.metadata().is_ok_and(|one| is_of(&one, other))
}

#[cfg(unix)]
fn is_of(metadata: &std::fs::Metadata, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn is_of(_: &std::fs::Metadata, _: &File) -> bool {
    true
}

/// The task, or outside a runtime the thread, that holds a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TaskId {
    Task(tokio::task::Id),
    Thread(std::thread::ThreadId),
}

impl TaskId {
    fn current() -> Self {
        tokio::task::try_id().map_or_else(|| Self::Thread(std::thread::current().id()), Self::Task)
    }
}

/// The locks this process holds. System locks taken through two descriptors exclude each other within a process as
/// between processes; this table only tells a wait from a re-entry, which would wait for itself.
fn held() -> MutexGuard<'static, HashMap<PathBuf, TaskId>> {
    static HELD: LazyLock<Mutex<HashMap<PathBuf, TaskId>>> = LazyLock::new(Mutex::default);
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
