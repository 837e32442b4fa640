//! What is checked in the ordinary test run, what is checked once in a while, and what must be found.

use std::collections::BTreeSet;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use super::*;

const NONE: Budget = Budget {
    ticks: 0,
    crashes: 0,
    losses: 0,
    unsent: 0,
    refusals: 0,
    client_refusals: 0,
    sign_ins: 0,
    sign_outs: 0,
    removals: 0,
};

fn protocol(processes: usize, grace: bool, budget: Budget) -> Protocol {
    Protocol { processes, budget, grace, mutant: None, ending: Arc::default() }
}

/// Checks every state.
fn check(name: &str, protocol: Protocol) {
    let Protocol { processes, grace, .. } = protocol;
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    eprintln!("{processes} processes, {name}, grace {grace}: {states} states, up to {depth} steps deep");
    checker.assert_properties();
}

#[test]
fn p12_sign_in_sign_out_and_a_death_at_any_step_break_no_promise() {
    for grace in [true, false] {
        let budget = Budget { crashes: 1, sign_ins: 2, sign_outs: 1, ..NONE };
        check("a death, two sign-ins and a sign-out", protocol(2, grace, budget));
    }
}

/// With everything off but what is named, the space is small enough for several of each.
#[test]
fn p10_deaths_and_losses_over_two_lives_of_a_token_break_no_promise() {
    for grace in [true, false] {
        let budget = Budget { ticks: 1, crashes: 2, losses: 2, ..NONE };
        check("two deaths, two losses, a minute", protocol(2, grace, budget));
    }
}

#[test]
fn p16_refusals_and_requests_not_sent_break_no_promise() {
    for grace in [true, false] {
        let budget = Budget { ticks: 1, losses: 1, unsent: 1, refusals: 2, ..NONE };
        check("two 401s, a loss, one not sent, a minute", protocol(2, grace, budget));
    }
}

#[test]
fn f11_lock_files_removed_at_any_step_break_no_promise() {
    for grace in [true, false] {
        let budget = Budget { crashes: 1, removals: 1, sign_ins: 1, ticks: 1, ..NONE };
        check("a lock file removed, a death, a sign-in, a minute", protocol(2, grace, budget));
    }
}

#[test]
fn p06_three_processes_break_no_promise() {
    for grace in [true, false] {
        let accidents = Budget { ticks: 1, crashes: 1, losses: 1, ..NONE };
        check("a death, a loss, a minute", protocol(3, grace, accidents));
        let people = Budget { crashes: 1, sign_ins: 1, sign_outs: 1, ..NONE };
        check("a death, a sign-in and a sign-out", protocol(3, grace, people));
    }
}

#[test]
fn p11_a_client_that_is_refused_now_and_then_breaks_no_promise() {
    for grace in [true, false] {
        let budget = Budget { ticks: 1, crashes: 1, losses: 1, client_refusals: 2, sign_ins: 1, ..NONE };
        check("a client refused twice, a death, a loss, a sign-in, a minute", protocol(2, grace, budget));
    }
}

/// For once in a while: `cargo test -p linchpin-authority -- --ignored --nocapture larger_bounds`.
#[test]
#[ignore = "takes minutes"]
fn p06_larger_bounds_break_no_promise() {
    let most = Budget { ticks: 1, crashes: 1, losses: 1, refusals: 1, sign_ins: 1, sign_outs: 1, ..NONE };
    let people = Budget { crashes: 1, losses: 1, sign_ins: 1, sign_outs: 1, ..NONE };
    let removals = Budget { ticks: 1, crashes: 1, removals: 1, sign_ins: 1, sign_outs: 1, ..NONE };
    for grace in [true, false] {
        check("a death, a loss, a 401, a sign-in, a sign-out, a minute", protocol(2, grace, most));
        check("a death, a loss, a sign-in and a sign-out", protocol(3, grace, people));
        check("a lock file removed, a death, a sign-in, a sign-out, a minute", protocol(2, grace, removals));
    }
}

/// A protocol with a rule left out, and the property that says so. The path to it is printed.
fn is_found(mutant: Mutant, grace: bool, budget: Budget, property: &'static str) {
    let protocol = Protocol { mutant: Some(mutant), ..protocol(2, grace, budget) };
    let enough = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let checker = protocol.checker().threads(2).finish_when(enough).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{mutant:?} was not found out by {property}")
    };
    eprintln!("{mutant:?} breaks \"{property}\", found after {states} states:");
    for action in path.into_actions() {
        eprintln!("  {action:?}");
    }
}

#[test]
fn p06_acting_on_what_was_read_before_the_lock_is_found_out() {
    is_found(Mutant::NoReread, false, NONE, REPLAYS);
    is_found(Mutant::NoReread, true, Budget { sign_ins: 1, ..NONE }, LAST_WINS);
    is_found(Mutant::NoReread, true, Budget { sign_outs: 1, ..NONE }, LAST_WINS);
}

#[test]
fn p12_saving_without_the_lock_is_found_out() {
    is_found(Mutant::SavesUnlocked, true, Budget { sign_outs: 1, ..NONE }, LAST_WINS);
    is_found(Mutant::SavesUnlocked, true, Budget { sign_ins: 1, ..NONE }, LAST_WINS);
    is_found(Mutant::SavesUnlocked, true, Budget { refusals: 1, ticks: 1, ..NONE }, NEVER_LOST);
}

#[test]
fn p08_spending_without_a_mark_is_found_out() {
    is_found(Mutant::NoMark, false, Budget { crashes: 2, ..NONE }, TWICE);
}

#[test]
fn p11_deleting_whatever_is_there_on_a_refusal_is_found_out() {
    is_found(Mutant::DeletesOnRefusal, false, Budget { losses: 1, sign_ins: 1, ..NONE }, DELETED);
    is_found(Mutant::DeletesOnRefusal, false, Budget { losses: 1, ..NONE }, LAST_WINS);
}

#[test]
fn p10_forgetting_a_refusal_is_found_out() {
    is_found(Mutant::ForgetsTheDead, false, Budget { losses: 1, ..NONE }, DEAD);
}

#[test]
fn p11_forgetting_that_the_client_was_refused_is_found_out() {
    is_found(Mutant::ForgetsTheClient, true, Budget { client_refusals: 1, ..NONE }, PAUSE);
}

#[test]
fn p06_a_lock_that_excludes_nobody_is_found_out() {
    is_found(Mutant::NoLock, true, NONE, ONE_AT_A_TIME);
    is_found(Mutant::NoLock, false, NONE, REPLAYS);
}

#[test]
fn p07_a_lock_that_outlives_its_holder_is_found_out() {
    is_found(Mutant::LockOutlivesItsHolder, true, Budget { crashes: 1, ..NONE }, ENDS);
}
