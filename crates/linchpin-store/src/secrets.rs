//! The `secrets` store: one file of all records, encrypted with age to an X25519 identity.
//!
//! The identity is in `LINCHPIN_IDENTITY`, or in a file of its own with mode 0600, or in the keyring; the first of
//! them that has one is used. Without any, the first save makes one: in the keyring if that works, else in the file.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use thiserror::Error;

use crate::aggregate_file::AggregateFile;
use crate::keyring::Keyring;
use crate::locks::LocalLocks;
use crate::{
    CredentialGuard, CredentialKey, Directories, KeyringError, KeyringStore, LockError, LockRequest,
    LockWatch, Record, Secret, SignInTurn, Store, StoreError, StoreKind, StoredRecord,
};

#[cfg(feature = "secrets")]
mod sealed;
#[cfg(not(feature = "secrets"))]
#[path = "secrets/absent.rs"]
mod sealed;

use sealed::Sealed;

/// `credentials.age`, its identity and its locks.
#[derive(Debug, Clone)]
pub struct SecretsStore {
    file: AggregateFile<Sealed>,
    locks: LocalLocks,
}

/// Where an identity is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityPlace {
    /// Given by the user in `LINCHPIN_IDENTITY`.
    Given,
    /// In a file of its own.
    File(PathBuf),
    /// In the keyring.
    Keyring,
}

impl std::fmt::Display for IdentityPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given => f.write_str("LINCHPIN_IDENTITY"),
            Self::File(path) => path.display().fmt(f),
            Self::Keyring => f.write_str("the keyring"),
        }
    }
}

/// Why the encrypted file cannot be opened or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is none to be found.
    #[error(
        "its identity is missing: LINCHPIN_IDENTITY is not set, {} is not there, and the keyring {}; put it back",
        file.display(), without(keyring.as_ref())
    )]
    Missing {
        /// Where the file would be.
        file: PathBuf,
        /// Why the keyring gave none, unless it works and has none.
        keyring: Option<KeyringError>,
    },
    /// It is another one's.
    #[error("the identity in {0} does not open it; it was encrypted to another")]
    Wrong(IdentityPlace),
    /// It is none.
    #[error("what is in {0} is no age identity (`AGE-SECRET-KEY-1…`)")]
    Malformed(IdentityPlace),
    /// The content was changed.
    #[error("it is damaged{}; repair it or move it away, then run `linchpin login`", kept(kept_copy.as_ref()))]
    Damaged {
        /// A copy kept aside.
        kept_copy: Option<PathBuf>,
    },
    /// This build cannot encrypt.
    #[error("this build has no encrypted store; choose another with LINCHPIN_STORE")]
    NotBuilt,
}

fn without(keyring: Option<&KeyringError>) -> String {
    keyring.map_or_else(|| "has none".to_owned(), |error| format!("cannot be asked ({error})"))
}

fn kept(copy: Option<&PathBuf>) -> String {
    copy.map(|copy| format!(", a copy is at {}", copy.display())).unwrap_or_default()
}

impl SecretsStore {
    /// The encrypted store of `directories`. `given` is the identity that the user gave (`LINCHPIN_IDENTITY`), which
    /// is then the only one asked. Touches nothing yet.
    pub fn new(directories: &Directories, given: Option<Secret>, keyring: &KeyringStore) -> Self {
        Self::over(directories, given, keyring.keyring().clone())
    }

    pub(crate) fn over(directories: &Directories, given: Option<Secret>, keyring: Keyring) -> Self {
        let locks = LocalLocks::new(directories);
        let sealed = Sealed::new(given, directories.identity_file(), keyring);
        Self { file: AggregateFile::new(directories.secrets_file(), &locks, sealed), locks }
    }

    /// Where the identity is, if there is one.
    ///
    /// # Errors
    /// The place that could not be read, or holds no identity.
    pub async fn identity(&self) -> Result<Option<IdentityPlace>, StoreError> {
        let file = self.file.clone();
        crate::aggregate_file::blocking(move || file.encoding().place(file.path())).await
    }

    /// The encrypted file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

#[async_trait]
impl Store for SecretsStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Secrets
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

#[cfg(all(test, feature = "secrets"))]
mod tests;
