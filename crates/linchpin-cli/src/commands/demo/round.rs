//! The rounds: what happens to the tokens while the processes call tools.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use linchpin_testkit::{Endpoint, Fault, Kit};

use super::EXCHANGE;

/// How long a short-lived access token lives.
const SHORT_LIFE: Duration = Duration::from_secs(2);
/// How long any other lives: far beyond the demo.
const LONG_LIFE: Duration = Duration::from_secs(3600);
/// How long the calls go on that short-lived tokens have to last for.
const SHORT_LIVES: Duration = Duration::from_secs(3);
/// For how long the provider honours a repeat, when it does.
const GRACE: Duration = Duration::from_secs(30);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// Tokens end while calls are made.
    ShortLives,
    /// All processes start with a token that has ended.
    ExpiredAtStart,
    /// The server refuses the token halfway; which time this is.
    Refused(u8),
    /// The same, and the answer to the exchange is lost at a provider that honours a repeat.
    AnswerLost,
}

/// When the calls of a process are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// One after the other.
    AtOnce,
    /// Spread over this time.
    Over(Duration),
}

/// What a right round costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) exchanges: RangeInclusive<u64>,
    pub(super) repeats: u64,
}

impl Round {
    /// In the order that one sign-in goes through them: the short lives leave an ended token behind.
    pub(super) const ALL: [Self; 6] = [
        Self::ShortLives,
        Self::ExpiredAtStart,
        Self::Refused(1),
        Self::Refused(2),
        Self::Refused(3),
        Self::AnswerLost,
    ];

    /// Its name in JSON.
    pub(super) fn id(self) -> String {
        match self {
            Self::ShortLives => "short_lives".to_owned(),
            Self::ExpiredAtStart => "expired_at_start".to_owned(),
            Self::Refused(time) => format!("refused_{time}"),
            Self::AnswerLost => "answer_lost".to_owned(),
        }
    }

    /// Sets the provider up, before a sign-in is made.
    pub(super) fn prepare(self, kit: &Kit) {
        let life = match self {
            Self::ShortLives | Self::ExpiredAtStart => SHORT_LIFE,
            Self::Refused(_) | Self::AnswerLost => LONG_LIFE,
        };
        let grace = if self == Self::AnswerLost { GRACE } else { Duration::ZERO };
        kit.configure(|config| {
            config.access_lifetime_ms = ms(life);
            config.grace_ms = ms(grace);
        });
        kit.clear_faults();
        kit.fault(Fault::delay(Endpoint::Token, EXCHANGE));
    }

    /// Waits for what has to be so when the processes start.
    pub(super) async fn wait_for_it(self, kit: &Kit) {
        if self == Self::ExpiredAtStart {
            tokio::time::sleep(SHORT_LIFE + Duration::from_millis(100)).await;
            kit.configure(|config| config.access_lifetime_ms = ms(LONG_LIFE));
        }
    }

    /// What happens when every process has made half of its calls; the others come after it.
    pub(super) fn strike(self, kit: &Kit) {
        if self == Self::AnswerLost {
            // The first fault that applies is taken, so the lost answer has to come first.
            kit.clear_faults();
            kit.fault(Fault { delay_ms: ms(EXCHANGE), ..Fault::lose(Endpoint::Token) }.times(1));
            kit.fault(Fault::delay(Endpoint::Token, EXCHANGE));
        }
        if matches!(self, Self::Refused(_) | Self::AnswerLost) {
            kit.refuse_access_tokens();
        }
    }

    pub(super) fn pace(self) -> Pace {
        if self == Self::ShortLives { Pace::Over(SHORT_LIVES) } else { Pace::AtOnce }
    }

    /// What a right round costs that took `elapsed`.
    pub(super) fn expected(self, elapsed: Duration) -> Expected {
        let exchanges = match self {
            // A token is renewed in the second half of its life, or later if nobody calls.
            Self::ShortLives => {
                let at_most = elapsed.as_millis().div_euclid((SHORT_LIFE / 2).as_millis());
                let at_most = u64::try_from(at_most).unwrap_or(u64::MAX).saturating_add(1);
                let at_least = u64::from(elapsed >= SHORT_LIFE + EXCHANGE);
                at_least..=at_most
            }
            Self::ExpiredAtStart | Self::Refused(_) | Self::AnswerLost => 1..=1,
        };
        Expected { exchanges, repeats: u64::from(self == Self::AnswerLost) }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortLives => write!(f, "tokens live {} s", SHORT_LIFE.as_secs()),
            Self::ExpiredAtStart => f.write_str("all start with an ended token"),
            Self::Refused(time) => write!(f, "the server refuses the token ({time})"),
            Self::AnswerLost => f.write_str("the answer to an exchange is lost"),
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_short_lives_cost_an_exchange_each_and_no_more() {
        for (elapsed_ms, exchanges) in [(0, 0..=1), (2_299, 0..=3), (3_000, 1..=4), (23_999, 1..=24)] {
            let expected = Round::ShortLives.expected(Duration::from_millis(elapsed_ms));
            assert_eq!(expected, Expected { exchanges, repeats: 0 }, "{elapsed_ms} ms");
        }
    }

    #[test]
    fn every_round_has_an_id_of_its_own() {
        let ids: std::collections::HashSet<_> = Round::ALL.iter().map(|round| round.id()).collect();
        assert_eq!(ids.len(), Round::ALL.len());
    }
}
