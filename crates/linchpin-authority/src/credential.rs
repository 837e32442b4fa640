//! One sign-in as the rest of the program sees it.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linchpin_oauth::TokenEndpoint;
use linchpin_store::history::{Recorder, What};
use linchpin_store::steps::{Step, reached};
use linchpin_store::{
    Clock, CredentialGuard, CredentialKey, LockError, LockHolder, LockRequest, Record, RefusedToken,
    SignInTurn, Store,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::authority::{AuthorityShared, Copies};
use crate::decide::Cause;
use crate::freshness::Freshness;
use crate::sign::{self, Imported, Leftover, Moved, Replace, SignOut, Turn};
use crate::snapshot::Current;
use crate::tasks::Tasks;
use crate::{AccessToken, CredentialError, Wait};

mod running;

use running::Running;

/// One sign-in. Cheap to clone; clones share the snapshot and the running transaction.
#[derive(Clone)]
pub struct Credential(Arc<Shared>);

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credential").field(&self.0.key).finish()
    }
}

impl Credential {
    pub(crate) fn new(key: CredentialKey, authority: &AuthorityShared) -> Self {
        Self(Arc::new(Shared {
            key,
            store: Arc::clone(&authority.store),
            endpoint: Arc::clone(&authority.endpoint),
            clock: Arc::clone(&authority.clock),
            copies: authority.copies.clone(),
            recorder: Arc::clone(&authority.recorder),
            tasks: authority.tasks.clone(),
            closing: authority.closing.clone(),
            current: Current::default(),
            running: Mutex::default(),
            refused: Mutex::default(),
            told: Mutex::default(),
        }))
    }

    /// Which sign-in.
    pub fn key(&self) -> &CredentialKey {
        &self.0.key
    }

