//! Random histories of one sign-in, played through the real pure functions: several processes, each with its own
//! memory, a provider whose answers are drawn, people who sign in and out, and a clock that somebody sets.
//!
//! The effects round the functions are those of `refresh` and `sign`, without their awaits: one transaction at a time,
//! as under the lock. How transactions interleave is what `model` and `schedules` are about.

#![expect(clippy::print_stderr, reason = "a figure that the report of a test run shows")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use linchpin_store::{Fingerprint, Record, RefusedToken, UnixMs};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::decide::{Cause, Decision, decide};
use crate::exchange::{
    Next, Progress, buried, client_refused, given_up, marked, may_be_running, never_sent, next, rotated,
};
use crate::freshness::{Freshness, Life};
use crate::{SignInReason, sign};

mod event;
mod ledger;
mod provider;

use event::Event;
use ledger::Ledger;
use provider::{Fate, Provider};

const PROCESSES: usize = 3;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What one process knows.
#[derive(Debug, Clone, Default)]
struct Memory {
    snapshot: Option<(Fingerprint, Life)>,
    refused: Option<RefusedToken>,
}

/// How a transaction ended for the one who asked.
#[derive(Debug, PartialEq)]
enum Answer {
    Token(Fingerprint),
    SignInRequired(SignInReason),
    /// The provider, or the store, cannot for now.
    Temporary,
    ClientRefused,
    /// The process died in it.
    Died,
}

#[derive(Debug)]
struct World {
    now: UnixMs,
    record: Option<Record>,
    processes: [Memory; PROCESSES],
    provider: Provider,
    ledger: Ledger,
}

