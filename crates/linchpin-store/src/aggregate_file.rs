//! One file with the records of all keys: read, changed and replaced as a whole under a lock of its own (P1, P2).
//!
//! `file` and `secrets` are this, with another [`Encoding`] of the bytes on disk.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::aggregate::{Aggregate, Origin};
use crate::lock::{FileLock, lock_blocking};
use crate::locks::LocalLocks;
use crate::permissions::private_dir;
use crate::steps::{Step, reached};
use crate::{
    CredentialGuard, CredentialKey, Held as _, Hold, LockRequest, Record, StoreError, StoredRecord, atomic,
};

/// How long a change waits for the aggregate lock. It is held for a read and a write of one file, never across an
/// await (P1).
const AGGREGATE_WAIT: Duration = Duration::from_secs(60);

/// What a new record may add, in bytes.
const ROOM: usize = 16 << 10;

/// How often a change is begun again because its temporary file was taken away.
const SWEPT: usize = 10;

/// How the content lies on disk. Called on blocking threads, by a writer under the aggregate lock.
pub(crate) trait Encoding: fmt::Debug + Clone + Send + Sync + 'static {
    /// What is written: zeroed afterwards where it can be read by anybody, which costs a millisecond per MiB.
    type Sealed: AsRef<[u8]>;

    /// The JSON in `bytes`, which were read from `origin`.
    fn open(&self, origin: &Origin<'_>, bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, StoreError>;

    /// What to write for `json`. `is_new` says that there is no file yet.
    fn seal(&self, json: Zeroizing<Vec<u8>>, is_new: bool) -> Result<Self::Sealed, StoreError>;
}

/// The file, its lock and its encoding.
#[derive(Debug, Clone)]
pub(crate) struct AggregateFile<E> {
    path: PathBuf,
    lock: PathBuf,
    encoding: E,
}

impl<E: Encoding> AggregateFile<E> {
    pub(crate) fn new(path: PathBuf, locks: &LocalLocks, encoding: E) -> Self {
        let lock = locks.of_file(&path);
        Self { path, lock, encoding }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    pub(crate) fn lock_path(&self) -> &Path {
        &self.lock
    }

    pub(crate) fn encoding(&self) -> &E {
        &self.encoding
    }

    pub(crate) async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        let (file, key) = (self.clone(), key.clone());
        blocking(move || {
            let (aggregate, _) = file.read()?;
            aggregate.get(&key).map(|text| parse(&file.path, &key, text)).transpose()
        })
        .await
    }

    /// Whether the file reads, and could be replaced.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        let file = self.clone();
        blocking(move || {
            let directory = file.path.parent().expect("an aggregate file lies in a directory");
            private_dir(directory)?;
            let (aggregate, _) = file.read()?;
            atomic::can_replace(&file.path, aggregate.to_bytes().len() + ROOM)
        })
        .await
    }

    pub(crate) async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        let (file, key, json) = (self.clone(), guard.key().clone(), record.to_json());
        let hold = guard.hold();
        blocking(move || {
            file.change(&hold, |aggregate| {
                aggregate.insert(&key, &json);
                Change::Write(())
            })
        })
        .await
    }

    pub(crate) async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError> {
        let (file, key, hold) = (self.clone(), guard.key().clone(), guard.hold());
        blocking(move || {
            file.change(&hold, |aggregate| {
                if aggregate.remove(&key) { Change::Write(true) } else { Change::Leave(false) }
            })
        })
        .await
    }

    pub(crate) async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        let file = self.clone();
        blocking(move || {
            let (aggregate, _) = file.read()?;
            let records = aggregate.entries().filter_map(|(entry, text)| {
                let key = CredentialKey::from_entry(entry)?;
                let record = parse(&file.path, &key, text);
                Some((key, record))
            });
            Ok(records.collect())
        })
        .await
    }

    /// The read-modify-write of every change, under the aggregate lock.
    ///
    /// When the file of that lock was removed meanwhile, another writer may have got in: read before this one renamed,
    /// and rename after it. So the lock is asked after the rename too, and the change is made once more (F11).
    fn change<T>(&self, hold: &Hold, change: impl Fn(&mut Aggregate) -> Change<T>) -> Result<T, StoreError> {
        private_dir(self.path.parent().expect("an aggregate file lies in a directory"))?;
        private_dir(self.lock.parent().expect("a lock lies in a directory"))?;
        let request = LockRequest { purpose: "save", within: AGGREGATE_WAIT };
        let (mut first, mut swept) = (None, 0);
        loop {
            reached(Step::SavePreLock);
            let lock: FileLock = lock_blocking(&self.lock, request)?;
            reached(Step::SaveLocked);
            let outcome = self.change_under(&lock, hold, &change);
            // A writer that has lost its lock, and not noticed yet, takes our temporary file for an orphan.
            let is_swept = outcome.as_ref().is_err_and(is_not_found) && swept < SWEPT;
            if lock.still_excludes().is_ok() && !is_swept {
                return outcome.map(|answer| first.unwrap_or(answer));
            }
            swept += usize::from(is_swept);
            hold.still_excludes()?;
            first = first.or(outcome.ok());
        }
    }

    fn change_under<T>(
        &self,
        lock: &FileLock,
        hold: &Hold,
        change: impl Fn(&mut Aggregate) -> Change<T>,
    ) -> Result<T, StoreError> {
        let (mut aggregate, is_new) = self.read()?;
        reached(Step::SaveReread);
        match change(&mut aggregate) {
            Change::Write(answer) => {
                let sealed = self.encoding.seal(aggregate.to_bytes(), is_new)?;
                // Both locks, in the order in which they were taken, and right before the change is made.
                let still_ours = || hold.still_excludes().and_then(|()| lock.still_excludes());
                atomic::replace_if(&self.path, sealed.as_ref(), || Ok(still_ours()?)).map(|()| answer)
            }
            Change::Leave(answer) => Ok(answer),
        }
    }

    /// The content, and whether there is no file yet.
    fn read(&self) -> Result<(Aggregate, bool), StoreError> {
        let Some((origin, bytes)) = Aggregate::read_bytes(&self.path)? else {
            return Ok((Aggregate::default(), true));
        };
        let json = self.encoding.open(&origin, bytes)?;
        Aggregate::parse(&json).map(|aggregate| (aggregate, false)).map_err(|problem| origin.error(problem))
    }
}

fn is_not_found(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

enum Change<T> {
    Write(T),
    Leave(T),
}

fn parse(path: &Path, key: &CredentialKey, text: &str) -> Result<Record, StoreError> {
    Record::from_json(text).map_err(|source| StoreError::unreadable(key, path.display().to_string(), source))
}

/// Runs blocking work off the async threads. Dropping the future lets the work finish.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Other("the runtime is shutting down")),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    #[should_panic(expected = "as it was")]
    async fn a_panic_of_blocking_work_goes_on_in_its_caller() {
        let _: Result<(), _> = blocking(|| panic!("as it was")).await;
    }

    #[test]
    fn blocking_work_of_a_runtime_that_has_ended_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = runtime.handle().clone();
        drop(runtime);
        let _entered = handle.enter();
        let outcome = pin!(blocking(|| Ok(()))).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(outcome, Poll::Ready(Err(StoreError::Other(_)))), "{outcome:?}");
    }
}
