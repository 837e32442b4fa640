//! A token is spent: mark, exchange, save, publish, under the lock.

use std::sync::Arc;
use std::time::Duration;

use linchpin_oauth::{Exchange, TokenAnswer};
use linchpin_store::history::{Evidence, What};
use linchpin_store::steps::{Step, reached};
use linchpin_store::{CredentialGuard, Disposition, Record, StoreError};

use super::{Settled, Stop, WAIT};
use crate::credential::Shared;
use crate::decide::{Cause, Decision, decide};
use crate::exchange::{Next, Progress, buried, client_refused, given_up, marked, next, rotated};
use crate::snapshot::Seen;
use crate::tell::{ended, presented, weigh};
use crate::{AccessToken, CredentialError, SignInReason};

/// The pauses between attempts to save a token that was already exchanged (P9).
const SAVE_AGAIN: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(2)];
/// Every pause after those.
const LONGEST_SAVE_PAUSE: Duration = Duration::from_secs(5);

/// A refresh under the credential lock.
pub(super) struct Transaction<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) guard: Arc<CredentialGuard>,
    pub(super) cause: &'a Cause,
    /// From before the record was read.
    pub(super) seen: Seen,
}

impl Transaction<'_> {
    pub(super) async fn run(self, record: Record, presentations: u32) -> Result<AccessToken, Stop> {
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
                Next::Save(answer) => return self.finish(&record, answer, begun).await,
                Next::Bury { code } => return self.bury(record, code, evidence).await,
                Next::ClientRefused { code } => {
                    let unknown = progress.presentations.saturating_sub(1);
                    let record = client_refused(record, &code, unknown, answered);
                    self.save_or_warn(&record).await;
                    let error = self.shared.client_refused(&record, code);
                    return self.obtained_nothing(&record, error, evidence);
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
                    return self.obtained_nothing(&record, error, evidence);
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
    ) -> Result<AccessToken, Stop> {
        let record = rotated(presented.clone(), answer, begun);
        let mut attempt = 0;
        while let Err(error) = self.save(&record).await {
            if error.is_lost_lock() {
                drop(self.guard);
                let (guard, seen, current) = lock_again(self.shared).await;
                (self.guard, self.seen) = (Arc::new(guard), seen);
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
        let token = self.shared.current.publish(&record, self.seen)?;
        reached(Step::Published);
        Ok(token)
    }

    /// Nothing was obtained, because of `error`. When the token must not be presented again, that is said now and not
    /// at the next try.
    fn obtained_nothing(
        &self,
        record: &Record,
        error: CredentialError,
        evidence: Evidence,
    ) -> Result<AccessToken, Stop> {
        match decide(Some(record), self.cause, self.shared.clock.now()) {
            Decision::Exchange { .. } | Decision::RetryAt(_) | Decision::ClientRefused { .. } => {
                Err(error.into())
            }
            Decision::SignInRequired(reason) => {
                self.shared.current.withdraw(self.seen)?;
                self.shared.tell_required(Some(record), &reason, evidence);
                Err(self.shared.sign_in_required(reason).into())
            }
            Decision::Adopt => {
                let token = self.shared.current.publish(record, self.seen)?;
                self.shared.tell_kept(record);
                Ok(token)
            }
        }
    }

    /// A refusal is a fact about one token: it is noted only if the record still holds that token (P11).
    async fn bury(&self, presented: Record, code: String, evidence: Evidence) -> Result<AccessToken, Stop> {
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
                    let token = self.shared.current.publish(&record, self.seen)?;
                    self.shared.tell_kept(&record);
                    return Ok(token);
                }
                self.shared.current.withdraw(self.seen)?;
                let reason = SignInReason::Refused { code };
                self.shared.tell_required(Some(&record), &reason, evidence);
                Err(self.shared.sign_in_required(reason).into())
            }
            // Somebody changed the record past the lock.
            current => {
                self.shared.tell(None, What::Superseded);
                self.superseded(current)
            }
        }
    }

    /// What somebody saved past this transaction decides, and costs no request here.
    fn superseded(&self, current: Option<Record>) -> Result<AccessToken, Stop> {
        match decide(current.as_ref(), self.cause, self.shared.clock.now()) {
            Decision::Exchange { .. } => Err(CredentialError::Temporary {
                key: Box::new(self.shared.key.clone()),
                problem: "answered for a token that another program replaced meanwhile".to_owned(),
                retry_after: None,
            }
            .into()),
            decision => self.shared.settle(Settled { decision, record: current, seen: self.seen }, None),
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
async fn lock_again(shared: &Shared) -> (CredentialGuard, Seen, Option<Record>) {
    loop {
        let taken = async {
            let guard = shared.lock(WAIT).await?;
            let seen = shared.current.seen();
            let current = shared.load().await?;
            Ok::<_, CredentialError>((guard, seen, current))
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