impl World {
    fn new(grace: bool) -> Self {
        let mut world = Self {
            now: UnixMs(1_000_000_000_000),
            record: None,
            processes: <[Memory; PROCESSES]>::default(),
            provider: Provider::new(grace),
            ledger: Ledger::default(),
        };
        world.sign_in(0, true, Some(MINUTE));
        world
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Want(process, fates) => {
                if let Some(cause) = self.ended(process) {
                    self.ask(process, &cause, fates);
                }
            }
            Event::WantFor(process, needed, fates) => {
                let cause = self.ended(process).or_else(|| {
                    let (known, _) = self.processes[process].snapshot.clone()?;
                    Some(Cause::Short(known, needed))
                });
                self.ask(process, &cause.expect("with a snapshot, or without"), fates);
            }
            Event::Refuse(process, fates) => {
                if let Some((known, _)) = self.processes[process].snapshot.clone() {
                    self.ask(process, &Cause::Refused(known), fates);
                }
            }
            Event::RefuseAgain(process) => self.refuse_again(process),
            Event::Later(duration) => {
                self.now = self.now.after(duration);
                self.ledger.passed += duration;
            }
            Event::ClockSet(ahead) => {
                self.now = if ahead { self.now.after(DAY) } else { self.now.before(DAY) };
                self.ledger.days_ahead += if ahead { 1 } else { -1 };
            }
            Event::SignIn(process, renewable, lifetime) => self.sign_in(process, renewable, lifetime),
            Event::SignOut(process) => {
                self.record = None;
                self.ledger.expected = None;
                self.ledger.client_known();
                self.processes[process].snapshot = None;
            }
            Event::Restart(process) => self.processes[process] = Memory::default(),
        }
        self.ledger.check_record(self.record.as_ref());
    }

    /// Why the process needs a transaction to go on, if it does.
    fn ended(&self, process: usize) -> Option<Cause> {
        match &self.processes[process].snapshot {
            Some((_, life)) if life.freshness(self.now, 0.0) == Freshness::Fresh => None,
            Some((known, _)) => Some(Cause::Ended(Some(known.clone()))),
            None => Some(Cause::Ended(None)),
        }
    }

    fn sign_in(&mut self, process: usize, renewable: bool, lifetime: Option<Duration>) {
        let answer = self.provider.new_grant(renewable, lifetime);
        let mut record = crate::credential::tests::record("", "");
        record.refresh_token = None;
        record = rotated(record, answer, self.now);
        record.generation = self.record.as_ref().map_or(1, |record| record.generation + 1);
        self.ledger.expected = Some(record.access_token.clone());
        self.ledger.client_known();
        self.publish(process, &record);
        self.record = Some(record);
    }

    fn refuse_again(&mut self, process: usize) {
        let memory = &mut self.processes[process];
        let Some((known, life)) = memory.snapshot.clone() else { return };
        if !sign::is_right_after(life.obtained, self.now) {
            return;
        }
        let refused = RefusedToken { fingerprint: known.clone(), at_ms: self.now };
        memory.refused = Some(refused.clone());
        self.ledger.refused_again.insert(known.as_str().to_owned(), self.ledger.passed);
        if let Some(record) = &mut self.record
            && record.access_token.fingerprint() == known
            && !record.is_refused()
        {
            record.refused = Some(refused);
            record.generation += 1;
        }
    }

    /// Asks, and checks the answer against what is true.
    fn ask(&mut self, process: usize, cause: &Cause, fates: Vec<Fate>) {
        let answer = self.transact(process, cause, fates);
        match &answer {
            Answer::Token(token) => {
                let record = self.record.as_ref().expect("a token comes from a record");
                assert_eq!(*token, record.access_token.fingerprint(), "only what is saved is given out (P9)");
                assert_ne!(Some(token), cause.refused(), "a refused token is given back (P16)");
            }
            Answer::SignInRequired(reason) => self.ledger.check_reason(reason, self.record.as_ref()),
            Answer::Temporary | Answer::ClientRefused | Answer::Died => {}
        }
        if answer == Answer::Died {
            self.processes[process] = Memory::default();
        }
    }

    /// `refresh::refresh`, without its awaits.
    fn transact(&mut self, process: usize, cause: &Cause, fates: Vec<Fate>) -> Answer {
        let mut fates = fates.into_iter();
        let mut unsent: Option<Box<Record>> = None;
        loop {
            if let (Some(marked), Some(found)) = (unsent.take(), &self.record) {
                self.record = never_sent(&marked, found).or(self.record.take());
            }
            let seen = self.record.clone().map(|record| self.with_refusal(process, record));
            let sent = self.ledger.sent;
            let decision = decide(seen.as_ref(), cause, self.now);
            self.ledger.note_decision(&decision);
            match decision {
                Decision::Exchange { presentations } => {
                    let record = self.record.clone().expect("an exchange needs a record");
                    match self.exchange(process, cause, record, presentations, &mut fates) {
                        Ok(answer) => return answer,
                        Err(marked) => unsent = Some(marked),
                    }
                }
                settled => {
                    let answer = self.settle(process, settled);
                    assert_eq!(self.ledger.sent, sent, "what needs no request sent one");
                    return answer;
                }
            }
        }
    }

    /// `Transaction::run`. `Err` has what was marked when the lock turned out to be taken away.
    fn exchange(
        &mut self,
        process: usize,
        cause: &Cause,
        record: Record,
        presentations: u32,
        fates: &mut impl Iterator<Item = Fate>,
    ) -> Result<Answer, Box<Record>> {
        let mut progress = Progress { tries: 0, presentations, paused: Duration::ZERO };
        let mut fate = fates.next().unwrap_or(Fate::Rotates(true, Some(MINUTE)));
        let mut record = marked(record, presentations, self.now);
        loop {
            if let Fate::MarkFails { lies_there, cleared } = fate {
                if cleared {
                    let retry_at = record.retry_at_ms;
                    self.record = Some(given_up(record, progress.presentations - 1, retry_at));
                } else if lies_there {
                    // Nobody can tell that it was not presented.
                    self.ledger.note_mark(&record);
                    self.record = Some(record);
                }
                return Ok(Answer::Temporary);
            }
            self.ledger.note_mark(&record);
            self.record = Some(record.clone());
            match fate {
                Fate::DiesUnsent => return Ok(Answer::Died),
                Fate::LockLost => return Err(Box::new(record)),
                _ => {}
            }
            if matches!(fate, Fate::Overtaken) {
                // By one that made a new lock: it waits until the exchange has ended, however slow that is.
                let latest = self.now.after(Duration::from_secs(30));
                assert!(may_be_running(&record, Some(self.now), latest), "two exchanges at a time (P6)");
            }
            self.ledger.check_presentation(&record);
            let outcome = self.provider.receive(&record, &fate);
            self.ledger.note_presentation(&record, &outcome);
            if matches!(fate, Fate::Dies { .. }) {
                return Ok(Answer::Died);
            }
            progress.tries += 1;
            match next(outcome, progress) {
                Next::Save(answer) => {
                    let record = rotated(record, answer, self.now);
                    self.ledger.expected = Some(record.access_token.clone());
                    self.ledger.client_known();
                    let token = self.publish(process, &record);
                    self.record = Some(record);
                    return Ok(Answer::Token(token));
                }
                Next::Bury { code } => {
                    let replaced = matches!(fate, Fate::RefusedAndReplaced);
                    return Ok(self.bury(process, cause, &record, &code, replaced));
                }
                Next::ClientRefused { code } => {
                    self.ledger.note_client_refused();
                    let unknown = progress.presentations.saturating_sub(1);
                    let record = client_refused(record, &code, unknown, self.now);
                    return Ok(self.obtained_nothing(process, cause, record, Answer::ClientRefused));
                }
                Next::Again(pause) => progress.paused += pause,
                Next::Repeat => {
                    progress.presentations += 1;
                    record = marked(record, progress.presentations, self.now);
                }
                Next::GiveUp { retry_after, unknown, .. } => {
                    let record = given_up(record, unknown, Some(self.now.after(retry_after)));
                    return Ok(self.obtained_nothing(process, cause, record, Answer::Temporary));
                }
            }
            fate = fates.next().unwrap_or(Fate::Rotates(true, Some(MINUTE)));
        }
    }

    /// `Transaction::obtained_nothing`, and the save before it.
    fn obtained_nothing(&mut self, process: usize, cause: &Cause, record: Record, answer: Answer) -> Answer {
        let decision = decide(Some(&record), cause, self.now);
        self.record = Some(record);
        match decision {
            Decision::Exchange { .. } | Decision::RetryAt(_) | Decision::ClientRefused { .. } => answer,
            settled => self.settle(process, settled),
        }
    }

    /// `Transaction::bury`; `replaced` when somebody signed in past the lock while the token was presented.
    fn bury(
        &mut self,
        process: usize,
        cause: &Cause,
        presented: &Record,
        code: &str,
        replaced: bool,
    ) -> Answer {
        if replaced {
            self.sign_in(process, true, Some(MINUTE));
        }
        let current = self.record.clone().expect("nobody signed out");
        if current.refresh_fingerprint() != presented.refresh_fingerprint() {
            return match decide(Some(&current), cause, self.now) {
                Decision::Exchange { .. } => Answer::Temporary,
                settled => self.settle(process, settled),
            };
        }
        self.ledger.note_dead(presented);
        let record = buried(current, code, cause.refused(), self.now);
        self.record = Some(record.clone());
        if decide(Some(&record), cause, self.now) == Decision::Adopt {
            return Answer::Token(self.publish(process, &record));
        }
        self.processes[process].snapshot = None;
        Answer::SignInRequired(SignInReason::Refused { code: code.to_owned() })
    }

    fn settle(&mut self, process: usize, decision: Decision) -> Answer {
        match decision {
            Decision::Adopt => {
                let record = self.record.clone().expect("adopting needs a record");
                assert!(record.is_live(self.now), "an ended token is adopted");
                Answer::Token(self.publish(process, &record))
            }
            Decision::RetryAt(at) => {
                assert!(at.since(self.now) <= MINUTE, "left alone for longer than a minute");
                Answer::Temporary
            }
            Decision::ClientRefused { .. } => {
                assert!(
                    self.ledger.is_client_left_alone(),
                    "left alone for no reason, or for too long (P11)"
                );
                Answer::ClientRefused
            }
            Decision::SignInRequired(reason) => {
                self.processes[process].snapshot = None;
                Answer::SignInRequired(reason)
            }
            Decision::Exchange { .. } => unreachable!("an exchange is not settled here"),
        }
    }

    fn publish(&mut self, process: usize, record: &Record) -> Fingerprint {
        let token = record.access_token.fingerprint();
        let life = Life { obtained: record.obtained_at_ms, ends: record.expires_at_ms };
        self.processes[process].snapshot = Some((token.clone(), life));
        token
    }

    fn with_refusal(&self, process: usize, record: Record) -> Record {
        let known = self.processes[process].refused.clone();
        match known.filter(|known| known.fingerprint == record.access_token.fingerprint()) {
            Some(known) if record.refused.is_none() => Record { refused: Some(known), ..record },
            _ => record,
        }
    }
}

impl Cause {
    fn refused(&self) -> Option<&Fingerprint> {
        match self {
            Self::Refused(token) => Some(token),
            Self::Ended(_) | Self::Short(..) => None,
        }
    }
}

/// What is checked is in `ledger`, each check with the promise that it is of. And no check is idle: everything that can
/// be decided, and every reason to ask a person, comes about in some history.
#[test]
fn p10_no_history_spends_a_token_wrongly() {
    let seen = RefCell::new(BTreeMap::<&str, usize>::new());
    let histories = (any::<bool>(), prop::collection::vec(event::any_event(), 1..40));
    let config = ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&histories, |(grace, events)| {
        let mut world = World::new(grace);
        for event in events {
            world.play(event);
        }
        for (what, times) in world.ledger.seen {
            *seen.borrow_mut().entry(what).or_default() += times;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let seen = seen.into_inner();
    eprintln!("1000 histories: {seen:?}");
    for what in ledger::EVERYTHING {
        assert!(seen.contains_key(what), "no history came to {what}");
    }
}
