//! Which store a client uses for a sign-in: resolved once, then pinned (P4).
//!
//! Under `auto` the keyring comes first, then the file. Where nothing is found, the store is the one that a new
//! sign-in would go to. What was resolved is noted for the next time ([`crate::drift`]); the note decides nothing.

use std::fmt;
use std::sync::Arc;

use crate::drift::Notes;
use crate::history::History;
use crate::{
    Clock, CredentialKey, Directories, FileStore, KeyringError, KeyringStore, Secret, SecretsStore, Store,
    StoreError, StoreKind, StorePolicy,
};

/// The stores of one installation, and the policy that chooses among them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stores {
    policy: StorePolicy,
    keyring: KeyringStore,
    secrets: SecretsStore,
    file: FileStore,
    notes: Notes,
    history: History,
}

/// A store that was resolved for a sign-in, and why it is that one.
#[derive(Debug, Clone)]
#[must_use]
#[non_exhaustive]
pub struct Pin {
    /// The store: read, renewed, saved and deleted there, and nowhere else.
    pub store: Arc<dyn Store>,
    /// Why.
    pub why: Why,
    /// The warning that is due when `auto` resolved otherwise the last time (P5).
    pub drift: Option<Drift>,
}

/// Why a store was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The policy names it.
    Configured,
    /// The sign-in is in it.
    Found,
    /// There is no sign-in anywhere, and a new one would go there.
    ForNew,
    /// The keyring does not work.
    KeyringFails(KeyringError),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("LINCHPIN_STORE names it"),
            Self::Found => f.write_str("the sign-in is there"),
            Self::ForNew => f.write_str("a new sign-in goes there"),
            Self::KeyringFails(error) => write!(f, "the keyring cannot be used: {error}"),
        }
    }
}

/// `auto` resolved otherwise than the last time (P5). `Display` is the one warning that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    /// Which sign-in.
    pub key: CredentialKey,
    /// The store of the last time.
    pub before: StoreKind,
    /// The store of this time.
    pub now: StoreKind,
    /// Why it is another one.
    pub reason: DriftReason,
}

/// Why `auto` resolved otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriftReason {
    /// The keyring fails now.
    Keyring(KeyringError),
    /// The keyring works, and has no such entry any more.
    Missing,
    /// The sign-in has turned up in the keyring.
    Appeared,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, before, now, reason } = self;
        write!(f, "{key}: the sign-in was read from the {before} store, now from the {now} store: {reason}")
    }
}

impl fmt::Display for DriftReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyring(error) => write!(f, "the keyring cannot be used, {error}"),
            Self::Missing => f.write_str("the keyring has no entry for it any more"),
            Self::Appeared => f.write_str("the keyring has an entry for it now"),
        }
    }
}

/// What the two stores of `auto` were found to hold.
struct Asked {
    keyring: Result<bool, KeyringError>,
    file: bool,
}

/// The choice of `auto`.
fn choose(asked: &Asked) -> (StoreKind, Why) {
    match (&asked.keyring, asked.file) {
        (Ok(true), _) => (StoreKind::Keyring, Why::Found),
        (Ok(false), true) => (StoreKind::File, Why::Found),
        (Ok(false), false) => (StoreKind::Keyring, Why::ForNew),
        (Err(error), _) => (StoreKind::File, Why::KeyringFails(error.clone())),
    }
}

impl Stores {
    /// The stores of `directories` under `policy`. `identity` is the age identity that the user gave, if any.
    /// Touches nothing yet.
    pub fn new(directories: &Directories, policy: StorePolicy, identity: Option<Secret>) -> Self {
        Self::over(KeyringStore::new(directories), directories, policy, identity)
    }

    pub(crate) fn over(
        keyring: KeyringStore,
        directories: &Directories,
        policy: StorePolicy,
        identity: Option<Secret>,
    ) -> Self {
        let secrets = SecretsStore::new(directories, identity, &keyring);
        let notes = Notes::new(directories);
        let history = History::new(directories);
        Self { policy, keyring, secrets, file: FileStore::new(directories), notes, history }
    }

    /// The policy.
    pub fn policy(&self) -> StorePolicy {
        self.policy
    }

    /// The history of the installation.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The keyring.
    pub fn keyring(&self) -> &KeyringStore {
        &self.keyring
    }

    /// The encrypted file.
    pub fn secrets(&self) -> &SecretsStore {
        &self.secrets
    }

