//! The drift note (P5): which store a sign-in was last resolved to, and under which policy.
//!
//! Token-free, best effort, and never part of a decision: a note that cannot be read or written is as good as none.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aggregate_file::blocking;
use crate::lock::lock_blocking;
use crate::locks::LocalLocks;
use crate::permissions::{open_private, private_dir};
use crate::resolve::{Drift, DriftReason, Why};
use crate::{CredentialKey, Directories, LockRequest, StoreError, StoreKind, StorePolicy, UnixMs, atomic};

/// How long a note may wait for another process to write its own.
const WAIT: Duration = Duration::from_millis(250);
/// More than any installation has.
const MAX_BYTES: u64 = 4 << 20;

/// `store-resolutions.json`.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    path: PathBuf,
    lock: PathBuf,
}

/// The last resolution of one sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) policy: StorePolicy,
    pub(crate) store: StoreKind,
    pub(crate) at_ms: UnixMs,
}

/// What follows a resolution, given the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// As the last time.
    Same,
    /// Another policy, or the first time: a new baseline.
    Baseline,
    /// The same policy resolved otherwise.
    Drifted,
}

fn compare(last: Option<&Note>, policy: StorePolicy, store: StoreKind) -> Next {
    match last {
        Some(last) if last.policy == policy && last.store == store => Next::Same,
        Some(last) if last.policy == policy && policy == StorePolicy::Auto => Next::Drifted,
        _ => Next::Baseline,
    }
}

impl Notes {
    pub(crate) fn new(directories: &Directories) -> Self {
        let path = directories.resolutions_file();
        let lock = LocalLocks::new(directories).of_file(&path);
        Self { path, lock }
    }

    /// Notes a resolution; the drift, if it is one. The warning is due once: the note is then the new one.
    pub(crate) async fn resolved(
        &self,
        policy: StorePolicy,
        key: &CredentialKey,
        store: StoreKind,
        why: &Why,
        now: UnixMs,
    ) -> Option<Drift> {
        let (notes, entry) = (self.clone(), key.entry());
        let read = blocking(move || notes.read().map(|mut all| all.remove(&entry))).await;
        let last = read.ok().flatten();
        let next = compare(last.as_ref(), policy, store);
        if next != Next::Same {
            self.baseline(policy, key, store, now).await;
        }
        let before = last.filter(|_| next == Next::Drifted)?.store;
        let reason = match why {
            Why::KeyringFails(error) => DriftReason::Keyring(error.clone()),
            _ if store == StoreKind::Keyring => DriftReason::Appeared,
            _ => DriftReason::Missing,
        };
        Some(Drift { key: key.clone(), before, now: store, reason })
    }

    /// Makes this the resolution that the next one is compared with.
    pub(crate) async fn baseline(
        &self,
        policy: StorePolicy,
        key: &CredentialKey,
        store: StoreKind,
        now: UnixMs,
    ) {
        let (notes, entry) = (self.clone(), key.entry());
        let note = Note { policy, store, at_ms: now };
        if let Err(error) = blocking(move || notes.write(entry, note)).await {
            tracing::debug!("the resolution of a store was not noted: {error}");
        }
    }

    /// The last resolution of `key`, for showing.
    pub(crate) async fn last(&self, key: &CredentialKey) -> Option<Note> {
        let (notes, entry) = (self.clone(), key.entry());
        blocking(move || notes.read().map(|mut all| all.remove(&entry))).await.ok().flatten()
    }

    /// All of them, for showing.
    pub(crate) async fn all(&self) -> Vec<(CredentialKey, Note)> {
        let notes = self.clone();
        let all = blocking(move || notes.read()).await.unwrap_or_default();
        all.into_iter().filter_map(|(entry, note)| Some((CredentialKey::from_entry(&entry)?, note))).collect()
    }

    fn write(&self, entry: String, note: Note) -> Result<(), StoreError> {
        private_dir(self.path.parent().expect("the notes lie in a directory"))?;
        private_dir(self.lock.parent().expect("a lock lies in a directory"))?;
        let _held = lock_blocking(&self.lock, LockRequest { purpose: "note", within: WAIT })?;
        // Notes that do not read are forgotten: they decide nothing.
        let mut all = self.read().unwrap_or_default();
        all.insert(entry, note);
        let json = serde_json::to_vec(&all).expect("notes are strings and numbers");
        atomic::replace(&self.path, &json)
    }

    fn read(&self) -> Result<BTreeMap<String, Note>, StoreError> {
        let Some(file) = open_private(&self.path)? else { return Ok(BTreeMap::new()) };
        let mut bytes = Vec::new();
        let read = file.take(MAX_BYTES).read_to_end(&mut bytes);
        read.map_err(|source| crate::permissions::io_error("read", &self.path, source))?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p05_only_the_same_policy_auto_drifts() {
        use StoreKind::{File, Keyring};
        use StorePolicy::Auto;
        let note = |policy, store| Some(Note { policy, store, at_ms: UnixMs(1) });
        for (last, policy, store, expected) in [
            (None, Auto, Keyring, Next::Baseline),
            (note(Auto, Keyring), Auto, Keyring, Next::Same),
            (note(Auto, Keyring), Auto, File, Next::Drifted),
            (note(Auto, File), Auto, Keyring, Next::Drifted),
            (note(StorePolicy::File, File), Auto, Keyring, Next::Baseline),
            (note(Auto, Keyring), StorePolicy::File, File, Next::Baseline),
            (note(StorePolicy::File, File), StorePolicy::File, File, Next::Same),
            (note(StorePolicy::Secrets, StoreKind::Secrets), StorePolicy::File, File, Next::Baseline),
        ] {
            assert_eq!(compare(last.as_ref(), policy, store), expected, "{last:?} {policy} {store}");
        }
    }
}
