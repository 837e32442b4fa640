//! How event streams that nobody in particular waits for are kept open: when to try again, and when to wait for a
//! new sign-in instead.

use std::time::Duration;

use http::StatusCode;
use linchpin_authority::Credential;
use linchpin_store::Fingerprint;

use crate::SendError;

/// The first pause before a stream is opened again, unless the server names one; it doubles up to
/// [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before a stream is opened again, whatever the server names.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often the store is asked for a new sign-in: at first, and after a while.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const LATER_LOOKS: Duration = Duration::from_secs(8);

/// The pause before the next attempt: what the server named, or one that doubles with every failure in a row, with
/// `jitter` (0 to 1) of a quarter.
pub fn pause(named: Option<Duration>, failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(16)));
    let pause = match named {
        Some(named) if failures <= 1 => named,
        _ => doubled.max(named.unwrap_or_default()),
    };
    pause.min(LONGEST_PAUSE).mul_f64(1.0 - 0.25 * jitter)
}

/// Whether the server may answer otherwise a little later.
pub fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// Which sign-in the pinned store had at some moment, so that another one is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInMark(Option<Fingerprint>);

impl SignInMark {
    /// The sign-in of this moment. Take it before the attempt whose failure is to be waited out.
    pub async fn of(credential: &Credential) -> Self {
        let record = credential.record().await.ok().flatten();
        Self(record.map(|record| record.access_token.fingerprint()))
    }

    /// The same, when it failed because the token that it had by then was refused: that one is to be superseded.
    #[must_use]
    pub fn after(self, error: &SendError) -> Self {
        match error {
            SendError::AuthenticationRequired { refused, .. } => Self(Some(refused.clone())),
            _ => self,
        }
    }

    /// Waits until the store has another access token than at that moment, put there by this process or by another
    /// one. Only the store is asked, every half second at first and every 8 s later; nothing goes over the network.
    pub async fn superseded(self, credential: &Credential) {
        let mut look = FIRST_LOOK;
        loop {
            tokio::time::sleep(look).await;
            let now = Self::of(credential).await;
            if now.0.is_some() && now != self {
                return;
            }
            look = look.mul_f64(1.5).min(LATER_LOOKS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p18_the_pause_doubles_up_to_half_a_minute_and_heeds_the_server() {
        let seconds =
            |named: Option<u64>, failures| pause(named.map(Duration::from_secs), failures, 0.0).as_secs();
        let unnamed: Vec<_> = (0..9).map(|failures| seconds(None, failures)).collect();
        assert_eq!(unnamed, [1, 1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(seconds(Some(3), 0), 3);
        assert_eq!(seconds(Some(3), 1), 3);
        assert_eq!(seconds(Some(3), 4), 8);
        assert_eq!(seconds(Some(86_400), 1), 30);
        assert_eq!(pause(None, 0, 1.0), Duration::from_millis(750));
        assert_eq!(pause(None, u32::MAX, 0.0), LONGEST_PAUSE);
    }
}
