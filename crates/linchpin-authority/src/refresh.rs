//! The refresh transaction: lock, reread, decide; and, if a token is to be spent, `transaction`.

use std::sync::Arc;
use std::time::Duration;

use linchpin_store::history::{Evidence, What};
use linchpin_store::steps::{Step, reached};
use linchpin_store::{CredentialGuard, LockRequest, Record};
use tokio::time::Instant;

use crate::credential::Shared;
use crate::decide::{Cause, Decision, decide};
use crate::exchange::{may_be_running, never_sent};
use crate::snapshot::{Overtaken, Seen};
use crate::{AccessToken, ClientRemedy, CredentialError, Refused, SignInReason};

mod transaction;

use transaction::Transaction;

/// For the credential lock: an exchange at its slowest and more, and less than the minute that callers wait by default,
/// so that it is told who holds it.
const WAIT: LockRequest = LockRequest { purpose: "refresh", within: Duration::from_secs(50) };
/// The pause before a record is read again that another process may be renewing without the lock.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs one transaction to its end. Called in a task of its own (P7).
pub(crate) async fn refresh(shared: &Arc<Shared>, cause: &Cause) -> Result<AccessToken, CredentialError> {
    let mut unsent: Option<Box<Record>> = None;
    let mut outcome = first_look(shared, cause).await;
    loop {
        match outcome {
            Ok(token) => return Ok(token),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::NeedsLock | Stop::Overtaken) => {}
            Err(Stop::MayBeRunning) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(Stop::LostLock { marked }) => {
                tracing::warn!(server = %shared.key, "the lock was removed while it was held; starting over");
                shared.tell(None, What::LockLost);
                unsent = marked.or(unsent);
            }
        }
        outcome = under_lock(shared, cause, unsent.as_deref()).await;
    }
}

async fn first_look(shared: &Shared, cause: &Cause) -> Result<AccessToken, Stop> {
    let settled = look(shared, cause).await?.ok_or(Stop::NeedsLock)?;
    // The first look of a process is no adoption.
    shared.settle(settled, cause.known().map(|_| cause))
}

/// Does what the record says that was read under the lock, or that a holder of it left. `unsent` is a mark of this
/// process's own, to be taken back.
async fn under_lock(
    shared: &Arc<Shared>,
    cause: &Cause,
    unsent: Option<&Record>,
) -> Result<AccessToken, Stop> {
    let waited = match unsent {
        // What that mark means, only the lock tells.
        Some(_) => shared.lock(WAIT).await.map(Waited::Locked),
        None => lock_or_look(shared, cause).await,
    };
    let guard = match waited? {
        Waited::Locked(guard) => guard,
        Waited::Settled(settled) => return shared.settle(*settled, Some(cause)),
    };
    let seen = shared.current.seen();
    let mut record = shared.load().await?;
    reached(Step::Reread);
    if let (Some(marked), Some(found)) = (unsent, &record) {
        record = never_sent(marked, found).or(record);
    }
    let decision = shared.decide(record.as_ref(), cause);
    let is_running = |record| may_be_running(record, guard.made_at(), shared.clock.now());
    if decision.needs_lock() && record.as_ref().is_some_and(is_running) {
        // The lock is let go of, so that the process that exchanges can save under it.
        return Err(Stop::MayBeRunning);
    }
    match (decision, record) {
        (Decision::Exchange { presentations }, Some(record)) => {
            let transaction = Transaction { shared, guard: Arc::new(guard), cause, seen };
            transaction.run(record, presentations).await
        }
        (decision, record) => shared.settle(Settled { decision, record, seen }, Some(cause)),
    }
}

/// What a record decides that was read without the lock, or under it.
struct Settled {
    decision: Decision,
    record: Option<Record>,
    seen: Seen,
}

/// What needs no request needs no lock either. `None`: only under the lock can be said what to do.
async fn look(shared: &Shared, cause: &Cause) -> Result<Option<Settled>, CredentialError> {
    let seen = shared.current.seen();
    let record = shared.load().await?;
    let decision = shared.decide(record.as_ref(), cause);
    Ok((!decision.needs_lock()).then_some(Settled { decision, record, seen }))
}

