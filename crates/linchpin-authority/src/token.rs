//! What the rest of the program gets of a sign-in: an access token, and nothing that could renew it (P15).

use std::sync::Arc;
use std::time::Duration;

use linchpin_store::{Fingerprint, Secret, UnixMs};
use tokio::time::Instant;

/// An access token as it was current at some moment. Cheap to clone; keep the clone that a request was sent with,
/// so that a refusal can be charged to it (P16).
#[derive(Debug, Clone)]
pub struct AccessToken(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    secret: Secret,
    fingerprint: Fingerprint,
    expires_at_ms: Option<UnixMs>,
}

impl AccessToken {
    /// A token that ends at `expires_at_ms`, or nobody knows when.
    pub fn new(secret: Secret, expires_at_ms: Option<UnixMs>) -> Self {
        let fingerprint = secret.fingerprint();
        Self(Arc::new(Inner { secret, fingerprint, expires_at_ms }))
    }

    /// The bearer token itself.
    pub fn secret(&self) -> &Secret {
        &self.0.secret
    }

    /// What may be written down about it.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.0.fingerprint
    }

    /// When it ends, if the provider said so.
    pub fn expires_at_ms(&self) -> Option<UnixMs> {
        self.0.expires_at_ms
    }
}

impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.fingerprint() == other.fingerprint()
    }
}

impl Eq for AccessToken {}

/// Beyond anybody's patience, and within what the clocks of all systems can add.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// The moment `duration` from now, for a bound of any length: one of more than 30 years is one of 30 years.
pub fn moment_in(duration: Duration) -> Instant {
    Instant::now() + duration.min(FAR)
}

/// How long a caller waits for a token. The transaction that it waits for has bounds of its own and goes on when
/// the wait ends (P7, P18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until the transaction ends within its own bounds.
    Transaction,
    /// Until this moment at most.
    Until(Instant),
}

impl Wait {
    /// At most `duration` from now.
    pub fn within(duration: Duration) -> Self {
        Self::Until(moment_in(duration))
    }

    /// Whether the wait has run out.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Until(end) if Instant::now() >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_its_text_is() {
        let token = |text: &str, ends: u64| AccessToken::new(Secret::new(text), Some(UnixMs(ends)));
        assert_eq!(token("one", 7), token("one", 8));
        assert_ne!(token("one", 7), token("two", 7));
        assert_eq!(token("one", 7).expires_at_ms(), Some(UnixMs(7)));
        assert_eq!(AccessToken::new(Secret::new("one"), None).expires_at_ms(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn p18_a_wait_is_over_at_its_end_and_not_before() {
        let wait = Wait::within(Duration::from_secs(5));
        assert!(!wait.is_over() && !Wait::Transaction.is_over());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(wait.is_over() && !Wait::Transaction.is_over());
        let thirty_years = Duration::from_secs(30 * 365 * 24 * 3600);
        assert_eq!(moment_in(Duration::MAX), Instant::now() + thirty_years);
    }

    #[tokio::test(start_paused = true)]
    async fn p18_a_wait_of_any_length_is_a_wait() {
        let Wait::Until(end) = Wait::within(Duration::from_secs(5)) else { unreachable!("a moment") };
        assert_eq!(end - Instant::now(), Duration::from_secs(5));
        for long in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(u64::MAX / 2)] {
            let wait = Wait::within(long);
            assert!(!wait.is_over(), "{long:?}");
            let Wait::Until(end) = wait else { unreachable!("a moment") };
            let answered = tokio::time::timeout_at(end, tokio::time::sleep(Duration::from_secs(60)));
            answered.await.expect("the wait is longer");
        }
    }
}
