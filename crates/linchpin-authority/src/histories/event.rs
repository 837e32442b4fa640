//! What happens in a history.

use std::time::Duration;

use proptest::prelude::*;

use super::PROCESSES;
use super::provider::{self, Fate};

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A process wants a token; the fates are those of the requests that this comes to, in order.
    Want(usize, Vec<Fate>),
    /// It wants one that lives this long.
    WantFor(usize, Duration, Vec<Fate>),
    /// The server refuses the token that the process has.
    Refuse(usize, Vec<Fate>),
    /// It refuses what the recovery gave, too.
    RefuseAgain(usize),
    Later(Duration),
    /// Somebody sets the machine's clock a day back (`false`) or ahead.
    ClockSet(bool),
    /// A person signs in through this process; whether the sign-in can be renewed, and how long its token lives.
    SignIn(usize, bool, Option<Duration>),
    SignOut(usize),
    /// A process ends and starts again: its memory is gone.
    Restart(usize),
}

pub(super) fn any_event() -> impl Strategy<Value = Event> {
    let process = || 0..PROCESSES;
    let fates = || prop::collection::vec(provider::any_fate(), 0..5);
    let lifetime = || prop::option::weighted(0.9, (0..120u64).prop_map(Duration::from_secs));
    prop_oneof![
        6 => (process(), fates()).prop_map(|(process, fates)| Event::Want(process, fates)),
        2 => (process(), 0..100u64, fates())
            .prop_map(|(process, s, fates)| Event::WantFor(process, Duration::from_secs(s), fates)),
        4 => (process(), fates()).prop_map(|(process, fates)| Event::Refuse(process, fates)),
        2 => process().prop_map(Event::RefuseAgain),
        5 => (0..90u64).prop_map(|s| Event::Later(Duration::from_secs(s))),
        1 => any::<bool>().prop_map(Event::ClockSet),
        1 => (process(), prop::bool::weighted(0.8), lifetime())
            .prop_map(|(process, renewable, lifetime)| Event::SignIn(process, renewable, lifetime)),
        1 => process().prop_map(Event::SignOut),
        1 => process().prop_map(Event::Restart),
    ]
}
