//! The interface of every store, free of file and process notions: a database behind it changes nothing above.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    CredentialKey, Disposition, IdentityError, KeyringError, LockError, Record, RecordError, UnixMs,
};

/// Where records live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StoreKind {
    /// The platform's keyring, an entry per record.
    Keyring,
    /// One file encrypted to an age identity.
    Secrets,
    /// One JSON file, readable by its owner alone.
    File,
    /// The memory of this process.
    Memory,
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyring => "keyring",
            Self::Secrets => "secrets",
            Self::File => "file",
            Self::Memory => "memory",
        })
    }
}

/// A credential lock as its store has it; dropping it releases the lock.
pub trait Held: Send + Sync {
    /// Whether whoever asks for the lock now is kept out by this one. A lock may be taken away from its holder: a
    /// lock file is removed, a connection to a database ends.
    ///
    /// # Errors
    /// [`LockError::Lost`].
    fn still_excludes(&self) -> Result<(), LockError> {
        Ok(())
    }

    /// When the lock itself was made, if that is known and not always: whoever held one of the same name before that
    /// may not have noticed yet that it was taken away. Every holder of one lock is told the same.
    fn made_at(&self) -> Option<UnixMs> {
        None
    }
}

impl Held for tokio::sync::OwnedMutexGuard<()> {}

/// The right to change the record of one key, held by one task of one process at a time. Dropping it, or the death
/// of the process, gives the right back.
#[must_use = "dropping the guard releases the credential lock"]
pub struct CredentialGuard {
    key: CredentialKey,
    held: Arc<dyn Held>,
    #[expect(dead_code, reason = "dropping it is what it is for")]
    marker: Option<Box<dyn Any + Send + Sync>>,
}

/// Keeps a credential lock held for a call that may outlive its caller; see [`CredentialGuard::hold`].
#[derive(Clone)]
pub struct Hold(Arc<dyn Held>);

impl Hold {
    /// Whether whoever asks for the lock now is still kept out.
    ///
    /// # Errors
    /// [`LockError::Lost`].
    pub fn still_excludes(&self) -> Result<(), LockError> {
        self.0.still_excludes()
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

impl CredentialGuard {
    /// A guard for `key`, made by a store's [`Store::lock`]; dropping `held` must release the lock.
    pub fn new(key: CredentialKey, held: impl Held + 'static) -> Self {
        Self { key, held: Arc::new(held), marker: None }
    }

    /// With something that goes with the guard itself, however long a [`Hold`] lasts.
    pub(crate) fn with_marker(self, marker: impl Send + Sync + 'static) -> Self {
        Self { marker: Some(Box::new(marker)), ..self }
    }

    /// The key whose record may be changed.
    pub fn key(&self) -> &CredentialKey {
        &self.key
    }

    /// Whether whoever asks for the lock now is still kept out. Asked right before a token is spent; a store asks
    /// itself before it changes a record.
    ///
    /// # Errors
    /// [`LockError::Lost`].
    pub fn still_excludes(&self) -> Result<(), LockError> {
        self.held.still_excludes()
    }

    /// When the lock itself was made; see [`Held::made_at`].
    pub fn made_at(&self) -> Option<UnixMs> {
        self.held.made_at()
    }

    /// Keeps the lock held until the answer is dropped, whatever becomes of the guard. A store whose call may go on
    /// after its caller gave up (a keyring that hangs) gives it to that call: a write that arrives late still arrives
    /// under the lock, and cannot undo what the next holder saves.
    pub fn hold(&self) -> Hold {
        Hold(Arc::clone(&self.held))
    }
}

impl fmt::Debug for CredentialGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialGuard").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The turn of a process to send a person through a browser for one key. It excludes other turns and nothing else:
/// whatever changes the record takes the credential lock besides, when the browser is done (P12). Dropping it, or the
/// death of the process, passes the turn on.
#[must_use = "dropping it passes the turn on"]
pub struct SignInTurn {
    #[expect(dead_code, reason = "dropping it is what it is for")]
    held: Box<dyn Any + Send + Sync>,
}

impl SignInTurn {
    /// A turn made by a store's [`Store::sign_in_turn`]; dropping `held` must pass it on.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self { held: Box::new(held) }
    }
}

impl fmt::Debug for SignInTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignInTurn")
    }
}

/// How a lock is asked for.
#[derive(Debug, Clone, Copy)]
pub struct LockRequest {
    /// What for, in one or two words; another process that waits shows them (`refresh`, `sign-in`).
    pub purpose: &'static str,
    /// How long to wait at most.
    pub within: Duration,
}

/// Sees a credential lock pass from one holder to the next; see [`Store::watch_lock`].
#[async_trait]
pub trait LockWatch: Send {
    /// Waits until somebody else has the lock than was seen last: what the former holder saved can be read by then. A
    /// pass while nobody waits is seen by the next wait, at once. Dropping the future loses nothing.
    async fn passed(&mut self);
}

/// The watch of a store that cannot tell.
struct Unseen;

