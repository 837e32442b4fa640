//! What transactions tell the history: what was decided, and why. Telling takes no time and changes nothing.

use std::time::Duration;

use linchpin_oauth::{Exchange, Revocation};
use linchpin_store::history::{
    Cause as Why, Code, Earlier, Event, Evidence, How, Next as Follows, Outcome, Phrase, Place, Reason,
    RevocationOutcome, TokenName, What,
};
use linchpin_store::{ExchangeMark, Fingerprint, LockError, LockRequest, Record, StoreError, UnixMs};

use crate::credential::{Shared, lock};
use crate::decide::{Cause, NO_EXCHANGE_BY_REFUSED_CLIENT};
use crate::exchange::{Next, Progress};
use crate::{CredentialError, SignInReason};

/// A lock that came later than this was waited for.
const LONG_WAIT: Duration = Duration::from_secs(1);

impl Shared {
    /// Tells the history. That a sign-in is required is told once for as long as nothing else happens: a client that
    /// asks again every second is no news.
    pub(crate) fn tell(&self, generation: Option<u64>, what: What) {
        self.tell_at(self.clock.now(), generation, what);
    }

    fn tell_at(&self, at: UnixMs, generation: Option<u64>, what: What) {
        let mut last = lock(&self.told);
        if last.as_ref().is_some_and(|last| what.repeats(last)) {
            return;
        }
        *last = Some(what.clone()).filter(|what| matches!(what, What::SignInRequired { .. }));
        drop(last);
        let event = Event::new(at, &self.key, self.store.kind(), generation, what);
        self.recorder.record(event);
    }

    /// The mark of `record` is saved; `earlier` is the one that was there before. It is told with the mark's own time,
    /// so that a later event which names the mark means the same moment.
    pub(crate) fn tell_begun(&self, earlier: Option<&ExchangeMark>, record: &Record, cause: &Cause) {
        let Some(ExchangeMark { fingerprint, presentations, at_ms, .. }) = &record.exchange else { return };
        let earlier = earlier.filter(|mark| mark.fingerprint == *fingerprint);
        let what = What::ExchangeBegun {
            token: fingerprint.into(),
            presentations: *presentations,
            cause: why(cause, record, self.clock.now()),
            access: (&record.access_token.fingerprint()).into(),
            earlier: earlier.map(presentation),
        };
        self.tell_at(*at_ms, Some(record.generation), what);
    }

    /// The new tokens of `record` are saved.
    pub(crate) fn tell_renewed(&self, record: &Record, failed_saves: usize) {
        let what = What::Renewed {
            token: refresh_token(record),
            access: (&record.access_token.fingerprint()).into(),
            expires_at_ms: record.expires_at_ms,
            failed_saves: u32::try_from(failed_saves).unwrap_or(u32::MAX),
        };
        self.tell(Some(record.generation), what);
    }

    /// A save failed.
    pub(crate) fn tell_unsaved(
        &self,
        record: &Record,
        tokens_wait: bool,
        attempt: usize,
        error: &StoreError,
    ) {
        let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
        let problem = Phrase::new(&error.to_string());
        self.tell(Some(record.generation), What::SaveFailed { tokens_wait, attempt, problem });
    }

    /// The access token of `record` is adopted, unless it is the one that was asked about.
    pub(crate) fn tell_adopted(&self, record: &Record, known: Option<&Fingerprint>) {
        let access = record.access_token.fingerprint();
        if known != Some(&access) {
            let what = What::Adopted { access: (&access).into(), instead_of: known.map(TokenName::from) };
            self.tell(Some(record.generation), what);
        }
    }

    /// The access token of `record` stays in use although it was not renewed.
    pub(crate) fn tell_kept(&self, record: &Record) {
        let access = (&record.access_token.fingerprint()).into();
        self.tell(Some(record.generation), What::Kept { access });
    }

    /// A person has to sign in, because of what `evidence` and `record` know.
    pub(crate) fn tell_required(&self, record: Option<&Record>, reason: &SignInReason, evidence: Evidence) {
        let evidence = record.and_then(|record| recorded(evidence, record, reason));
        let (reason, code) = match reason {
            SignInReason::NotSignedIn => (Reason::NotSignedIn, None),
            SignInReason::NotRenewable => (Reason::NotRenewable, None),
            SignInReason::Refused { code } => (Reason::Refused, Some(Code::new(code))),
            SignInReason::RefusedAfterExchange => (Reason::RefusedAfterExchange, None),
            SignInReason::OutcomeUnknown => (Reason::OutcomeUnknown, None),
        };
        let what = What::SignInRequired {
            reason,
            code,
            token: record.and_then(refresh_token),
            access: record.map(|record| (&record.access_token.fingerprint()).into()),
            evidence,
        };
        self.tell(record.map(|record| record.generation), what);
    }

    /// A wait for the lock ended.
    pub(crate) fn tell_wait(
        &self,
        request: LockRequest,
        waited: Duration,
        outcome: Result<(), &CredentialError>,
    ) {
        let (purpose, waited_ms) = (Phrase::new(request.purpose), millis(waited));
        let what = match outcome {
            Ok(()) if waited >= LONG_WAIT => What::LockWaited { purpose, waited_ms },
            Err(CredentialError::Lock(error)) => match &**error {
                LockError::TimedOut { holder, .. } => What::LockTimedOut {
                    purpose,
                    waited_ms,
                    holder: holder.as_ref().map(|holder| holder.pid),
                    held_for: holder.as_ref().map(|holder| Phrase::new(&holder.purpose)),
                },
                error => What::LockFailed { purpose, problem: Phrase::new(&error.to_string()) },
            },
            _ => return,
        };
        self.tell(None, what);
    }

