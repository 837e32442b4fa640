//! The one owner of the sign-ins of one store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linchpin_oauth::TokenEndpoint;
use linchpin_store::history::{Recorder, Unrecorded};
use linchpin_store::{Clock, CredentialKey, Store};
use tokio_util::sync::CancellationToken;

use crate::Credential;
use crate::credential::lock;
use crate::tasks::Tasks;

/// The one owner of the sign-ins of one pinned store (P4): it reads, renews, saves and deletes there and nowhere
/// else. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Authority(Arc<AuthorityShared>);

/// What all sign-ins of an authority have in common.
pub(crate) struct AuthorityShared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) endpoint: Arc<dyn TokenEndpoint>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) copies: Copies,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) tasks: Tasks,
    /// Cancelled when the process ends: nobody waits for a lock any more.
    pub(crate) closing: CancellationToken,
    credentials: Mutex<HashMap<CredentialKey, Credential>>,
}

/// Other stores of the same installation, in which a copy of a sign-in may lie. They share the pinned store's locks,
/// and nothing is ever read from them to be used (P4): a copy is removed, so that it cannot be mistaken for the sign-in
/// later.
#[derive(Debug, Clone, Default)]
pub struct Copies {
    /// Where a new sign-in removes a copy.
    pub at_sign_in: Vec<Arc<dyn Store>>,
    /// Where a sign-out revokes and removes one.
    pub at_sign_out: Vec<Arc<dyn Store>>,
}

impl Authority {
    /// An authority over `store`, which spends tokens at `endpoint` and tells the time by `clock`, and nobody what it
    /// does.
    pub fn new(store: Arc<dyn Store>, endpoint: Arc<dyn TokenEndpoint>, clock: Arc<dyn Clock>) -> Self {
        Self::of_installation(store, endpoint, clock, Copies::default(), Arc::new(Unrecorded))
    }

    /// The same for an installation with other stores, in which copies may lie, and with a history.
    pub fn of_installation(
        store: Arc<dyn Store>,
        endpoint: Arc<dyn TokenEndpoint>,
        clock: Arc<dyn Clock>,
        copies: Copies,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        let (tasks, closing, credentials) = (Tasks::on_tokio(), CancellationToken::new(), Mutex::default());
        Self(Arc::new(AuthorityShared {
            store,
            endpoint,
            clock,
            copies,
            recorder,
            tasks,
            closing,
            credentials,
        }))
    }

    /// The same with tasks that something else than tokio runs.
    #[cfg(test)]
    pub(crate) fn run_by(mut self, tasks: Tasks) -> Self {
        Arc::get_mut(&mut self.0).expect("nobody has it yet").tasks = tasks;
        self
    }

    /// The pinned store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The sign-in of `key`, whether there is one yet or not. The same key gives the same [`Credential`], so that
    /// all of a process share one snapshot and one running transaction.
    pub fn credential(&self, key: CredentialKey) -> Credential {
        let mut credentials = lock(&self.0.credentials);
        credentials.entry(key.clone()).or_insert_with(|| Credential::new(key, &self.0)).clone()
    }

    /// Waits until running transactions have ended, at most `within`; whether all did. Call it before the process
    /// exits: a transaction cut off in its exchange costs its one repeat (P7, P10). One that still waits for its lock
    /// has begun nothing and gives up at once.
    ///
    /// It is final, for this authority and all its clones: whatever would have to wait for a lock from now on is
    /// [`CredentialError::Interrupted`](crate::CredentialError::Interrupted) instead.
    pub async fn drain(&self, within: Duration) -> bool {
        self.0.closing.cancel();
        tokio::time::timeout(within, self.0.tasks.ended()).await.is_ok()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("store", &self.0.store).finish_non_exhaustive()
    }
}
