//! The steps of a transaction, named once: what kill points, barriers, the model of the protocol and the fault
//! campaign (`cargo xtask faults`) mean by a word.
//!
//! [`reached`] compiles to nothing. With the feature `kill-points`, which no released program has, a test can say
//! what happens at a step: the process dies, stops, or waits for another.

/// A step of a transaction, in the order of a refresh. A sign-in and a sign-out have the same ones, less the exchange.
///
/// FAULTS F3 speaks of `reserved`, the moment from which the store is known to be able: that is the mark's
/// [`Step::Synced`], since the mark is as large as what will be saved. `intent` is [`Step::Marked`], `intent cleared`
/// is [`Step::MarkCleared`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The credential lock is about to be asked for.
    PreLock,
    /// It is held.
    Locked,
    /// The record was read under it.
    Reread,

    /// A save is about to ask for the lock of the aggregate file. From here to [`Step::DirectorySynced`] the steps are
    /// those of every save into a file: a refresh goes through them for the mark, and again for the new record.
    SavePreLock,
    /// It holds that lock.
    SaveLocked,
    /// It has read the file under it.
    SaveReread,
    /// The temporary file is there, empty.
    TemporaryMade,
    /// It has its content.
    Written,
    /// Its content is durable.
    Synced,
    /// It has taken the file's place: from here on, everybody reads the new content.
    Renamed,
    /// That is durable too.
    DirectorySynced,

    /// The mark of the exchange is saved (P8).
    Marked,
    /// The connection to the token endpoint is open, and nothing was sent over it.
    Connected,
    /// The head and a part of the body were sent. Many providers take what arrived for the whole request.
    HalfSent,
    /// The provider has the whole request. Nothing in this process can tell, so [`reached`] is never called with it: a
    /// test sees it from outside.
    Sent,
    /// The head of the answer was received, its body not.
    HalfReceived,
    /// The whole answer was received.
    Received,
    /// The new record is saved, without a mark (P9). For a sign-in, the record is saved; for a sign-out, it is gone.
    MarkCleared,
    /// This process uses what was saved. The lock is still held.
    Published,
}

impl Step {
    /// Every step, in the order in which a refresh first reaches it.
    pub const ALL: [Self; 19] = [
        Self::PreLock,
        Self::Locked,
        Self::Reread,
        Self::SavePreLock,
        Self::SaveLocked,
        Self::SaveReread,
        Self::TemporaryMade,
        Self::Written,
        Self::Synced,
        Self::Renamed,
        Self::DirectorySynced,
        Self::Marked,
        Self::Connected,
        Self::HalfSent,
        Self::Sent,
        Self::HalfReceived,
        Self::Received,
        Self::MarkCleared,
        Self::Published,
    ];

    /// Its name, as tests, reports and `bench/FAULTS.md` write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreLock => "pre-lock",
            Self::Locked => "locked",
            Self::Reread => "reread",
            Self::SavePreLock => "save-pre-lock",
            Self::SaveLocked => "save-locked",
            Self::SaveReread => "save-reread",
            Self::TemporaryMade => "temporary-made",
            Self::Written => "written",
            Self::Synced => "synced",
            Self::Renamed => "renamed",
            Self::DirectorySynced => "directory-synced",
            Self::Marked => "marked",
            Self::Connected => "connected",
            Self::HalfSent => "half-sent",
            Self::Sent => "sent",
            Self::HalfReceived => "half-received",
            Self::Received => "received",
            Self::MarkCleared => "mark-cleared",
            Self::Published => "published",
        }
    }

    /// The step of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Says that this thread has reached a step. Nothing, unless the feature `kill-points` is on and a test has said what
/// happens there; that happens before it returns.
#[inline]
pub fn reached(step: Step) {
    #[cfg(feature = "kill-points")]
    fail::fail_point!(step.name());
    #[cfg(not(feature = "kill-points"))]
    let _ = step;
}

/// Has `act` called at every step that this process reaches, on the thread that reaches it.
#[cfg(feature = "kill-points")]
pub fn at_each(act: impl Fn(Step) + Clone + Send + Sync + 'static) {
    for step in Step::ALL {
        let act = act.clone();
        // It refuses nothing but what only a text could say.
        let _ = fail::cfg_callback(step.name(), move || act(step));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_name_of_its_own_by_which_it_is_found() {
        for (place, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(Step::from_name(step.name()), Some(step));
            assert_eq!(Step::ALL.iter().position(|one| *one == step), Some(place), "{step}");
        }
        assert!(Step::ALL.is_sorted(), "in the order of the enum");
        assert_eq!(Step::from_name("nowhere"), None);
    }
}
