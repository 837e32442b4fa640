//! The `file` store: one JSON file of all records, readable by its owner alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use crate::lock::{FileLock, lock, lock_blocking};
use crate::permissions::private_dir;
use crate::{
    CredentialGuard, CredentialKey, Directories, LockError, LockRequest, Record, Store, StoreError,
    StoreKind, StoredRecord,
};

mod aggregate;

use aggregate::Aggregate;

/// How long a change waits for the aggregate lock. It is held for a read and a write of one file, never across an
/// await (P1).
const AGGREGATE_WAIT: Duration = Duration::from_secs(60);

/// `credentials.json` and its locks.
#[derive(Debug, Clone)]
pub struct FileStore {
    file: PathBuf,
    locks: PathBuf,
}

impl FileStore {
    /// The file store of `directories`. Touches nothing yet.
    pub fn new(directories: &Directories) -> Self {
        Self { file: directories.credentials_file(), locks: directories.locks() }
    }

    /// The read-modify-write of every change, under the aggregate lock.
    fn change<T>(&self, change: impl FnOnce(&mut Aggregate) -> Change<T>) -> Result<T, StoreError> {
        private_dir(self.file.parent().expect("credentials.json lies in a directory"))?;
        private_dir(&self.locks)?;
        let request = LockRequest { purpose: "save", within: AGGREGATE_WAIT };
        let _held: FileLock = lock_blocking(&self.locks.join("credentials.json.lock"), request)?;
        let mut aggregate = Aggregate::read(&self.file)?;
        match change(&mut aggregate) {
            Change::Write(answer) => aggregate.write(&self.file).map(|()| answer),
            Change::Leave(answer) => Ok(answer),
        }
    }

    fn lock_path(&self, key: &CredentialKey) -> PathBuf {
        self.locks.join(format!("{}.lock", key.digest()))
    }
}

enum Change<T> {
    Write(T),
    Leave(T),
}

#[async_trait]
impl Store for FileStore {
    fn kind(&self) -> StoreKind {
        StoreKind::File
    }

    fn location(&self) -> String {
        self.file.display().to_string()
    }

    async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        let (file, key) = (self.file.clone(), key.clone());
        blocking(move || {
            let aggregate = Aggregate::read(&file)?;
            aggregate.get(&key).map(|text| parse(&file, &key, text)).transpose()
        })
        .await
    }

    async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        let (store, key, json) = (self.clone(), guard.key().clone(), record.to_json());
        blocking(move || {
            store.change(|aggregate| {
                aggregate.insert(&key, &json);
                Change::Write(())
            })
        })
        .await
    }

    async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError> {
        let (store, key) = (self.clone(), guard.key().clone());
        blocking(move || {
            store.change(
                |aggregate| {
                    if aggregate.remove(&key) { Change::Write(true) } else { Change::Leave(false) }
                },
            )
        })
        .await
    }

    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        let file = self.file.clone();
        blocking(move || {
            let aggregate = Aggregate::read(&file)?;
            let records = aggregate.entries().filter_map(|(entry, text)| {
                let key = CredentialKey::from_entry(entry)?;
                let record = parse(&file, &key, text);
                Some((key, record))
            });
            Ok(records.collect())
        })
        .await
    }

    async fn lock(&self, key: &CredentialKey, request: LockRequest) -> Result<CredentialGuard, LockError> {
        private_dir(&self.locks).map_err(|error| LockError::File(Box::new(error)))?;
        let held = lock(&self.lock_path(key), request).await?;
        Ok(CredentialGuard::new(key.clone(), held))
    }
}

fn parse(file: &Path, key: &CredentialKey, text: &str) -> Result<Record, StoreError> {
    Record::from_json(text).map_err(|source| StoreError::DamagedRecord {
        key: Box::new(key.clone()),
        path: file.to_owned(),
        source,
    })
}

/// Runs file work off the async threads. Dropping the future lets the work finish.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Injected("the runtime is shutting down")),
    }
}

#[cfg(test)]
mod tests;