    /// The store of that kind; `None` for one that no installation has.
    pub fn store(&self, kind: StoreKind) -> Option<Arc<dyn Store>> {
        Some(match kind {
            StoreKind::Keyring => Arc::new(self.keyring.clone()),
            StoreKind::Secrets => Arc::new(self.secrets.clone()),
            StoreKind::File => Arc::new(self.file.clone()),
            StoreKind::Memory => return None,
        })
    }

    /// All of them, in the order in which `auto` would rather have them.
    pub fn all(&self) -> [Arc<dyn Store>; 3] {
        [Arc::new(self.keyring.clone()), Arc::new(self.secrets.clone()), Arc::new(self.file.clone())]
    }

    /// Those that the policy looks at, in its order.
    pub fn in_use(&self) -> Vec<Arc<dyn Store>> {
        match self.policy.kind() {
            Some(kind) => vec![self.expect(kind)],
            None => vec![self.expect(StoreKind::Keyring), self.expect(StoreKind::File)],
        }
    }

    /// Resolves the store for `key`. A client does so once and keeps the answer for life.
    ///
    /// Never fails: a keyring that fails is a reason for the file, and a file that fails is pinned, to say so itself
    /// whenever it is used.
    pub async fn resolve(&self, key: &CredentialKey, clock: &dyn Clock) -> Pin {
        let (kind, why) = match self.policy.kind() {
            Some(kind) => (kind, Why::Configured),
            None => choose(&self.ask(key).await),
        };
        let drift = self.notes.resolved(self.policy, key, kind, &why, clock.now()).await;
        Pin { store: self.expect(kind), why, drift }
    }

    /// Where a new sign-in of `key` goes: under `auto` to the keyring when it works, else to the file.
    pub async fn for_sign_in(&self) -> Pin {
        let (kind, why) = match self.policy.kind() {
            Some(kind) => (kind, Why::Configured),
            None => match self.keyring.prove().await {
                Ok(()) => (StoreKind::Keyring, Why::ForNew),
                Err(StoreError::Keyring(error)) => (StoreKind::File, Why::KeyringFails(error)),
                Err(error) => (StoreKind::File, Why::KeyringFails(KeyringError::Failed(error.to_string()))),
            },
        };
        Pin { store: self.expect(kind), why, drift: None }
    }

    /// A sign-in of `key` was saved in the store of that kind: the next resolution is compared with this one.
    pub async fn signed_in(&self, key: &CredentialKey, kind: StoreKind, clock: &dyn Clock) {
        self.notes.baseline(self.policy, key, kind, clock.now()).await;
    }

    /// The store that `key` was last resolved to, and under which policy: for showing.
    pub async fn last_resolution(&self, key: &CredentialKey) -> Option<(StorePolicy, StoreKind)> {
        self.notes.last(key).await.map(|note| (note.policy, note.store))
    }

    /// Every sign-in whose last resolution under `auto` was noted, with the store of then and the one that `auto` would
    /// resolve now. Nothing is noted by looking; empty under another policy.
    pub async fn drifts(&self) -> Vec<(CredentialKey, StoreKind, StoreKind)> {
        if self.policy != StorePolicy::Auto {
            return Vec::new();
        }
        let mut drifts = Vec::new();
        for (key, note) in self.notes.all().await {
            if note.policy == StorePolicy::Auto {
                let (now, _) = choose(&self.ask(&key).await);
                drifts.push((key, note.store, now));
            }
        }
        drifts
    }

    async fn ask(&self, key: &CredentialKey) -> Asked {
        let keyring = match self.keyring.load(key).await {
            Ok(found) => Ok(found.is_some()),
            // It is there, and it is the keyring's to say what is wrong with it.
            Err(StoreError::DamagedRecord { .. }) => Ok(true),
            Err(StoreError::Keyring(error)) => Err(error),
            Err(error) => Err(KeyringError::Failed(error.to_string())),
        };
        let file = match keyring {
            Ok(true) => false,
            // A file that cannot be read may well hold it.
            _ => self.file.load(key).await.map_or(true, |found| found.is_some()),
        };
        Asked { keyring, file }
    }

    fn expect(&self, kind: StoreKind) -> Arc<dyn Store> {
        self.store(kind).expect("only the installation's own stores are resolved")
    }
}

#[cfg(test)]
mod tests;
