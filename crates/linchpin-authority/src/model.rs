//! The whole protocol as a model, checked in every state that a few processes can come to.
//!
//! Processes want tokens, are refused some, sign in and out, and die at any step; requests and answers get lost; lock
//! files are removed; time passes. Steps have the names of the code ([`Step`]), and what a step decides is decided by
//! the functions of `decide` and `exchange` themselves. Saves are single steps: that they are whole or not at all is
//! what the store's own tests show (P2).
//!
//! A protocol with one rule left out is a [`Mutant`]; the property that it breaks must say so.
#![expect(clippy::print_stderr, reason = "figures that the report of a test run shows")]

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex};

use linchpin_store::steps::Step;
use stateright::{Model, Property};

use crate::credential::lock;

mod process;
mod provider;
mod real;
mod runs;
mod state;

use state::{At, Budget, Kept, Lock, Outcome, Process, State, Token, Truth, UserAction, Why};

/// A rule left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// What was read before the lock is acted on under it.
    NoReread,
    /// The lock is let go of when the answer is there, and then the new token is saved.
    SavesUnlocked,
    /// Nothing is saved before a token is spent.
    NoMark,
    /// A refusal deletes the record, whatever it holds by then.
    DeletesOnRefusal,
    /// A refusal is not written down.
    ForgetsTheDead,
    /// That the client was refused is not written down.
    ForgetsTheClient,
    /// The lock lets everybody in.
    NoLock,
    /// The lock of a process that died stays.
    LockOutlivesItsHolder,
}

/// What is checked: how many processes, what may happen and how often, and whose rules.
#[derive(Debug, Clone)]
struct Protocol {
    processes: usize,
    budget: Budget,
    /// Whether the provider honours a repeat.
    grace: bool,
    mutant: Option<Mutant>,
    /// States from which everybody is known to come to an end.
    ending: Arc<Mutex<HashSet<u64>>>,
}