    /// A token that is good now. A fresh one is read without a lock; one near its end is renewed in the background
    /// while it is used; an ended one is renewed first, waiting at most `wait`.
    ///
    /// Dropping the future ends the wait, not the transaction (P7).
    ///
    /// # Errors
    /// Every [`CredentialError`]; a token that has not ended is returned rather than an error (P11).
    pub async fn access_token(&self, wait: Wait) -> Result<AccessToken, CredentialError> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        let snapshot = self.0.current.load_full();
        let known = snapshot.as_ref().map(|snapshot| snapshot.token.fingerprint().clone());
        match self.transact(Cause::Ended(known), wait).await {
            Ok(token) => Ok(token),
            Err(error @ CredentialError::SignInRequired { .. }) => Err(error),
            Err(error) => match snapshot.filter(|snapshot| snapshot.life.is_live(self.0.clock.now())) {
                Some(snapshot) => Ok(snapshot.token.clone()),
                None => Err(error),
            },
        }
    }

    /// Like [`Credential::access_token`], for a token that lives for `min_valid` more: one that does not is renewed
    /// first, unless it is in the first half of its life.
    ///
    /// # Errors
    /// As [`Credential::access_token`].
    pub async fn access_token_for(
        &self,
        min_valid: Duration,
        wait: Wait,
    ) -> Result<AccessToken, CredentialError> {
        let token = self.access_token(wait).await?;
        let now = self.0.clock.now();
        let lasts = self.0.current.load().as_ref().is_none_or(|snapshot| snapshot.life.lasts(now, min_valid));
        if lasts {
            return Ok(token);
        }
        match self.transact(Cause::Short(token.fingerprint().clone(), min_valid), wait).await {
            Ok(token) => Ok(token),
            // A token that has not ended stays in use when its refresh fails (P11).
            Err(error) => {
                tracing::warn!("the access token could not be renewed: {error}");
                Ok(token)
            }
        }
    }

    /// The token that is good now if no wait is needed for it: a lock-free read. Starts a background renewal when
    /// the token is near its end and a tokio runtime is there to run it.
    pub fn current(&self) -> Option<AccessToken> {
        let snapshot = self.0.current.load();
        let snapshot = snapshot.as_ref()?;
        match snapshot.freshness(self.0.clock.now()) {
            Freshness::Fresh => Some(snapshot.token.clone()),
            Freshness::NearEnd => {
                self.renew_in_background(&snapshot.token);
                Some(snapshot.token.clone())
            }
            Freshness::Ended => None,
        }
    }

    /// "This one got a 401": returns the token that is current by now if it is another one, else adopts what
    /// another process saved or exchanges, waiting at most `wait` (P16).
    ///
    /// Dropping the future ends the wait, not the transaction (P7).
    ///
    /// # Errors
    /// Every [`CredentialError`].
    pub async fn recover(&self, rejected: &AccessToken, wait: Wait) -> Result<AccessToken, CredentialError> {
        if let Some(token) = self.current().filter(|token| token != rejected) {
            return Ok(token);
        }
        self.transact(Cause::Refused(rejected.fingerprint().clone()), wait).await
    }

    /// The token that [`Credential::recover`] gave was refused too. If it was obtained just now, no process
    /// exchanges it again for 30 s; a person has to look. Returns at once; the note is written by an owned task, and outside a tokio runtime
    /// kept by this process alone.
    pub fn refused_again(&self, token: &AccessToken) {
        let now = self.0.clock.now();
        let obtained = self
            .0
            .current
            .load()
            .as_ref()
            .filter(|snapshot| snapshot.token == *token)
            .map(|snapshot| snapshot.life.obtained);
        if obtained.is_none_or(|obtained| !sign::is_right_after(obtained, now)) {
            return;
        }
        let refused = RefusedToken { fingerprint: token.fingerprint().clone(), at_ms: now };
        let known = lock(&self.0.refused).replace(refused.clone());
        if known.is_none_or(|known| known.fingerprint != refused.fingerprint) && self.0.tasks.can_begin() {
            let shared = Arc::clone(&self.0);
            self.0.tasks.begin(async move { sign::note_refusal(&shared, refused).await });
        }
    }

    /// The record as the pinned store has it now, for showing.
    ///
    /// # Errors
    /// The store's.
    pub async fn record(&self) -> Result<Option<Record>, CredentialError> {
        self.0.load().await
    }

    /// Whether the pinned store could take a sign-in, found out before a person is sent to a browser. Saves nothing.
    ///
    /// # Errors
    /// The lock's and the store's.
    pub async fn ready_for_sign_in(&self) -> Result<(), CredentialError> {
        sign::ready(&self.0).await
    }

    /// Saves a new sign-in, durably, in place of whatever was there (P12), and then removes copies elsewhere. A refresh
    /// in flight is waited for. The answer is what could not be removed.
    ///
    /// Dropping the future does not cancel the transaction.
    ///
    /// # Errors
    /// The lock's and the store's.
    pub async fn sign_in(&self, record: Record) -> Result<Vec<Leftover>, CredentialError> {
        let shared = Arc::clone(&self.0);
        self.owned(async move { sign::sign_in(&shared, record).await }).await
    }

    /// The turn to send a person through a browser, waited for at most `within`; of several processes that want one
    /// sign-in, one opens a page and the others find its result, if that has the `scopes` they want. `busy` is told
    /// which process they wait for. It excludes nothing but other turns: no lock spans the browser (P12).
    ///
    /// # Errors
    /// The lock's; a wait that ran out names who has the turn.
    pub async fn sign_in_turn(
        &self,
        scopes: &[String],
        within: Duration,
        busy: impl FnOnce(Option<&LockHolder>),
    ) -> Result<Turn, CredentialError> {
        sign::turn(&self.0, scopes, within, busy).await
    }

    /// Saves a sign-in that another program made: like [`Credential::sign_in`], but a sign-in that is alive is kept
    /// unless it may be replaced.
    ///
    /// Dropping the future does not cancel the transaction.
    ///
    /// # Errors
    /// The lock's and the store's.
    pub async fn import(&self, record: Record, replace: Replace) -> Result<Imported, CredentialError> {
        let shared = Arc::clone(&self.0);
        self.owned(async move { sign::import(&shared, record, replace).await }).await
    }

    /// Revokes at the provider (RFC 7009; bounded), then deletes the record and copies of it elsewhere. A refresh in flight is waited for and
    /// cannot bring the record back (P12).
    ///
    /// Dropping the future does not cancel the transaction.
    ///
    /// # Errors
    /// The lock's and the store's. A revocation that fails is no error but part of the answer.
    pub async fn sign_out(&self) -> Result<SignOut, CredentialError> {
        let shared = Arc::clone(&self.0);
        self.owned(async move { sign::sign_out(&shared).await }).await
    }

    /// Moves the record into another store of the installation, which shares the lock: written, read back, and only
    /// then removed here. A refresh in flight is waited for. `None` when there is nothing to move.
    ///
    /// Dropping the future does not cancel the transaction.
    ///
    /// # Errors
    /// The lock's and the stores'; the record is where it was, or in both.
    pub async fn move_to(&self, target: Arc<dyn Store>) -> Result<Option<Moved>, CredentialError> {
        let shared = Arc::clone(&self.0);
        self.owned(async move { sign::move_to(&shared, &target).await }).await
    }

    /// Runs a user's transaction in a task of its own.
    async fn owned<T: Send + 'static>(
        &self,
        transaction: impl Future<Output = Result<T, CredentialError>> + Send + 'static,
    ) -> Result<T, CredentialError> {
        match self.0.tasks.own(transaction).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CredentialError::Interrupted { key: Box::new(self.0.key.clone()) }),
        }
    }
}

