//! The refresh transaction: lock, reread, decide, mark, exchange, save, publish.

use std::sync::Arc;
use std::time::Duration;

use linchpin_oauth::{Exchange, TokenAnswer};
use linchpin_store::history::{Evidence, What};
use linchpin_store::steps::{Step, reached};
use linchpin_store::{CredentialGuard, Disposition, LockRequest, LockWatch, Record, StoreError};
use tokio::time::Instant;

use crate::credential::Shared;
use crate::decide::{Cause, Decision, decide};
use crate::exchange::{
    Next, Progress, buried, client_refused, given_up, marked, may_be_running, never_sent, next, rotated,
};
use crate::tell::{ended, presented, weigh};
use crate::{AccessToken, CredentialError, SignInReason};

/// For the credential lock: an exchange at its slowest and more, and less than the minute that callers wait by default,
/// so that it is told who holds it.
const WAIT: LockRequest = LockRequest { purpose: "refresh", within: Duration::from_secs(50) };
/// The pause before a record is read again that another process may be renewing without the lock.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The pauses between attempts to save a token that was already exchanged (P9).
const SAVE_AGAIN: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(2)];
/// Every pause after those.
const LONGEST_SAVE_PAUSE: Duration = Duration::from_secs(5);

/// Runs one transaction to its end. Called in a task of its own (P7).
pub(crate) async fn refresh(shared: &Arc<Shared>, cause: &Cause) -> Result<AccessToken, CredentialError> {
    // From before the first look on: a pass of the lock between that and the wait is not missed.
    let mut watch = shared.store.watch_lock(&shared.key);
    if let Some(Settled { decision, record }) = look(shared, cause).await? {
        // The first look of a process is no adoption.
        if let (Decision::Adopt, Some(record), Some(known)) = (&decision, &record, cause.known()) {
            shared.tell_adopted(record, Some(known));
        }
        return shared.settle(record, decision);
    }
    let mut unsent: Option<Box<Record>> = None;
    loop {
        // With a mark of its own to take back, only the lock will do.
        let waited = match unsent {
            Some(_) => shared.lock(WAIT).await.map(Waited::Locked),
            None => lock_or_look(shared, cause, &mut *watch).await,
        };
        let guard = match waited? {
            Waited::Locked(guard) => guard,
            Waited::Settled(settled) => {
                let Settled { decision, record } = *settled;
                shared.tell_if_adopted(&decision, record.as_ref(), cause);
                return shared.settle(record, decision);
            }
        };
        let mut record = shared.load().await?;
        reached(Step::Reread);
        if let (Some(marked), Some(found)) = (&unsent, &record) {
            record = never_sent(marked, found).or(record);
        }
        let decision = shared.decide(record.as_ref(), cause);
        let is_running = |record| may_be_running(record, guard.made_at(), shared.clock.now());
        if decision.needs_lock() && record.as_ref().is_some_and(is_running) {
            // Let go of, so that the process that exchanges can save under it.
            drop(guard);
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        }
        match (decision, record) {
            (Decision::Exchange { presentations }, Some(record)) => {
                let transaction = Transaction { shared, guard: Arc::new(guard), cause };
                match transaction.run(record, presentations).await {
                    Err(Stop::LostLock { marked }) => {
                        tracing::warn!(server = %shared.key, "the lock was removed while it was held; starting over");
                        shared.tell(None, What::LockLost);
                        unsent = marked.or(unsent);
                    }
                    Err(Stop::Failed(error)) => return Err(error),
                    Ok(token) => return Ok(token),
                }
            }
            (settled, record) => {
                shared.tell_if_adopted(&settled, record.as_ref(), cause);
                return shared.settle(record, settled);
            }
        }
    }
}

/// What the record decides without the lock.
struct Settled {
    decision: Decision,
    record: Option<Record>,
}

/// What needs no request needs no lock either. `None`: only under the lock can be said what to do.
async fn look(shared: &Shared, cause: &Cause) -> Result<Option<Settled>, CredentialError> {
    let record = shared.load().await?;
    let decision = shared.decide(record.as_ref(), cause);
    Ok((!decision.needs_lock()).then_some(Settled { decision, record }))
}

