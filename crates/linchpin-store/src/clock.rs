//! Wall-clock time, which records are written in, and its one home.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment in Unix milliseconds, comparable across processes and restarts.
///
/// Arithmetic saturates: an absurd lifetime (`expires_in` of 2^63) becomes the far future and never overflows (P14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The far future: later than any expiry that is worth acting on, and exactly representable everywhere
    /// (2^53 - 1, the largest integer that every JSON reader keeps).
    pub const MAX: Self = Self(9_007_199_254_740_991);

    /// `self + duration`, at most [`UnixMs::MAX`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis).min(Self::MAX.0))
    }

    /// `self - duration`, at least the epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where wall-clock time comes from. Waiting uses tokio's clock, which tests pause; dates use this one.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now, in Unix milliseconds.
    fn now(&self) -> UnixMs;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one home of the wall clock")]
    fn now(&self) -> UnixMs {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(0).after(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_an_absurd_lifetime_saturates() {
        assert_eq!(UnixMs(5).after(Duration::from_secs(u64::MAX)), UnixMs::MAX);
        assert_eq!(UnixMs(5).before(Duration::from_secs(1)), UnixMs(0));
        assert_eq!(UnixMs(5).since(UnixMs(9)), Duration::ZERO);
    }
}
