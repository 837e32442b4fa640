//! The access token that this process uses: read without a lock, and replaced by what was saved (P9).
//!
//! What is read from the store without the credential lock may be older than what a person did meanwhile. So whoever
//! reads a record says first what was finished by then ([`Seen`]); what a person finished since is not replaced (P12).

use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwapOption, Guard};
use linchpin_store::{Record, UnixMs};
use rand::Rng as _;
use tokio::time::Instant;

use crate::AccessToken;
use crate::credential::lock;
use crate::freshness::{Freshness, Life};

/// An access token and its life.
pub(crate) struct Snapshot {
    pub(crate) token: AccessToken,
    pub(crate) life: Life,
    jitter: f64,
}

impl Snapshot {
    pub(crate) fn freshness(&self, now: UnixMs) -> Freshness {
        self.life.freshness(now, self.jitter)
    }
}

/// Which sign-ins and sign-outs of this process had finished before a record was read.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(crate) struct Seen(u64);

/// A sign-in or sign-out of this process finished after the record was read, which is to be read again.
#[derive(Debug)]
pub(crate) struct Overtaken;

/// The snapshot of one credential.
#[derive(Default)]
pub(crate) struct Current {
    snapshot: ArcSwapOption<Snapshot>,
    /// How many sign-ins and sign-outs have finished. Locked by whoever changes the snapshot.
    finished: Mutex<u64>,
    /// After a background renewal failed, there is none before this.
    pub(crate) renew_not_before: Mutex<Option<Instant>>,
}

impl Current {
    /// The snapshot now: a lock-free read.
    pub(crate) fn load(&self) -> Guard<Option<Arc<Snapshot>>> {
        self.snapshot.load()
    }

    /// The same, to be kept.
    pub(crate) fn load_full(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    /// To be asked before the record is read that is then published, or whose absence is.
    pub(crate) fn seen(&self) -> Seen {
        Seen(*lock(&self.finished))
    }

    /// Makes the access token of `record` current. Only what is saved gets here (P9).
    pub(crate) fn publish(&self, record: &Record, seen: Seen) -> Result<AccessToken, Overtaken> {
        let finished = lock(&self.finished);
        if *finished == seen.0 { Ok(self.replace(record)) } else { Err(Overtaken) }
    }

    /// Ends the use of the current token.
    pub(crate) fn withdraw(&self, seen: Seen) -> Result<(), Overtaken> {
        let finished = lock(&self.finished);
        if *finished != seen.0 {
            return Err(Overtaken);
        }
        self.snapshot.store(None);
        Ok(())
    }

    /// A person signed in with `record`, or out: whatever was read before that is overtaken. Under the credential lock.
    pub(crate) fn finish(&self, record: Option<&Record>) {
        let mut finished = lock(&self.finished);
        *finished += 1;
        match record {
            Some(record) => drop(self.replace(record)),
            None => self.snapshot.store(None),
        }
    }

    fn replace(&self, record: &Record) -> AccessToken {
        let life = Life { obtained: record.obtained_at_ms, ends: record.expires_at_ms };
        let current = self.snapshot.load();
        let token = match current.as_ref() {
            Some(current) if *current.token.secret() == record.access_token && current.life == life => {
                return current.token.clone();
            }
            _ => AccessToken::new(record.access_token.clone(), record.expires_at_ms),
        };
        let jitter = rand::rng().random_range(0.0..1.0);
        self.snapshot.store(Some(Arc::new(Snapshot { token: token.clone(), life, jitter })));
        *lock(&self.renew_not_before) = None;
        token
    }
}