/// What happens next. A process is named by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Want(usize),
    /// The server refuses the token that the process uses.
    Refuse(usize),
    SignIn(usize),
    SignOut(usize),
    /// The process goes on from this step.
    Proceed(usize, Step),
    /// It waits for the lock, and reads what is saved by now.
    Look(usize),
    /// It dies there.
    Die(usize, Step),
    /// The provider receives its request.
    Receive(usize),
    /// It refuses the client.
    RefuseClient(usize),
    /// The connection is not to be had.
    NotSent(usize),
    /// Its request is lost, or the answer to it.
    Lose(usize),
    /// The provider receives the request of a process that died, or never does.
    ReceiveOrphan(usize, bool),
    RemoveLock,
    Tick,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    /// Signed in a minute ago: the token has just ended.
    fn init_states(&self) -> Vec<State> {
        let token = Token { grant: 0, number: 0 };
        let truth = Truth {
            last: UserAction::SignedIn(0),
            saved: token,
            presented: [0; 3],
            dead: 0,
            dead_presented: false,
            client_refused: None,
            pause_broken: false,
            replays: false,
            excused: false,
            rotations: 0,
            reasons: 1,
            refused: 0,
            deleted_another: false,
            dropped: false,
            adopted: false,
        };
        vec![State {
            now: 1,
            record: Some(Kept::new(token, 0)),
            lock_made: 0,
            processes: vec![Process::NEW; self.processes],
            orphans: vec![],
            grants: vec![state::Grant::default()],
            left: self.budget,
            truth,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let left = &state.left;
        for (place, process) in state.processes.iter().enumerate() {
            if place > 0 && state.processes[place - 1] == *process {
                // Which of two equals it is makes no difference.
                continue;
            }
            let Some(step) = process.at.step() else {
                actions.push(Action::Want(place));
                actions.extend(
                    (left.refusals > 0 && process.snapshot.is_some()).then_some(Action::Refuse(place)),
                );
                actions.extend((left.sign_ins > 0).then_some(Action::SignIn(place)));
                actions.extend((left.sign_outs > 0).then_some(Action::SignOut(place)));
                continue;
            };
            actions.push(Action::Proceed(place, step));
            actions.extend((left.crashes > 0).then_some(Action::Die(place, step)));
            match process.at {
                At::PreLock(..) => actions.push(Action::Look(place)),
                At::Marked(_) => actions.extend((left.unsent > 0).then_some(Action::NotSent(place))),
                At::Sent(_, answer) => {
                    actions.extend(answer.is_none().then_some(Action::Receive(place)));
                    let refuses = left.client_refusals > 0 && answer.is_none();
                    actions.extend(refuses.then_some(Action::RefuseClient(place)));
                    actions.extend((left.losses > 0).then_some(Action::Lose(place)));
                }
                _ => {}
            }
        }
        for orphan in 0..state.orphans.len() {
            actions.extend([Action::ReceiveOrphan(orphan, true), Action::ReceiveOrphan(orphan, false)]);
        }
        let is_held = state.processes.iter().any(|process| process.lock == Lock::Held);
        actions.extend((left.removals > 0 && is_held).then_some(Action::RemoveLock));
        actions.extend((left.ticks > 0).then_some(Action::Tick));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.act(&mut state, action)?;
        state.processes.sort_unstable();
        state.orphans.sort_unstable();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_AT_A_TIME, |_, state: &State| {
                state.processes.iter().filter(|process| matches!(process.at, At::Sent(..))).count() <= 1
            }),
            Property::always(REASON, |_, state: &State| state.truth.rotations <= state.truth.reasons),
            Property::always(TWICE, |_, state: &State| state.truth.presented[2] == 0),
            Property::always(DEAD, |_, state: &State| !state.truth.dead_presented),
            Property::always(PAUSE, |_, state: &State| !state.truth.pause_broken),
            Property::always(REPLAYS, |protocol: &Self, state: &State| {
                !state.truth.replays || !protocol.grace && state.truth.excused
            }),
            Property::always(DELETED, |_, state: &State| !state.truth.deleted_another),
            Property::always(LAST_WINS, |_, state: &State| match state.truth.last {
                UserAction::SignedOut => state.record.is_none(),
                UserAction::SignedIn(grant) => state.record.is_some_and(|record| record.token.grant == grant),
            }),
            Property::always(NEVER_LOST, |_, State { truth, record, .. }: &State| {
                let is_older =
                    |record: Kept| record.token.grant == truth.saved.grant && record.token < truth.saved;
                !truth.dropped && !record.is_some_and(is_older)
            }),
            Property::always(ENDS, |protocol: &Self, state: &State| protocol.comes_to_an_end(state)),
            Property::sometimes("a token is adopted", |_, state: &State| state.truth.adopted),
            Property::sometimes("a token is renewed", |_, state: &State| state.truth.rotations > 0),
        ]
    }
}

const ONE_AT_A_TIME: &str = "P6: one exchange at a time";
const REASON: &str = "P6: one rotation for each end of a life or refusal";
const TWICE: &str = "P10: a refresh token is presented twice at most";
const DEAD: &str = "P10: what was refused for good is never presented";
const PAUSE: &str = "P11: nobody presents anything right after the client was refused";
const REPLAYS: &str = "P10: no replay with grace, and none without a loss or a death";
const DELETED: &str = "P11: nobody deletes a record for the refusal of another token";
const LAST_WINS: &str = "P12: the last finished user action wins";
const NEVER_LOST: &str = "P9: a new token that a living process received is never lost";
const ENDS: &str = "P7: everybody can come to an end";

