//! What to do about a sign-in, as a pure function of its record, of what is asked, and of the time.

use std::time::Duration;

use linchpin_store::{Fingerprint, PRESENTATIONS, Record, UnixMs};

use crate::SignInReason;
use crate::freshness::{Freshness, Life};

/// After a token was refused right after its own exchange, it is not exchanged again for this long.
const NO_EXCHANGE_AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// After the provider refused the client, nobody presents anything for this long.
pub(crate) const NO_EXCHANGE_BY_REFUSED_CLIENT: Duration = Duration::from_secs(30);
/// A provider is left alone this long at most, however far a clock jumped or whatever it asked for.
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Why a transaction is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The access token of this fingerprint is near or past its end, or there is none yet.
    Ended(Option<Fingerprint>),
    /// The access token of this fingerprint does not live as long as the asker needs it to.
    Short(Fingerprint, Duration),
    /// The server refused the access token of this fingerprint (P16).
    Refused(Fingerprint),
}

impl Cause {
    /// The access token that the asker has and cannot go on with.
    pub(crate) fn known(&self) -> Option<&Fingerprint> {
        match self {
            Self::Ended(known) => known.as_ref(),
            Self::Refused(known) | Self::Short(known, _) => Some(known),
        }
    }
}

/// What to do. Only `Exchange` sends a request; the others change nothing, so they hold whether or not the record
/// was read under the lock, but for what a mark says: without the lock it may be that of an exchange that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Decision {
    /// Use the record's access token: somebody renewed it, or it is good after all.
    Adopt,
    /// Present the refresh token; with an unknown outcome it will have been presented this often.
    Exchange {
        /// 1 for a first presentation, 2 for the one repeat that an unknown outcome allows.
        presentations: u32,
    },
    /// The provider is to be left alone until then.
    RetryAt(UnixMs),
    /// The provider refused this client a moment ago, and is not asked again so soon.
    ClientRefused {
        /// The provider's error code.
        code: String,
    },
    /// A person has to sign in.
    SignInRequired(SignInReason),
}

impl Decision {
    /// Whether it holds only under the lock: it spends a token, or rests on a mark, which without the lock may be that
    /// of an exchange that is running, and under it is one that nobody will clear.
    pub(crate) fn needs_lock(&self) -> bool {
        matches!(self, Self::Exchange { .. } | Self::SignInRequired(SignInReason::OutcomeUnknown))
    }
}

/// Decides. `record` is `None` when the pinned store works and has none.
pub(crate) fn decide(record: Option<&Record>, cause: &Cause, now: UnixMs) -> Decision {
    let Some(record) = record else {
        return Decision::SignInRequired(SignInReason::NotSignedIn);
    };
    let access = record.access_token.fingerprint();
    let is_known = cause.known() == Some(&access);
    // By this asker, or by another whose refresh was then refused for good.
    let is_refused =
        is_known && matches!(cause, Cause::Refused(_)) || record.is_refused() && !record.is_renewable();
    let life = Life { obtained: record.obtained_at_ms, ends: record.expires_at_ms };
    let freshness = life.freshness(now, 0.0);

    let good = match cause {
        Cause::Short(_, needed) if is_known => life.lasts(now, *needed),
        _ if is_known => freshness == Freshness::Fresh,
        _ => freshness != Freshness::Ended,
    };
    if good && !is_refused {
        return Decision::Adopt;
    }
    // What cannot or must not be renewed now stays in use while it lasts, unless the server refuses it (P11).
    let instead = |otherwise: Decision| {
        if !is_refused && life.is_live(now) { Decision::Adopt } else { otherwise }
    };
    let refused_lately = record.refused.as_ref().is_some_and(|refused| {
        refused.fingerprint == access && is_lately(refused.at_ms, NO_EXCHANGE_AFTER_REFUSAL, now)
    });
    if is_refused && refused_lately && record.is_renewable() {
        return Decision::SignInRequired(SignInReason::RefusedAfterExchange);
    }
    if record.refresh_fingerprint().is_none() {
        return instead(Decision::SignInRequired(SignInReason::NotRenewable));
    }
    if let Some(dead) = record.death() {
        return instead(Decision::SignInRequired(SignInReason::Refused { code: dead.reason.clone() }));
    }
    let presented = record.presentations();
    if presented >= PRESENTATIONS {
        return instead(Decision::SignInRequired(SignInReason::OutcomeUnknown));
    }
    if let Some(at) = record.retry_at_ms.filter(|at| now < *at && at.since(now) <= LONGEST_RETRY) {
        return instead(Decision::RetryAt(at));
    }
    // After the time to be left alone until: a client's refusal clears that, so where both hold it was noted since.
    if let Some(refused) = record.client_refusal()
        && is_lately(refused.at_ms, NO_EXCHANGE_BY_REFUSED_CLIENT, now)
    {
        return instead(Decision::ClientRefused { code: refused.code.clone() });
    }
    Decision::Exchange { presentations: presented + 1 }
}

/// Whether `at` was less than `span` ago. By a clock that was set back since, it lies ahead: what lies further ahead
/// than `span` was long ago, or nothing would end before the clock has caught up.
pub(crate) fn is_lately(at: UnixMs, span: Duration, now: UnixMs) -> bool {
    now.since(at) < span && at.since(now) < span
}

#[cfg(test)]
mod tests;
