//! A store in memory: for tests of programs that use the library. Clones share their content.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use crate::{
    CredentialGuard, CredentialKey, LockError, LockRequest, Record, SignInTurn, Store, StoreError, StoreKind,
    StoredRecord,
};

/// Keeps records in this process and forgets them with it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    records: Mutex<BTreeMap<CredentialKey, Record>>,
    locks: Mutex<Locks>,
    turns: Mutex<Locks>,
    refuse_saves: Mutex<Option<&'static str>>,
}

type Locks = BTreeMap<CredentialKey, Arc<tokio::sync::Mutex<()>>>;

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on every save fails with `reason`; `None` lets them through again.
    pub fn refuse_saves(&self, reason: Option<&'static str>) {
        *self.shared.refuse_saves.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn records(&self) -> std::sync::MutexGuard<'_, BTreeMap<CredentialKey, Record>> {
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Memory
    }

    fn location(&self) -> String {
        "the memory of this process".to_owned()
    }

    async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        Ok(self.records().get(key).cloned())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        match *self.shared.refuse_saves.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(StoreError::Other(reason)),
            None => Ok(()),
        }
    }

    async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        self.ready().await?;
        self.records().insert(guard.key().clone(), record.clone());
        Ok(())
    }

    async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError> {
        Ok(self.records().remove(guard.key()).is_some())
    }

    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        Ok(self.records().iter().map(|(key, record)| (key.clone(), Ok(record.clone()))).collect())
    }

    async fn lock(&self, key: &CredentialKey, request: LockRequest) -> Result<CredentialGuard, LockError> {
        Ok(CredentialGuard::new(key.clone(), take(&self.shared.locks, key, request.within).await?))
    }

    async fn sign_in_turn(&self, key: &CredentialKey, request: LockRequest) -> Result<SignInTurn, LockError> {
        Ok(SignInTurn::new(take(&self.shared.turns, key, request.within).await?))
    }
}

async fn take(
    locks: &Mutex<Locks>,
    key: &CredentialKey,
    within: Duration,
) -> Result<OwnedMutexGuard<()>, LockError> {
    let lock = {
        let mut locks = locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(key.clone()).or_default())
    };
    tokio::time::timeout(within, lock.lock_owned()).await.map_err(|_| LockError::TimedOut {
        path: key.entry().into(),
        waited: within,
        holder: None,
    })
}