#[async_trait]
impl LockWatch for Unseen {
    async fn passed(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// One entry of [`Store::list`]: a record, or why this one cannot be read (the others can, P3).
pub type StoredRecord = (CredentialKey, Result<Record, StoreError>);

/// Keeps records. Every method may block on a disk or a daemon and none on the network; a save is whole or not at
/// all, and durable when it returns (P2). Dropping a returned future may or may not let a save happen; it never
/// leaves half of one.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Which kind this is.
    fn kind(&self) -> StoreKind;

    /// Where it is, for a person: a path or a service's name.
    fn location(&self) -> String;

    /// The record of `key`, or `None` if the store works and has none. Takes no lock.
    async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError>;

    /// Whether the store could take a record now, found out before a person is sent to a browser. Changes nothing.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Replaces the record of the guard's key. Fails with [`LockError::Lost`] when the guard keeps nobody out any more.
    async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError>;

    /// Deletes the record of the guard's key; whether there was one.
    async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError>;

    /// Every record, in the order of their keys.
    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError>;

    /// The credential lock of `key`. Waits by polling, at most `request.within`; dropping the future ends the wait.
    /// Asking for a lock that the same task holds is a bug and reported at once.
    async fn lock(&self, key: &CredentialKey, request: LockRequest) -> Result<CredentialGuard, LockError>;

    /// Watches the lock of `key`, from this call on. For those who wait for a lock only to see what its holder did, and
    /// need not queue for that; a lock that comes free is for [`Store::lock`] to find. A store that cannot tell sees
    /// nothing.
    fn watch_lock(&self, _key: &CredentialKey) -> Box<dyn LockWatch> {
        Box::new(Unseen)
    }

    /// The turn to sign in to `key` in a browser, waited for like a lock. It is taken before the credential lock and
    /// never while that is held. A store that keeps none lets everybody have it, each with a page of their own: the
    /// last to finish wins all the same.
    async fn sign_in_turn(
        &self,
        _key: &CredentialKey,
        _request: LockRequest,
    ) -> Result<SignInTurn, LockError> {
        Ok(SignInTurn::new(()))
    }
}

/// Why a store failed. Texts name the place and what to do, never a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused a file operation.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// The verb: `read`, `write`, `create`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is there and is not what Linchpin writes; it was left as it is (P3).
    #[error("{} is damaged ({problem}); it was not changed{}; repair it or move it away, then run `linchpin login`",
        path.display(), kept(kept_copy.as_ref()))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how it fails to read; no content.
        problem: String,
        /// A copy kept aside.
        kept_copy: Option<PathBuf>,
    },
    /// One entry is damaged; the others are fine.
    #[error("the sign-in for {key} in {place} is damaged: {source}; run `linchpin logout {}` and sign in again",
        key.server)]
    DamagedRecord {
        /// The entry.
        key: Box<CredentialKey>,
        /// The file, or the keyring.
        place: String,
        /// What is wrong with it.
        source: RecordError,
    },
    /// One entry was written by a newer Linchpin.
    #[error(
        "the sign-in for {key} in {place} has version {found}, this program knows version 1; update linchpin"
    )]
    NewerRecord {
        /// The entry.
        key: Box<CredentialKey>,
        /// The file, or the keyring.
        place: String,
        /// Its version.
        found: u64,
    },
    /// Written by a newer Linchpin.
    #[error("{} has version {found}, this program knows version 1; update linchpin", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Others could read or replace the file.
    #[error("{} is not safe to use: {problem}; {remedy}", path.display())]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The keyring failed.
    #[error("keyring: {0}")]
    Keyring(#[from] KeyringError),
    /// The encrypted file cannot be opened or written.
    #[error("{}: {problem}; it was not changed", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: IdentityError,
    },
    /// The lock of the aggregate file was not to be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A failure that no other variant names; its text says what happened.
    #[error("{0}")]
    Other(&'static str),
}

impl StoreError {
    /// An entry of `place` that does not read.
    pub(crate) fn unreadable(key: &CredentialKey, place: String, source: RecordError) -> Self {
        let key = Box::new(key.clone());
        match source {
            RecordError::Version(found) => Self::NewerRecord { key, place, found },
            source @ RecordError::Malformed { .. } => Self::DamagedRecord { key, place, source },
        }
    }

    /// Whether it comes from a lock that was taken away from its holder: nothing was changed, and the transaction may
    /// start over.
    pub fn is_lost_lock(&self) -> bool {
        matches!(self, Self::Lock(LockError::Lost { .. }))
    }

    /// What can be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Lock(error) => error.disposition(),
            Self::Keyring(KeyringError::TimedOut) => Disposition::TimedOut,
            _ => Disposition::Configuration,
        }
    }
}

fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free some space and try again",
        ErrorKind::ReadOnlyFilesystem => "; set LINCHPIN_HOME to a writable directory",
        ErrorKind::PermissionDenied => "; check who owns it, or set LINCHPIN_HOME",
        _ => "",
    }
}

fn kept(copy: Option<&PathBuf>) -> String {
    copy.map(|copy| format!(", and a copy is at {}", copy.display())).unwrap_or_default()
}