/// What a wait for the lock came to.
enum Waited {
    Locked(CredentialGuard),
    /// The record decides by now, as one of its holders left it.
    Settled(Box<Settled>),
}

/// The lock, or what its holders saved meanwhile: those who adopt a token all read it at once, and do not queue for
/// the lock one after the other (F1).
async fn lock_or_look(shared: &Shared, cause: &Cause) -> Result<Waited, CredentialError> {
    let begun = Instant::now();
    let looks = async {
        // Not before the lock was found taken: that the first of a storm takes it is no news, and if all the others read
        // the store for it, they are in the way of the mark that it saves.
        let mut watch = shared.store.watch_lock(&shared.key);
        loop {
            watch.passed().await;
            // What cannot be read is for whoever gets the lock to tell.
            if let Ok(Some(settled)) = look(shared, cause).await {
                return settled;
            }
        }
    };
    tokio::select! {
        biased;
        guard = shared.lock(WAIT) => guard.map(Waited::Locked),
        settled = looks => {
            shared.tell_wait(WAIT, begun.elapsed(), Ok(()));
            Ok(Waited::Settled(Box::new(settled)))
        }
    }
}

/// Why there is no token yet, or none at all.
enum Stop {
    Failed(CredentialError),
    /// Only under the lock can be said what to do.
    NeedsLock,
    /// The exchange of a mark may be running, without the lock.
    MayBeRunning,
    /// A person's sign-in or sign-out finished in this process after the record was read.
    Overtaken,
    /// Its lock was taken away before it sent anything. What it had marked, if it had.
    LostLock {
        marked: Option<Box<Record>>,
    },
}

impl From<CredentialError> for Stop {
    fn from(error: CredentialError) -> Self {
        Self::Failed(error)
    }
}

impl From<Overtaken> for Stop {
    fn from(_: Overtaken) -> Self {
        Self::Overtaken
    }
}

impl Shared {
    fn decide(&self, record: Option<&Record>, cause: &Cause) -> Decision {
        decide(record.map(|record| self.with_refusal(record)).as_deref(), cause, self.clock.now())
    }

    /// Carries out a decision that sends nothing. That a token is adopted is told for `adopter`.
    fn settle(&self, settled: Settled, adopter: Option<&Cause>) -> Result<AccessToken, Stop> {
        let Settled { decision, record, seen } = settled;
        let error = match (decision, record) {
            (Decision::Adopt, Some(record)) => {
                let token = self.current.publish(&record, seen)?;
                if let Some(adopter) = adopter {
                    self.tell_adopted(&record, adopter.known());
                }
                return Ok(token);
            }
            (Decision::RetryAt(at), _) => CredentialError::Temporary {
                key: Box::new(self.key.clone()),
                problem: "could not be asked for a new token a moment ago".to_owned(),
                retry_after: Some(at.since(self.clock.now())),
            },
            (Decision::ClientRefused { code }, Some(record)) => self.client_refused(&record, code),
            (Decision::SignInRequired(reason), record) => {
                self.current.withdraw(seen)?;
                self.tell_required(record.as_ref(), &reason, Evidence::default());
                self.sign_in_required(reason)
            }
            (Decision::Adopt | Decision::ClientRefused { .. } | Decision::Exchange { .. }, _) => {
                unreachable!("these need a record, and an exchange is not settled here")
            }
        };
        Err(error.into())
    }

    pub(crate) fn sign_in_required(&self, reason: SignInReason) -> CredentialError {
        CredentialError::SignInRequired { key: Box::new(self.key.clone()), reason }
    }

    fn client_refused(&self, record: &Record, code: String) -> CredentialError {
        let remedy = Box::new(ClientRemedy::of(&self.key, &record.client, Refused::by(&code)));
        CredentialError::ClientRefused { key: Box::new(self.key.clone()), code, remedy }
    }
}
