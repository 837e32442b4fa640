//! Counting: latencies, and targets that were missed.

use std::time::Duration;

/// Durations, for their median and their end.
#[derive(Debug, Default, Clone)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn add(&mut self, one: Duration) {
        self.0.push(one);
    }

    pub(crate) fn merge(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// The smallest that is not below this share of all.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a share of a count of runs"
        )]
        let place = ((sorted.len() as f64 * share).ceil() as usize).max(1) - 1;
        sorted.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn longest(&self) -> Duration {
        self.quantile(1.0)
    }
}

/// Milliseconds with enough digits to compare.
pub(crate) fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1_000.0;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}

/// Targets that were missed: all are counted, the first few told.
#[derive(Debug, Default, Clone)]
pub(crate) struct Misses {
    count: usize,
    told: Vec<String>,
}

impl Misses {
    const TOLD: usize = 5;

    pub(crate) fn add(&mut self, what: String) {
        self.count += 1;
        if self.told.len() < Self::TOLD {
            self.told.push(what);
        }
    }

    /// `what` if it is not so.
    pub(crate) fn unless(&mut self, is_so: bool, what: impl FnOnce() -> String) {
        if !is_so {
            self.add(what());
        }
    }

    pub(crate) fn merge(&mut self, more: Self) {
        self.count += more.count;
        self.told.extend(more.told);
        self.told.truncate(Self::TOLD);
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn told(&self) -> &[String] {
        &self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_durations() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.longest(), Duration::ZERO);
        for ms in [5, 1, 4, 2, 3] {
            latencies.add(Duration::from_millis(ms));
        }
        assert_eq!(latencies.quantile(0.5), Duration::from_millis(3));
        assert_eq!(latencies.quantile(0.99), Duration::from_millis(5));
        assert_eq!(latencies.longest(), Duration::from_millis(5));
    }
}
