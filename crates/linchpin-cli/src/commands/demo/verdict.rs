//! What a round came to, and whether that is right: pure functions over counts.

use std::fmt;
use std::time::Duration;

use linchpin_testkit::Counts;
use serde::Serialize;

use super::caller::Tally;
use super::round::Expected;

/// What a round came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    pub(super) calls_made: u64,
    pub(super) calls_answered: u64,
    /// Calls that the server ran more than once.
    pub(super) calls_doubled: usize,
    /// Refresh tokens exchanged for new tokens.
    pub(super) exchanges: u64,
    /// Spent refresh tokens that came back while the provider honours that.
    pub(super) repeats: u64,
    /// Spent refresh tokens that came back otherwise.
    pub(super) replays: u64,
    /// Sign-ins that the provider ended because of that.
    pub(super) grants_revoked: u64,
    /// Processes that asked for a person to sign in.
    pub(super) sign_in_required: u64,
    /// Processes with a secret in their output.
    pub(super) secrets_shown: u64,
    pub(super) elapsed_ms: u64,
    /// What the first failed call said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_failure: Option<String>,
}

impl Outcome {
    pub(super) fn new(counts: &Counts, tallies: &[Tally], elapsed: Duration) -> Self {
        let processes = |which: fn(&Tally) -> bool| tallies.iter().map(|tally| u64::from(which(tally))).sum();
        let failures = || tallies.iter().filter_map(|tally| tally.first_failure.clone());
        Self {
            calls_made: tallies.iter().map(|tally| tally.made).sum(),
            calls_answered: tallies.iter().map(|tally| tally.answered).sum(),
            calls_doubled: counts.calls_doubled(),
            exchanges: counts.exchanges,
            repeats: counts.repeats,
            replays: counts.replays,
            grants_revoked: counts.grants_revoked,
            sign_in_required: processes(|tally| tally.sign_in_required),
            secrets_shown: processes(|tally| tally.secret_shown),
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            // The demo's output has no secret in it, whatever happened.
            first_failure: failures().find(|message| !message.contains("planted-")),
        }
    }

    pub(super) fn lost_the_sign_in(&self) -> bool {
        self.grants_revoked > 0 || self.sign_in_required > 0
    }

    /// What is wrong with it.
    pub(super) fn problems(&self, expected: &Expected) -> Vec<Problem> {
        let Expected { exchanges, repeats } = expected;
        let unanswered = self.calls_made.saturating_sub(self.calls_answered);
        let found = [
            (unanswered > 0).then_some(Problem::Unanswered(unanswered)),
            (self.calls_doubled > 0).then_some(Problem::Doubled(self.calls_doubled)),
            (!exchanges.contains(&self.exchanges)).then_some(Problem::Exchanges {
                seen: self.exchanges,
                at_least: *exchanges.start(),
                at_most: *exchanges.end(),
            }),
            (self.repeats != *repeats).then_some(Problem::Repeats { seen: self.repeats, expected: *repeats }),
            (self.replays > 0).then_some(Problem::Replays(self.replays)),
            self.lost_the_sign_in().then_some(Problem::SignInLost),
            (self.secrets_shown > 0).then_some(Problem::SecretShown),
        ];
        found.into_iter().flatten().collect()
    }
}

/// What can be wrong with a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Unanswered(u64),
    Doubled(usize),
    Exchanges { seen: u64, at_least: u64, at_most: u64 },
    Repeats { seen: u64, expected: u64 },
    Replays(u64),
    SignInLost,
    SecretShown,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(calls) => write!(f, "unanswered calls: {calls}"),
            Self::Doubled(calls) => write!(f, "calls that ran more than once: {calls}"),
            Self::Exchanges { seen, at_least, at_most } if at_least == at_most => {
                write!(f, "exchanges: {seen} in place of {at_least}")
            }
            Self::Exchanges { seen, at_least, at_most } => {
                write!(f, "exchanges: {seen} in place of {at_least} to {at_most}")
            }
            Self::Repeats { seen, expected } => write!(f, "repeats: {seen} in place of {expected}"),
            Self::Replays(replays) => write!(f, "replays: {replays}"),
            Self::SignInLost => f.write_str("the sign-in was lost"),
            Self::SecretShown => f.write_str("a process wrote a secret"),
        }
    }
}

#[cfg(test)]
mod tests;
