//! The `file` store: one JSON file of all records, readable by its owner alone.

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::aggregate::Origin;
use crate::aggregate_file::{AggregateFile, Encoding};
use crate::locks::LocalLocks;
use crate::{
    CredentialGuard, CredentialKey, Directories, LockError, LockRequest, LockWatch, Record, SignInTurn,
    Store, StoreError, StoreKind, StoredRecord,
};

/// `credentials.json` and its locks.
#[derive(Debug, Clone)]
pub struct FileStore {
    file: AggregateFile<Plain>,
    locks: LocalLocks,
}

/// The JSON itself.
#[derive(Debug, Clone, Copy)]
struct Plain;

impl Encoding for Plain {
    type Sealed = Zeroizing<Vec<u8>>;

    fn open(&self, _: &Origin<'_>, bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        Ok(bytes)
    }

    fn seal(&self, json: Zeroizing<Vec<u8>>, _is_new: bool) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        Ok(json)
    }
}

impl FileStore {
    /// The file store of `directories`. Touches nothing yet.
    pub fn new(directories: &Directories) -> Self {
        let locks = LocalLocks::new(directories);
        Self { file: AggregateFile::new(directories.credentials_file(), &locks, Plain), locks }
    }
}

#[async_trait]
impl Store for FileStore {
    fn kind(&self) -> StoreKind {
        StoreKind::File
    }

    fn location(&self) -> String {
        self.file.path().display().to_string()
    }

    async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        self.file.load(key).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.file.ready().await
    }

    async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        self.file.save(guard, record).await
    }

    async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError> {
        self.file.delete(guard).await
    }

    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        self.file.list().await
    }

    async fn lock(&self, key: &CredentialKey, request: LockRequest) -> Result<CredentialGuard, LockError> {
        self.locks.credential(key, request).await
    }

    fn watch_lock(&self, key: &CredentialKey) -> Box<dyn LockWatch> {
        self.locks.watch(key)
    }

    async fn sign_in_turn(&self, key: &CredentialKey, request: LockRequest) -> Result<SignInTurn, LockError> {
        self.locks.sign_in_turn(key, request).await
    }
}

#[cfg(test)]
mod tests;
