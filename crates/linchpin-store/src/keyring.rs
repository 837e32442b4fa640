//! The `keyring` store: one entry per record in the platform's keyring.
//!
//! A keyring is a daemon that may be absent, locked, or wait for a person. Every call is bounded and runs off the
//! async threads; a call that goes on after its bound keeps the credential lock, so that what it writes late cannot
//! undo what the next holder saves. An entry that is not there proves nothing until the keyring has shown that it
//! works (P4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::aggregate_file::blocking;
use crate::locks::LocalLocks;
use crate::{
    CredentialGuard, CredentialKey, Directories, Hold, LockError, LockRequest, LockWatch, Record, SignInTurn,
    Store, StoreError, StoreKind, StoredRecord,
};

mod backend;
mod bounded;
mod error;

pub(crate) use backend::Backend;
use backend::Platform;
pub(crate) use bounded::Bounded;
pub use error::KeyringError;

/// The platform's keyring: Secret Service, Keychain or Credential Manager.
#[derive(Debug, Clone)]
pub struct KeyringStore {
    keyring: Keyring,
    locks: LocalLocks,
}

/// A keyring with bounded calls, and what it has shown so far. For blocking threads.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    calls: Bounded,
    proven: Arc<AtomicBool>,
}

impl KeyringStore {
    /// The keyring of this session. Touches nothing yet.
    pub fn new(directories: &Directories) -> Self {
        Self::over(Keyring::over(Arc::new(Platform::default())), directories)
    }

    pub(crate) fn over(keyring: Keyring, directories: &Directories) -> Self {
        Self { keyring, locks: LocalLocks::new(directories) }
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Shows that the keyring works: that it can be reached, is unlocked and keeps what it is given.
    ///
    /// # Errors
    /// [`StoreError::Keyring`] with what does not work.
    pub async fn prove(&self) -> Result<(), StoreError> {
        let keyring = self.keyring.clone();
        blocking(move || Ok(keyring.prove()?)).await
    }
}

impl Keyring {
    pub(crate) fn over(backend: Arc<dyn Backend>) -> Self {
        Self { calls: Bounded::new(backend), proven: Arc::default() }
    }

    /// The entry, or `None` if the keyring works and has none.
    pub(crate) fn get(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
        let name = entry.to_owned();
        let found = self.calls.call(None, move |backend| backend.get(&name))?;
        if found.is_some() {
            self.proven.store(true, Ordering::Relaxed);
        } else {
            self.prove()?;
        }
        Ok(found)
    }

    pub(crate) fn set(
        &self,
        hold: Option<Hold>,
        entry: &str,
        secret: &Zeroizing<Vec<u8>>,
    ) -> Result<(), KeyringError> {
        let (entry, secret) = (entry.to_owned(), secret.clone());
        self.calls.call(hold, move |backend| backend.set(&entry, &secret))
    }

    pub(crate) fn delete(&self, hold: Option<Hold>, entry: &str) -> Result<bool, KeyringError> {
        let entry = entry.to_owned();
        self.calls.call(hold, move |backend| backend.delete(&entry))
    }

    pub(crate) fn list(&self) -> Result<Vec<String>, KeyringError> {
        self.calls.call(None, |backend| backend.list())
    }

    /// A keyring that shows an entry of ours works; one without is asked to keep, show and forget one.
    pub(crate) fn prove(&self) -> Result<(), KeyringError> {
        if self.proven.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.list()?.is_empty() {
            self.write_read_delete()?;
        }
        self.proven.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn write_read_delete(&self) -> Result<(), KeyringError> {
        // One per process: two that probe at once must not read each other's.
        let entry = format!("probe-{}", std::process::id());
        let text = Zeroizing::new(format!("linchpin {entry}").into_bytes());
        self.set(None, &entry, &text)?;
        let name = entry.clone();
        let read = self.calls.call(None, move |backend| backend.get(&name))?;
        self.delete(None, &entry)?;
        if read != Some(text) {
            return Err(KeyringError::Failed("it does not give back what it was given".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for KeyringStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Keyring
    }

    fn location(&self) -> String {
        backend::NAME.to_owned()
    }

    async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        let (keyring, key) = (self.keyring.clone(), key.clone());
        blocking(move || {
            let Some(secret) = keyring.get(&key.entry())? else { return Ok(None) };
            parse(&key, &secret).map(Some)
        })
        .await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.prove().await
    }

    async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        let (keyring, hold) = (self.keyring.clone(), guard.hold());
        let (entry, json) = (guard.key().entry(), Zeroizing::new(record.to_json().as_bytes().to_vec()));
        blocking(move || {
            hold.still_excludes()?;
            Ok(keyring.set(Some(hold), &entry, &json)?)
        })
        .await
    }

    async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError> {
        let (keyring, hold, entry) = (self.keyring.clone(), guard.hold(), guard.key().entry());
        blocking(move || {
            hold.still_excludes()?;
            let deleted = keyring.delete(Some(hold), &entry)?;
            if !deleted {
                keyring.prove()?;
            }
            Ok(deleted)
        })
        .await
    }

    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        let keyring = self.keyring.clone();
        blocking(move || {
            let mut keys: Vec<_> =
                keyring.list()?.iter().filter_map(|entry| CredentialKey::from_entry(entry)).collect();
            if keys.is_empty() {
                keyring.prove()?;
            }
            keys.sort();
            let mut records = Vec::with_capacity(keys.len());
            for key in keys {
                // An entry that went away meanwhile is none.
                if let Some(secret) = keyring.get(&key.entry())? {
                    let record = parse(&key, &secret);
                    records.push((key, record));
                }
            }
            Ok(records)
        })
        .await
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

fn parse(key: &CredentialKey, secret: &[u8]) -> Result<Record, StoreError> {
    let damaged = |source| StoreError::unreadable(key, "the keyring".to_owned(), source);
    let text = std::str::from_utf8(secret)
        .map_err(|_| damaged(crate::RecordError::Malformed { line: 1, column: 1 }))?;
    Record::from_json(text).map_err(damaged)
}

#[cfg(test)]
pub(crate) mod tests;