impl Protocol {
    fn act(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Want(place) => state.want(self, place, Why::Ended(state.processes[place].snapshot)),
            Action::Refuse(place) => {
                let token = state.processes[place].snapshot?;
                state.left.refusals -= 1;
                state.truth.reasons += u8::from(state.truth.refused & token.bit() == 0);
                state.truth.refused |= token.bit();
                state.want(self, place, Why::Refused(token));
            }
            Action::SignIn(place) => {
                state.left.sign_ins -= 1;
                let grant = u8::try_from(state.grants.len()).expect("small numbers");
                state.grants.push(state::Grant::default());
                state.processes[place].at = At::SignInPreLock(grant);
            }
            Action::SignOut(place) => {
                state.left.sign_outs -= 1;
                state.processes[place].at = At::SignOutPreLock;
            }
            Action::Proceed(place, _) => state.proceed(self, place)?,
            Action::Look(place) => state.look(place)?,
            Action::Die(place, _) => {
                state.left.crashes -= 1;
                state.truth.excused = true;
                if let At::Sent(exchanging, None) = state.processes[place].at {
                    state.orphans.push(exchanging.record.token);
                }
                let outlives = self.mutant == Some(Mutant::LockOutlivesItsHolder);
                let lock = if outlives { state.processes[place].lock } else { Lock::No };
                state.processes[place] = Process { lock, ..Process::NEW };
            }
            Action::Receive(place) => {
                let At::Sent(exchanging, None) = state.processes[place].at else { return None };
                let outcome = state.receive(self, exchanging.record.token);
                state.processes[place].at = At::Sent(exchanging, Some(outcome));
            }
            Action::RefuseClient(place) => {
                let At::Sent(exchanging, None) = state.processes[place].at else { return None };
                state.left.client_refusals -= 1;
                state.processes[place].at = At::Sent(exchanging, Some(Outcome::ClientRefused));
            }
            Action::NotSent(place) => {
                let At::Marked(exchanging) = state.processes[place].at else { return None };
                state.left.unsent -= 1;
                state.follow(self, place, exchanging, Outcome::NotSent);
            }
            Action::Lose(place) => {
                let At::Sent(exchanging, _) = state.processes[place].at else { return None };
                state.left.losses -= 1;
                state.truth.excused = true;
                state.follow(self, place, exchanging, Outcome::Unknown);
            }
            Action::ReceiveOrphan(orphan, arrives) => {
                let token = state.orphans.remove(orphan);
                if arrives {
                    let _ = state.receive(self, token);
                }
            }
            Action::RemoveLock => {
                state.left.removals -= 1;
                state.lock_made = state.now;
                for process in state.processes.iter_mut().filter(|process| process.lock == Lock::Held) {
                    process.lock = Lock::Stale;
                }
            }
            Action::Tick => {
                state.left.ticks -= 1;
                state.tick()?;
            }
        }
        Some(())
    }

    /// Whether some continuation without further accidents brings everybody to a token or a definite answer: each goes
    /// on in turn, and when that does not help, time passes.
    fn comes_to_an_end(&self, state: &State) -> bool {
        let hash = |state: &State| BuildHasherDefault::<DefaultHasher>::default().hash_one(state);
        let mut state = state.clone();
        let mut passed = Vec::new();
        for turn in 0..200 {
            let this = hash(&state);
            if state.processes.iter().all(|process| process.at == At::Idle)
                || lock(&self.ending).contains(&this)
            {
                lock(&self.ending).extend(passed);
                return true;
            }
            passed.push(this);
            for place in 0..self.processes {
                let at = state.processes[place].at;
                let _ = match at.step() {
                    None => None,
                    Some(_) if matches!(at, At::Sent(_, None)) => {
                        self.act(&mut state, Action::Receive(place))
                    }
                    Some(step) => self.act(&mut state, Action::Proceed(place, step)),
                };
            }
            if turn % 40 == 39 {
                state.orphans.clear();
                let _ = state.tick();
            }
        }
        false
    }
}

impl State {
    /// A minute passes: longer than any exchange may take, and than the save of what it brought may find out that its
    /// lock is gone.
    fn tick(&mut self) -> Option<()> {
        let is_under_way = self.processes.iter().any(|process| match process.at {
            At::Sent(..) | At::PreLockAgain(..) => true,
            At::Received(..) => process.lock == Lock::Stale,
            _ => false,
        });
        if is_under_way || !self.orphans.is_empty() {
            return None;
        }
        self.now += 1;
        self.truth.reasons += 1;
        Some(())
    }
}