    /// A new sign-in is saved.
    pub(crate) fn tell_signed_in(&self, record: &Record, how: How) {
        let what = What::SignedIn {
            how,
            issuer: Place::new(&record.issuer),
            token: refresh_token(record),
            access: (&record.access_token.fingerprint()).into(),
            expires_at_ms: record.expires_at_ms,
        };
        self.tell(Some(record.generation), what);
    }

    /// A sign-in is deleted.
    pub(crate) fn tell_signed_out(&self, revocation: &Revocation) {
        let (revocation, code, problem) = match revocation {
            Revocation::Revoked => (RevocationOutcome::Revoked, None, None),
            Revocation::Refused { code } => (RevocationOutcome::Refused, Some(Code::new(code)), None),
            Revocation::Unavailable { problem, .. } => {
                (RevocationOutcome::Unavailable, None, Some(Phrase::new(problem)))
            }
            _ => (RevocationOutcome::NotOffered, None, None),
        };
        self.tell(None, What::SignedOut { revocation, code, problem });
    }
}

/// What came of an exchange, to be told with what follows.
pub(crate) fn ended(
    record: &Record,
    outcome: &Exchange,
    progress: Progress,
) -> impl FnOnce(&Next) -> What + use<> {
    let token = record.refresh_token.as_ref().map_or_else(
        || (&record.access_token.fingerprint()).into(),
        |token| TokenName::from(&token.fingerprint()),
    );
    let (came, code, problem, retry_after) = match outcome {
        Exchange::Rotated(_) => (Outcome::Rotated, None, None, None),
        Exchange::Refused { code } => (Outcome::Refused, Some(code), None, None),
        Exchange::ClientRefused { code } => (Outcome::ClientRefused, Some(code), None, None),
        Exchange::NotSent { problem } => (Outcome::NotSent, None, Some(problem), None),
        Exchange::Unavailable { problem, retry_after } => {
            (Outcome::Unavailable, None, Some(problem), *retry_after)
        }
        Exchange::Unknown { problem } => (Outcome::Unknown, None, Some(problem), None),
    };
    let (code, problem) = (code.map(|code| Code::new(code)), problem.map(|problem| Phrase::new(problem)));
    let registration = matches!(came, Outcome::ClientRefused).then_some(record.client.registration);
    let Progress { tries, presentations, .. } = progress;
    move |next| {
        let (follows, pause) = match next {
            Next::Save(_) => (Follows::Save, None),
            Next::Bury { .. } => (Follows::Bury, None),
            Next::ClientRefused { .. } => (Follows::Keep, Some(NO_EXCHANGE_BY_REFUSED_CLIENT)),
            Next::Again(pause) => (Follows::Again, Some(*pause)),
            Next::Repeat => (Follows::Repeat, None),
            Next::GiveUp { retry_after, .. } => (Follows::GiveUp, Some(*retry_after)),
        };
        What::ExchangeEnded {
            token,
            presentations,
            tries,
            outcome: came,
            code,
            problem,
            retry_after_ms: retry_after.map(millis),
            next: follows,
            pause_ms: pause.map(millis),
            registration,
        }
    }
}

/// The presentation that the mark of `record` is about, if it is one of its refresh token.
pub(crate) fn presented(record: &Record) -> Option<Earlier> {
    let mark = record.exchange.as_ref()?;
    (record.refresh_fingerprint().as_ref() == Some(&mark.fingerprint)).then(|| presentation(mark))
}

/// Adds what came of one more request to the evidence.
pub(crate) fn weigh(evidence: &mut Evidence, outcome: &Exchange, progress: Progress) {
    (evidence.tries, evidence.presentations) = (progress.tries, progress.presentations);
    match outcome {
        Exchange::Unavailable { problem, .. } => {
            evidence.unavailable += 1;
            evidence.problem = Some(Phrase::new(problem));
        }
        Exchange::Unknown { problem } => evidence.problem = Some(Phrase::new(problem)),
        _ => {}
    }
}

/// The evidence with what the record has of it; `None` when there is nothing to say.
fn recorded(mut evidence: Evidence, record: &Record, reason: &SignInReason) -> Option<Evidence> {
    match reason {
        SignInReason::Refused { .. } => {
            evidence.refused_at_ms = record.dead.as_ref().map(|dead| dead.at_ms);
        }
        SignInReason::OutcomeUnknown => {
            evidence.presentations = record.exchange.as_ref().map_or(0, |mark| mark.presentations);
            evidence.last = presented(record);
        }
        _ => return None,
    }
    Some(evidence).filter(|evidence| *evidence != Evidence::default())
}

fn presentation(mark: &ExchangeMark) -> Earlier {
    Earlier { pid: mark.pid, at_ms: mark.at_ms }
}

fn why(cause: &Cause, record: &Record, now: UnixMs) -> Why {
    match cause {
        Cause::Refused(_) => Why::Refused,
        Cause::Short(..) => Why::Short,
        Cause::Ended(_) if record.is_live(now) => Why::NearEnd,
        Cause::Ended(_) => Why::Ended,
    }
}

fn refresh_token(record: &Record) -> Option<TokenName> {
    record.refresh_fingerprint().as_ref().map(TokenName::from)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