/// What the clones of a credential share.
pub(crate) struct Shared {
    pub(crate) key: CredentialKey,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) endpoint: Arc<dyn TokenEndpoint>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) copies: Copies,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) tasks: Tasks,
    closing: CancellationToken,
    pub(crate) current: Current,
    running: Mutex<Option<Running>>,
    /// What this process knows to be refused right after its exchange, before the record says so.
    refused: Mutex<Option<RefusedToken>>,
    /// What the history was told last, when that is not to be told again.
    pub(crate) told: Mutex<Option<What>>,
}

impl Shared {
    pub(crate) async fn load(&self) -> Result<Option<Record>, CredentialError> {
        self.store.load(&self.key).await.map_err(|error| CredentialError::Store(Arc::new(error)))
    }

    pub(crate) async fn lock(&self, request: LockRequest) -> Result<CredentialGuard, CredentialError> {
        reached(Step::PreLock);
        let begun = Instant::now();
        let outcome = self.unless_closing(self.store.lock(&self.key, request)).await;
        self.tell_wait(request, begun.elapsed(), outcome.as_ref().map(drop));
        outcome.inspect(|_| reached(Step::Locked))
    }

    pub(crate) async fn sign_in_turn(&self, within: Duration) -> Result<SignInTurn, CredentialError> {
        let request = LockRequest { purpose: "sign-in", within };
        self.unless_closing(self.store.sign_in_turn(&self.key, request)).await
    }

    async fn unless_closing<T>(
        &self,
        wait: impl Future<Output = Result<T, LockError>>,
    ) -> Result<T, CredentialError> {
        tokio::select! {
            // A lock that is free is taken also at the end: only a wait is given up.
            biased;
            taken = wait => taken.map_err(|error| CredentialError::Lock(Arc::new(error))),
            () = self.closing.cancelled() => Err(CredentialError::Interrupted { key: Box::new(self.key.clone()) }),
        }
    }

    /// The record with what this process knows of a refusal that may not be noted yet.
    pub(crate) fn with_refusal<'a>(&self, record: &'a Record) -> Cow<'a, Record> {
        let refused = lock(&self.refused).clone();
        match refused.filter(|refused| refused.fingerprint == record.access_token.fingerprint()) {
            Some(refused) if !record.is_refused() => {
                Cow::Owned(Record { refused: Some(refused), ..record.clone() })
            }
            _ => Cow::Borrowed(record),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests;
