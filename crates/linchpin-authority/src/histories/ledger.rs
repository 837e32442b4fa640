//! What is true, kept apart from what the records say, and checked against them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use linchpin_oauth::Exchange;
use linchpin_store::{PRESENTATIONS, Record, Secret};

use crate::SignInReason;
use crate::decide::Decision;

/// Everything that a transaction comes to.
pub(super) const EVERYTHING: [&str; 16] = [
    "adopted",
    "first presentation",
    "repeat",
    "left alone",
    "client left alone",
    "not signed in",
    "not renewable",
    "dead",
    "presented twice",
    "refused",
    "refused after exchange",
    "outcome unknown",
    "rotated",
    "not sent",
    "unavailable",
    "client refused",
];

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What came about, and how often.
    pub(super) seen: BTreeMap<&'static str, usize>,
    /// How much time has passed, whatever the clock was set to.
    pub(super) passed: Duration,
    /// How many days the machine's clock is ahead of what it was at first.
    pub(super) days_ahead: i32,
    /// Requests sent.
    pub(super) sent: usize,
    /// The access token that the record must have: of the last rotation that a live process received, or of a later
    /// sign-in; `None` after a sign-out.
    pub(super) expected: Option<Secret>,
    /// When each access token was refused right after its own exchange.
    pub(super) refused_again: HashMap<String, Duration>,
    /// When the client was refused last, and how far ahead the clock was; `None` once it was accepted or replaced.
    client_refused: Option<(Duration, i32)>,
    /// How often each refresh token was presented with an unknown outcome since it last worked.
    unknown: HashMap<String, u32>,
    /// How often it was marked.
    marks: HashMap<String, u32>,
    /// What was refused for good, and noted.
    dead: HashSet<String>,
}

impl Ledger {
    pub(super) fn check_record(&self, record: Option<&Record>) {
        assert_eq!(
            record.map(|record| &record.access_token),
            self.expected.as_ref(),
            "a renewed token is lost, or a sign-in or sign-out undone (P9, P11, P12)"
        );
    }

    /// A sign-in is asked of a person only for a reason that is true.
    pub(super) fn check_reason(&self, reason: &SignInReason, record: Option<&Record>) {
        let refresh = record.and_then(token);
        let is_true = match reason {
            SignInReason::NotSignedIn => record.is_none(),
            SignInReason::NotRenewable => record.is_some() && refresh.is_none(),
            SignInReason::Refused { .. } => refresh.is_some_and(|token| self.dead.contains(&token)),
            SignInReason::OutcomeUnknown => {
                refresh.and_then(|token| self.marks.get(&token).copied()) >= Some(PRESENTATIONS)
            }
            SignInReason::RefusedAfterExchange => record
                .and_then(|record| self.refused_again.get(record.access_token.fingerprint().as_str()))
                .is_some_and(|at| self.passed < *at + Duration::from_secs(30)),
        };
        assert!(is_true, "asked to sign in for no reason: {reason} (P11)");
    }

    pub(super) fn note_decision(&mut self, decision: &Decision) {
        let what = match decision {
            Decision::Adopt => "adopted",
            Decision::Exchange { presentations: 1 } => "first presentation",
            Decision::Exchange { .. } => "repeat",
            Decision::RetryAt(_) => "left alone",
            Decision::ClientRefused { .. } => "client left alone",
            Decision::SignInRequired(reason) => match reason {
                SignInReason::NotSignedIn => "not signed in",
                SignInReason::NotRenewable => "not renewable",
                SignInReason::Refused { .. } => "dead",
                SignInReason::RefusedAfterExchange => "refused after exchange",
                SignInReason::OutcomeUnknown => "presented twice",
            },
        };
        *self.seen.entry(what).or_default() += 1;
    }

    pub(super) fn check_presentation(&self, record: &Record) {
        let token = token(record).expect("a refresh token");
        assert!(!self.dead.contains(&token), "a dead token is presented (P10)");
        let unknown = self.unknown.get(&token).copied().unwrap_or(0);
        assert!(unknown < PRESENTATIONS, "a token of unknown outcome is presented a third time (P10)");
        assert!(!self.is_client_left_alone(), "presented for a client that was just refused (P11)");
    }

    /// Whether nobody is to present anything for the client. A clock that was set since ends that at once.
    pub(super) fn is_client_left_alone(&self) -> bool {
        self.client_refused.is_some_and(|(at, days_ahead)| {
            self.passed < at + Duration::from_secs(30) && self.days_ahead == days_ahead
        })
    }

    pub(super) fn note_client_refused(&mut self) {
        self.client_refused = Some((self.passed, self.days_ahead));
    }

    /// The provider accepted the client, or there is another one.
    pub(super) fn client_known(&mut self) {
        self.client_refused = None;
    }

    pub(super) fn note_presentation(&mut self, record: &Record, outcome: &Exchange) {
        let token = token(record).expect("a refresh token");
        self.sent += 1;
        let what = match outcome {
            Exchange::Rotated(_) => "rotated",
            Exchange::Refused { .. } => "refused",
            Exchange::ClientRefused { .. } => "client refused",
            Exchange::NotSent { .. } => "not sent",
            Exchange::Unavailable { .. } => "unavailable",
            Exchange::Unknown { .. } => "outcome unknown",
        };
        *self.seen.entry(what).or_default() += 1;
        match outcome {
            Exchange::Unknown { .. } => *self.unknown.entry(token).or_default() += 1,
            Exchange::Rotated(_) => {
                self.unknown.remove(&token);
                self.marks.remove(&token);
            }
            _ => {}
        }
    }

    pub(super) fn note_mark(&mut self, record: &Record) {
        *self.marks.entry(token(record).expect("a refresh token")).or_default() += 1;
    }

    pub(super) fn note_dead(&mut self, record: &Record) {
        self.dead.insert(token(record).expect("a refresh token"));
    }
}

fn token(record: &Record) -> Option<String> {
    record.refresh_token.as_ref().map(|token| token.expose().to_owned())
}
