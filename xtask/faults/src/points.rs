//! Where a process dies (F3), and what that comes to.

use linchpin_store::steps::Step;

/// What a death there comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The provider has not got the refresh token.
    Unspent,
    /// It has spent the token, and what it answered is lost.
    Lost,
    /// The new record is there.
    Saved,
}

/// A place in a refresh.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    /// The name in F3, with more of them inside a save.
    pub(crate) name: &'static str,
    /// The steps that lead there; none where only the provider can tell that it is reached.
    path: Vec<Step>,
    pub(crate) fate: Fate,
}

/// The save of the mark. That the store is able ("reserved") is known when the mark is durable beside the file that it
/// is about to replace.
const MARK: [(&str, Step); 8] = [
    ("mark: pre-lock", Step::SavePreLock),
    ("mark: locked", Step::SaveLocked),
    ("mark: reread", Step::SaveReread),
    ("mark: tmp made", Step::TemporaryMade),
    ("mark: tmp written", Step::Written),
    ("mark: fsynced = reserved", Step::Synced),
    ("mark: renamed", Step::Renamed),
    ("mark: dir-synced", Step::DirectorySynced),
];

/// The save of the new record.
const RECORD: [(&str, Step); 8] = [
    ("record: pre-lock", Step::SavePreLock),
    ("record: locked", Step::SaveLocked),
    ("record: reread", Step::SaveReread),
    ("record: tmp made", Step::TemporaryMade),
    ("record: tmp written", Step::Written),
    ("record: fsynced", Step::Synced),
    ("record: renamed", Step::Renamed),
    ("record: dir-synced", Step::DirectorySynced),
];

impl Point {
    fn new(name: &'static str, path: &[Step], fate: Fate) -> Self {
        Self { name, path: path.to_vec(), fate }
    }

    /// What `LINCHPIN_AT` says, so that the process kills itself there; `None` where it is killed from outside, while
    /// the provider keeps its answer back.
    pub(crate) fn order(&self) -> Option<String> {
        (!self.path.is_empty()).then(|| format!("{}=kill", written(&self.path)))
    }

    /// Whether only a store that is a file gets there.
    pub(crate) fn is_of_a_file(&self) -> bool {
        self.path.last().is_some_and(|step| (Step::SavePreLock..=Step::DirectorySynced).contains(step))
    }

    /// The points of a refresh in their order.
    pub(crate) fn all() -> Vec<Self> {
        let mut points = vec![
            Self::new("pre-lock", &[Step::PreLock], Fate::Unspent),
            Self::new("locked", &[Step::Locked], Fate::Unspent),
            Self::new("reread", &[Step::Reread], Fate::Unspent),
        ];
        points.extend(MARK.map(|(name, step)| Self::new(name, &[Step::Reread, step], Fate::Unspent)));
        points.extend([
            Self::new("intent = mark saved", &[Step::Marked], Fate::Unspent),
            Self::new("connected", &[Step::Marked, Step::Connected], Fate::Unspent),
            Self::new("half-sent", &[Step::Marked, Step::HalfSent], Fate::Unspent),
            Self::new("sent", &[], Fate::Lost),
            Self::new("half-received", &[Step::Marked, Step::HalfReceived], Fate::Lost),
            Self::new("received", &[Step::Marked, Step::Received], Fate::Lost),
        ]);
        points.extend(RECORD.map(|(name, step)| {
            let fate = if step < Step::Renamed { Fate::Lost } else { Fate::Saved };
            Self::new(name, &[Step::Received, step], fate)
        }));
        points.push(Self::new("intent cleared", &[Step::MarkCleared], Fate::Saved));
        points.push(Self::new("after publish", &[Step::Published], Fate::Saved));
        points
    }
}

/// Steps as `LINCHPIN_AT` has them.
pub(crate) fn written(path: &[Step]) -> String {
    path.iter().map(|step| step.name()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f03_every_step_of_a_refresh_is_a_point() {
        let points = Point::all();
        for step in Step::ALL {
            let is_a_point = points.iter().any(|point| point.path.last() == Some(&step));
            assert!(is_a_point || step == Step::Sent, "{step}");
        }
        assert_eq!(points.iter().filter(|point| point.order().is_none()).count(), 1, "sent");
    }
}
