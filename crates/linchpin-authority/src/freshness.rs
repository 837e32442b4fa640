//! How close an access token is to its end.

use std::time::Duration;

use linchpin_store::UnixMs;

/// Renewal starts this long before the end, or at half of a shorter life.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// A request waits for renewal this long before the end, or in the last tenth of a shorter life.
const WAIT_BEFORE: Duration = Duration::from_secs(5);

/// How close an access token is to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Nothing to do.
    Fresh,
    /// Still good; to be renewed in the background.
    NearEnd,
    /// In its last moments or ended: a request waits for a new one.
    Ended,
}

/// The life of one access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// When it was obtained.
    pub(crate) obtained: UnixMs,
    /// When it ends, if that is known. A token without a known end is fresh until the server refuses it (P14).
    pub(crate) ends: Option<UnixMs>,
}

impl Life {
    /// How fresh the token is at `now`. `jitter` from 0 to 1 moves the start of renewal by up to a tenth, so that
    /// processes sharing a sign-in do not all start in the same millisecond.
    pub(crate) fn freshness(self, now: UnixMs, jitter: f64) -> Freshness {
        let Some(ends) = self.ends else { return Freshness::Fresh };
        let lifetime = ends.since(self.obtained);
        let renew = RENEW_BEFORE.min(lifetime / 2).mul_f64(1.0 - 0.1 * jitter.clamp(0.0, 1.0));
        let wait = WAIT_BEFORE.min(lifetime / 10);
        if now >= ends.before(wait) {
            Freshness::Ended
        } else if now >= ends.before(renew) {
            Freshness::NearEnd
        } else {
            Freshness::Fresh
        }
    }

    /// Whether the token lives for `needed` more, or for as much of it as is worth a renewal: no token is renewed in
    /// the first half of its life, however much is needed (P14).
    pub(crate) fn lasts(self, now: UnixMs, needed: Duration) -> bool {
        self.ends.is_none_or(|ends| {
            let left = ends.since(now);
            left >= needed.min(ends.since(self.obtained) / 2)
        })
    }

    /// Whether the token has not reached its very end.
    pub(crate) fn is_live(self, now: UnixMs) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_starts_in_the_last_minute_or_at_half_of_a_short_life() {
        use Freshness::{Ended, Fresh, NearEnd};
        for (lifetime_s, at_ms, expected) in [
            (3600, 0, Fresh),
            (3600, 3_539_999, Fresh),
            (3600, 3_540_000, NearEnd),
            (3600, 3_594_999, NearEnd),
            (3600, 3_595_000, Ended),
            (3600, 9_999_999, Ended),
            (5, 2_499, Fresh),
            (5, 2_500, NearEnd),
            (5, 4_499, NearEnd),
            (5, 4_500, Ended),
            (1, 499, Fresh),
            (1, 900, Ended),
            (0, 0, Ended),
        ] {
            let obtained = UnixMs(1_000_000);
            let life = Life { obtained, ends: Some(obtained.after(Duration::from_secs(lifetime_s))) };
            let now = obtained.after(Duration::from_millis(at_ms));
            assert_eq!(life.freshness(now, 0.0), expected, "{lifetime_s} s at {at_ms} ms");
        }
    }

    #[test]
    fn p14_a_long_need_renews_no_token_in_the_first_half_of_its_life() {
        let life = Life { obtained: UnixMs(0), ends: Some(UnixMs(100_000)) };
        let lasts = |at, needed| life.lasts(UnixMs(at), Duration::from_secs(needed));
        assert!(lasts(40_000, 60) && lasts(50_000, 600) && !lasts(50_001, 600));
        assert!(lasts(90_000, 10) && !lasts(90_001, 10) && !lasts(200_000, 1));
        assert!(Life { ends: None, ..life }.lasts(UnixMs(1), Duration::MAX));
    }

    #[test]
    fn jitter_moves_the_start_by_a_tenth_and_no_more() {
        let life = Life { obtained: UnixMs(0), ends: Some(UnixMs(3_600_000)) };
        assert_eq!(life.freshness(UnixMs(3_545_999), 1.0), Freshness::Fresh);
        assert_eq!(life.freshness(UnixMs(3_546_000), 1.0), Freshness::NearEnd);
    }

    #[test]
    fn f14_an_unknown_end_or_a_clock_set_back_is_fresh() {
        let unknown = Life { obtained: UnixMs(5), ends: None };
        assert_eq!(unknown.freshness(UnixMs::MAX, 0.5), Freshness::Fresh);
        let set_back = Life { obtained: UnixMs(100_000_000), ends: Some(UnixMs(103_600_000)) };
        assert_eq!(set_back.freshness(UnixMs(1), 0.5), Freshness::Fresh);
        let absurd = Life { obtained: UnixMs(0), ends: Some(UnixMs::MAX) };
        assert_eq!(absurd.freshness(UnixMs(1), 0.5), Freshness::Fresh);
        let ends_before_it_began = Life { obtained: UnixMs(9), ends: Some(UnixMs(3)) };
        assert_eq!(ends_before_it_began.freshness(UnixMs(4), 0.5), Freshness::Ended);
    }
}