/// What a wait for the lock came to.
enum Waited {
    Locked(CredentialGuard),
    /// The record decides by now, as one of its holders left it.
    Settled(Box<Settled>),
}

/// The lock, or what its holders saved meanwhile: those who adopt a token all read it at once, and do not queue for
/// the lock one after the other (F1).
async fn lock_or_look(
    shared: &Shared,
    cause: &Cause,
    watch: &mut dyn LockWatch,
) -> Result<Waited, CredentialError> {
    let begun = Instant::now();
    let looks = async {
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

/// Why a transaction ended without a token.
enum Stop {
    Failed(CredentialError),
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

impl Shared {
    fn decide(&self, record: Option<&Record>, cause: &Cause) -> Decision {
        decide(record.map(|record| self.with_refusal(record)).as_deref(), cause, self.clock.now())
    }

    /// Carries out a decision that sends nothing.
    fn settle(&self, record: Option<Record>, decision: Decision) -> Result<AccessToken, CredentialError> {
        match (decision, record) {
            (Decision::Adopt, Some(record)) => Ok(self.publish(&record)),
            (Decision::RetryAt(at), _) => Err(CredentialError::Temporary {
                key: Box::new(self.key.clone()),
                problem: "could not be asked for a new token a moment ago".to_owned(),
                retry_after: Some(at.since(self.clock.now())),
            }),
            (Decision::ClientRefused { code }, _) => Err(self.client_refused(code)),
            (Decision::SignInRequired(reason), record) => {
                self.withdraw();
                self.tell_required(record.as_ref(), &reason, Evidence::default());
                Err(self.sign_in_required(reason))
            }
            (Decision::Adopt | Decision::Exchange { .. }, _) => {
                unreachable!("adopting needs a record, and an exchange is not settled here")
            }
        }
    }

    pub(crate) fn sign_in_required(&self, reason: SignInReason) -> CredentialError {
        CredentialError::SignInRequired { key: Box::new(self.key.clone()), reason }
    }

    fn client_refused(&self, code: String) -> CredentialError {
        CredentialError::ClientRefused { key: Box::new(self.key.clone()), code }
    }
}

/// A refresh under the credential lock.
struct Transaction<'a> {
    shared: &'a Arc<Shared>,
    guard: Arc<CredentialGuard>,
    cause: &'a Cause,
}

impl Transaction<'_> {
    async fn run(self, record: Record, presentations: u32) -> Result<AccessToken, Stop> {
        let mut progress = Progress { tries: 0, presentations, paused: Duration::ZERO };
        let mut evidence = Evidence { earlier: presented(&record), ..Evidence::default() };
        let mut record = self.mark(record, presentations).await?;
        evidence.last = presented(&record);
        loop {
            // The last moment before the token is spent: beside another holder it must not be (P6).
            if self.guard.still_excludes().is_err() {
                return Err(Stop::LostLock { marked: Some(Box::new(record)) });
            }
            let begun = self.shared.clock.now();
            let outcome = self.shared.endpoint.refresh(&record).await;
            // Read before the history is told, so that a note in the record is no younger than its event.
            let answered = self.shared.clock.now();
            progress.tries += 1;
            report(self.shared, &record, &outcome, progress);
            let told = ended(&record, &outcome, progress);
            weigh(&mut evidence, &outcome, progress);
            let next = next(outcome, progress);
            self.shared.tell(Some(record.generation), told(&next));
            match next {
                Next::Save(answer) => return Ok(self.finish(&record, answer, begun).await?),
                Next::Bury { code } => return Ok(self.bury(record, code, evidence).await?),
                Next::ClientRefused { code } => {
                    let unknown = progress.presentations.saturating_sub(1);
                    let record = client_refused(record, &code, unknown, answered);
                    self.save_or_warn(&record).await;
                    let error = self.shared.client_refused(code);
                    return Ok(self.obtained_nothing(record, error, evidence)?);
                }
                Next::Again(pause) => {
                    tokio::time::sleep(pause).await;
                    progress.paused += pause;
                }
                Next::Repeat => {
                    progress.presentations += 1;
                    record = self.mark(record, progress.presentations).await?;
                    evidence.earlier = std::mem::replace(&mut evidence.last, presented(&record));
                }
                Next::GiveUp { problem, retry_after, unknown } => {
                    let retry_at = self.shared.clock.now().after(retry_after);
                    let record = given_up(record, unknown, Some(retry_at));
                    self.save_or_warn(&record).await;
                    let key = Box::new(self.shared.key.clone());
                    let error = CredentialError::Temporary { key, problem, retry_after: Some(retry_after) };
                    return Ok(self.obtained_nothing(record, error, evidence)?);
                }
            }
        }
    }

    /// Saves the mark: a store that cannot take it is found before the token is spent (P8).
    async fn mark(&self, record: Record, presentations: u32) -> Result<Record, Stop> {
        let earlier = record.exchange.clone();
        let record = marked(record, presentations, self.shared.clock.now());
        match self.save(&record).await {
            Ok(()) => {
                self.shared.tell_begun(earlier.as_ref(), &record, self.cause);
                reached(Step::Marked);
                Ok(record)
            }
            Err(error) if error.is_lost_lock() => Err(Stop::LostLock { marked: None }),
            Err(error) => {
                self.shared.tell_unsaved(&record, false, 1, &error);
                // It may lie there all the same, only not durably, and would count as a presentation that never was.
                let retry_at = record.retry_at_ms;
                let unmarked = given_up(record, presentations - 1, retry_at);
                if self.save(&unmarked).await.is_err_and(|error| error.disposition() == Disposition::TimedOut)
                {
                    let (shared, guard) = (Arc::clone(self.shared), Arc::clone(&self.guard));
                    self.shared.tasks.begin(async move { unmark(&shared, &guard, &unmarked).await });
                }
                Err(CredentialError::Store(Arc::new(error)).into())
            }
        }
    }

    /// Saves the new tokens before anyone sees them. A save that fails is tried again, under the lock, for as long
    /// as this process lives: a token that was exchanged is never dropped (P9).
    async fn finish(
        mut self,
        presented: &Record,
        answer: TokenAnswer,
        begun: linchpin_store::UnixMs,
    ) -> Result<AccessToken, CredentialError> {
        let record = rotated(presented.clone(), answer, begun);
        let mut attempt = 0;
        while let Err(error) = self.save(&record).await {
            if error.is_lost_lock() {
                drop(self.guard);
                let (guard, current) = lock_again(self.shared).await;
                self.guard = Arc::new(guard);
                // A sign-in or sign-out that finished meanwhile wins (P12).
                if current.as_ref().and_then(Record::refresh_fingerprint) != presented.refresh_fingerprint() {
                    tracing::warn!(server = %self.shared.key, "the sign-in was changed while it was renewed");
                    self.shared.tell(None, What::Superseded);
                    return self.superseded(current);
                }
                continue;
            }
            let pause = SAVE_AGAIN.get(attempt).copied().unwrap_or(LONGEST_SAVE_PAUSE);
            attempt += 1;
            self.shared.tell_unsaved(&record, true, attempt, &error);
            tracing::error!(server = %self.shared.key, attempt, "the renewed sign-in cannot be saved: {error}; \
                it is kept in memory and saving is tried again; do not end this process");
            tokio::time::sleep(pause).await;
        }
        if attempt > 0 {
            tracing::warn!(server = %self.shared.key, "the renewed sign-in is saved now");
        }
        reached(Step::MarkCleared);
        self.shared.tell_renewed(&record, attempt);
        let token = self.shared.publish(&record);
        reached(Step::Published);
        Ok(token)
    }

    /// Nothing was obtained, because of `error`. When the token must not be presented again, that is said now and not
    /// at the next try.
    fn obtained_nothing(
        &self,
        record: Record,
        error: CredentialError,
        evidence: Evidence,
    ) -> Result<AccessToken, CredentialError> {
        match decide(Some(&record), self.cause, self.shared.clock.now()) {
            Decision::Exchange { .. } | Decision::RetryAt(_) | Decision::ClientRefused { .. } => Err(error),
            Decision::SignInRequired(reason) => {
                self.shared.withdraw();
                self.shared.tell_required(Some(&record), &reason, evidence);
                Err(self.shared.sign_in_required(reason))
            }
            settled @ Decision::Adopt => {
                self.shared.tell_kept(&record);
                self.shared.settle(Some(record), settled)
            }
        }
    }

    /// A refusal is a fact about one token: it is noted only if the record still holds that token (P11).
    async fn bury(
        &self,
        presented: Record,
        code: String,
        evidence: Evidence,
    ) -> Result<AccessToken, CredentialError> {
        let now = self.shared.clock.now();
        let current = self.shared.load().await?;
        match current {
            Some(current) if current.refresh_fingerprint() == presented.refresh_fingerprint() => {
                let rejected = match self.cause {
                    Cause::Refused(rejected) => Some(rejected),
                    Cause::Ended(_) | Cause::Short(..) => None,
                };
                let record = buried(current, &code, rejected, now);
                self.save_or_warn(&record).await;
                // An access token that has not ended stays in use, unless it is what the server refused.
                if decide(Some(&record), self.cause, now) == Decision::Adopt {
                    self.shared.tell_kept(&record);
                    return Ok(self.shared.publish(&record));
                }
                self.shared.withdraw();
                let reason = SignInReason::Refused { code };
                self.shared.tell_required(Some(&record), &reason, evidence);
                Err(self.shared.sign_in_required(reason))
            }
            // Somebody changed the record past the lock.
            current => {
                self.shared.tell(None, What::Superseded);
                self.superseded(current)
            }
        }
    }

    /// What somebody saved past this transaction decides, and costs no request here.
    fn superseded(&self, current: Option<Record>) -> Result<AccessToken, CredentialError> {
        match decide(current.as_ref(), self.cause, self.shared.clock.now()) {
            Decision::Exchange { .. } => Err(CredentialError::Temporary {
                key: Box::new(self.shared.key.clone()),
                problem: "answered for a token that another program replaced meanwhile".to_owned(),
                retry_after: None,
            }),
            settled => self.shared.settle(current, settled),
        }
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        self.shared.store.save(&self.guard, record).await
    }

    /// For notes that are good to have: their loss costs a request, never a token.
    async fn save_or_warn(&self, record: &Record) {
        if let Err(error) = self.save(record).await {
            tracing::warn!(server = %self.shared.key, "cannot note the outcome of a refresh: {error}");
        }
    }
}

/// Saves `unmarked` over a mark that may arrive late, from a store that hangs; the lock is held until then. What hangs
/// for longer than this keeps its mark, and with it one presentation that never was.
async fn unmark(shared: &Shared, guard: &CredentialGuard, unmarked: &Record) {
    for pause in SAVE_AGAIN.into_iter().chain([LONGEST_SAVE_PAUSE]) {
        tokio::time::sleep(pause).await;
        match shared.store.save(guard, unmarked).await {
            Err(error) if error.disposition() == Disposition::TimedOut => {}
            _ => return,
        }
    }
    tracing::warn!(server = %shared.key, "cannot note that no refresh was begun: the store does not answer");
}

/// The lock and the record under it, however long that takes, for a token that waits to be saved.
async fn lock_again(shared: &Shared) -> (CredentialGuard, Option<Record>) {
    loop {
        let taken = async {
            let guard = shared.lock(WAIT).await?;
            let current = shared.load().await?;
            Ok::<_, CredentialError>((guard, current))
        };
        match taken.await {
            Ok(taken) => return taken,
            Err(error) => {
                tracing::error!(server = %shared.key, "the renewed sign-in cannot be saved: {error}; \
                    it is kept in memory and saving is tried again; do not end this process");
                tokio::time::sleep(LONGEST_SAVE_PAUSE).await;
            }
        }
    }
}

fn report(shared: &Shared, record: &Record, outcome: &Exchange, progress: Progress) {
    let token = record.refresh_fingerprint();
    let token = token.as_ref().map_or("none", |token| token.short());
    let server = &shared.key;
    let Progress { tries, presentations, .. } = progress;
    match outcome {
        Exchange::Rotated(_) => tracing::info!(%server, token, tries, presentations, "refreshed"),
        // What it comes to is an error that the caller gets, or is warned of when nobody waits for it.
        other => tracing::info!(%server, token, tries, presentations, "refresh: {other}"),
    }
}
