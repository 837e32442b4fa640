//! Spending a refresh token: what follows an outcome, as a pure function, and what the record becomes.

use std::time::Duration;

use linchpin_oauth::{Exchange, TokenAnswer};
use linchpin_store::{
    DeadToken, ExchangeMark, Fingerprint, PRESENTATIONS, Record, RefusedClient, RefusedToken, UnixMs,
};

use crate::decide::{LONGEST_RETRY, is_lately};

/// How often a request that had no effect is made within one transaction.
const TRIES: u32 = 3;
/// How long one transaction waits for a provider in all, under the lock; what it asks for beyond is a temporary
/// failure, and written down so that every process keeps to it.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// After a failed transaction, no process asks again for this long unless the provider named a time.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// An exchange at its slowest (30 s), and the save of what it brought.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(35);

/// How far an exchange has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Requests made in this transaction, the last one included.
    pub(crate) tries: u32,
    /// What the mark in the record says: presentations whose outcome is or may be unknown.
    pub(crate) presentations: u32,
    /// How long this transaction has paused for the provider.
    pub(crate) paused: Duration,
}

/// What follows an outcome.
#[derive(Debug)]
#[must_use]
pub(crate) enum Next {
    /// Save the answer's tokens.
    Save(TokenAnswer),
    /// The refresh token is dead: reread, and note it if it is still the one in the record.
    Bury {
        /// The provider's error code.
        code: String,
    },
    /// Keep the tokens, clear the mark, and note that this client was refused.
    ClientRefused {
        /// The provider's error code.
        code: String,
    },
    /// Try again after a pause; the request had no effect.
    Again(Duration),
    /// Present it once more, at once: the outcome is unknown (P10).
    Repeat,
    /// Give up for now; no process tries again before `retry_after`.
    GiveUp {
        /// What happened, for a person.
        problem: String,
        /// How long to leave the provider alone.
        retry_after: Duration,
        /// Presentations whose outcome stays unknown; the mark stays over them.
        unknown: u32,
    },
}

/// Decides what follows `outcome`.
pub(crate) fn next(outcome: Exchange, progress: Progress) -> Next {
    match outcome {
        Exchange::Rotated(answer) => Next::Save(answer),
        Exchange::Refused { code } => Next::Bury { code },
        Exchange::ClientRefused { code } => Next::ClientRefused { code },
        Exchange::NotSent { problem } => again(problem, None, progress),
        Exchange::Unavailable { problem, retry_after } => again(problem, retry_after, progress),
        Exchange::Unknown { .. } if progress.presentations < PRESENTATIONS => Next::Repeat,
        Exchange::Unknown { problem } => {
            Next::GiveUp { problem, retry_after: RETRY_AFTER_FAILURE, unknown: progress.presentations }
        }
    }
}

fn again(problem: String, retry_after: Option<Duration>, progress: Progress) -> Next {
    // 250 ms, then 1 s, unless the provider names a time.
    let backoff = Duration::from_millis(250) * 4u32.saturating_pow(progress.tries.saturating_sub(1));
    let pause = retry_after.unwrap_or(backoff);
    if progress.tries < TRIES && progress.paused.saturating_add(pause) <= LONGEST_PAUSE {
        return Next::Again(pause);
    }
    let retry_after = retry_after.unwrap_or(RETRY_AFTER_FAILURE).min(LONGEST_RETRY);
    // The last presentation surely had no effect; one before it may have had.
    Next::GiveUp { problem, retry_after, unknown: progress.presentations.saturating_sub(1) }
}

/// `record` with the mark of an exchange that is about to begin (P8).
pub(crate) fn marked(mut record: Record, presentations: u32, now: UnixMs) -> Record {
    record.exchange = record.refresh_fingerprint().map(|fingerprint| ExchangeMark {
        fingerprint,
        presentations,
        at_ms: now,
        pid: std::process::id(),
    });
    record.generation += 1;
    record
}

/// What to go on from when the transaction that left `record` under its mark found, before it sent anything, that its
/// lock was taken away: that presentation never was. `None` when somebody has changed the record since.
pub(crate) fn never_sent(marked: &Record, record: &Record) -> Option<Record> {
    let presentations = marked.exchange.as_ref()?.presentations;
    (marked == record).then(|| given_up(record.clone(), presentations - 1, record.retry_at_ms))
}

/// Whether the exchange of `record`'s mark may still be running although its lock was to be had: the lock was made
/// after the mark, by somebody who found the file of the former one removed (F11), and whoever held that one notices
/// when the request that it waits for has ended.
pub(crate) fn may_be_running(record: &Record, lock_made: Option<UnixMs>, now: UnixMs) -> bool {
    let (Some(mark), Some(made)) = (&record.exchange, lock_made) else { return false };
    record.refresh_fingerprint().as_ref() == Some(&mark.fingerprint)
        && mark.at_ms <= made
        && is_lately(made, LONGEST_EXCHANGE, now)
}

/// `record` after a rotation. What the answer leaves out is carried forward (P14).
pub(crate) fn rotated(mut record: Record, answer: TokenAnswer, begun: UnixMs) -> Record {
    record.access_token = answer.access_token;
    record.refresh_token = answer.refresh_token.or(record.refresh_token);
    record.scopes = answer.scopes.unwrap_or(record.scopes);
    record.obtained_at_ms = begun;
    record.expires_at_ms = answer.expires_in.map(|lifetime| begun.after(lifetime));
    record.exchange = None;
    record.dead = None;
    record.refused = None;
    record.client_refused = None;
    record.retry_at_ms = None;
    record.generation += 1;
    record
}

/// `record` after its refresh token was refused for good (P10, P11). `rejected` is the access token that the server
/// had refused, if that was why: nobody is to try it again. Everything else stays.
pub(crate) fn buried(mut record: Record, code: &str, rejected: Option<&Fingerprint>, now: UnixMs) -> Record {
    if let Some(fingerprint) = rejected.filter(|rejected| **rejected == record.access_token.fingerprint()) {
        record.refused = Some(RefusedToken { fingerprint: fingerprint.clone(), at_ms: now });
    }
    record.dead = record.refresh_fingerprint().map(|fingerprint| DeadToken {
        fingerprint,
        reason: code.to_owned(),
        at_ms: now,
    });
    record.exchange = None;
    record.generation += 1;
    record
}

/// `record` after its client was refused: the tokens stay, and a mark stays over `unknown` presentations.
pub(crate) fn client_refused(record: Record, code: &str, unknown: u32, now: UnixMs) -> Record {
    let refused = RefusedClient { client_id: record.client.id.clone(), code: code.to_owned(), at_ms: now };
    given_up(Record { client_refused: Some(refused), ..record }, unknown, None)
}

/// `record` after a transaction that gave up: the tokens stay, and a mark stays over `unknown` presentations.
pub(crate) fn given_up(mut record: Record, unknown: u32, retry_at: Option<UnixMs>) -> Record {
    record.exchange =
        record.exchange.filter(|_| unknown > 0).map(|mark| ExchangeMark { presentations: unknown, ..mark });
    record.retry_at_ms = retry_at;
    record.generation += 1;
    record
}

#[cfg(test)]
mod tests;
