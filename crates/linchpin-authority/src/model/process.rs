//! What a process does next: `refresh` and `sign`, a step at a time. What the steps decide, the real functions decide.

use super::real::{self, Decided, Follows};
use super::state::{At, Exchanging, Kept, Lock, Outcome, State, Token, UserAction, Why};
use super::{Mutant, Protocol};

impl State {
    /// A process wants a token, or has one that was refused: what it reads without the lock may settle that.
    pub(super) fn want(&mut self, protocol: &Protocol, process: usize, why: Why) {
        match real::decide(self.record, why, self.now) {
            Decided::Exchange(_) | Decided::SignIn(true) => {
                let read = self.record.filter(|_| protocol.mutant == Some(Mutant::NoReread));
                self.processes[process].at = At::PreLock(why, None, read);
            }
            settled => self.settle(process, settled),
        }
    }

    /// What a process that waits for the lock reads without it may settle what it wants. A single step: where a person
    /// acts in the same process between the read and its use, the code reads again (`snapshot`).
    pub(super) fn look(&mut self, process: usize) -> Option<()> {
        let At::PreLock(why, ..) = self.processes[process].at else { return None };
        match real::decide(self.record, why, self.now) {
            Decided::Exchange(_) | Decided::SignIn(true) => return None,
            settled => self.settle(process, settled),
        }
        Some(())
    }

    /// Takes the next step, unless the process waits for the lock or for the provider.
    pub(super) fn proceed(&mut self, protocol: &Protocol, process: usize) -> Option<()> {
        let now = self.now;
        match self.processes[process].at {
            At::Idle | At::Sent(_, None) => return None,
            At::PreLock(why, unsent, read) => {
                self.lock(protocol, process)?;
                self.processes[process].at = At::Locked(why, unsent, read);
            }
            At::Locked(why, unsent, read) => self.reread(process, why, unsent, read),
            At::Reread(exchanging) => self.mark(protocol, process, exchanging),
            At::Marked(exchanging) => self.send(process, exchanging),
            At::Sent(exchanging, Some(outcome)) => self.follow(protocol, process, exchanging, outcome),
            At::Received(exchanging, token, begun) => {
                // Told that the lock is lost by a save that looks; one without the lock does not.
                if self.processes[process].lock == Lock::Stale {
                    self.go(process, At::PreLockAgain(exchanging, token, begun));
                } else {
                    self.record = Some(real::rotated(exchanging.record, token, begun));
                    self.truth.saved = token;
                    self.processes[process].at = At::MarkCleared(token);
                }
            }
            At::PreLockAgain(exchanging, token, begun) => {
                self.lock(protocol, process)?;
                if self.record.map(|record| record.token) == Some(exchanging.record.token) {
                    self.processes[process].at = At::Received(exchanging, token, begun);
                } else {
                    let replaced = self.record.is_none_or(|record| {
                        record.token.grant != token.grant || record.token.number >= token.number
                    });
                    self.truth.dropped |= !replaced;
                    self.superseded(process, exchanging.why);
                }
            }
            At::MarkCleared(token) | At::SignedIn(token) => self.publish(process, token),
            At::SignInPreLock(grant) => {
                self.lock(protocol, process)?;
                self.processes[process].at = At::SignInLocked(grant);
            }
            At::SignInLocked(grant) => {
                if self.processes[process].lock == Lock::Stale {
                    self.go(process, At::SignInPreLock(grant));
                } else {
                    let token = Token { grant, number: 0 };
                    self.record = Some(Kept::new(token, now));
                    (self.truth.saved, self.truth.last) = (token, UserAction::SignedIn(grant));
                    self.processes[process].at = At::SignedIn(token);
                }
            }
            At::SignOutPreLock => {
                self.lock(protocol, process)?;
                self.processes[process].at = At::SignOutLocked;
            }
            At::SignOutLocked => {
                if let Some(record) = self.record {
                    self.grants[usize::from(record.token.grant)].ended = true;
                }
                self.processes[process].at = At::Revoked;
            }
            At::Revoked => {
                if self.processes[process].lock == Lock::Stale {
                    self.go(process, At::SignOutPreLock);
                } else {
                    self.record = None;
                    self.truth.last = UserAction::SignedOut;
                    self.processes[process].at = At::SignedOut;
                }
            }
            At::SignedOut => self.withdraw(process),
            At::Deleting(refused) => {
                let another = self.record.is_some_and(|record| record.token != refused);
                self.truth.deleted_another |= another;
                self.record = None;
                self.withdraw(process);
            }
        }
        Some(())
    }

    fn reread(&mut self, process: usize, why: Why, unsent: Option<Kept>, read: Option<Kept>) {
        let mut record = read.or(self.record);
        if let (Some(marked), Some(found)) = (unsent, record) {
            record = real::never_sent(marked, found).or(record);
        }
        let decided = real::decide(record, why, self.now);
        let spends = matches!(decided, Decided::Exchange(_) | Decided::SignIn(true));
        if spends && record.is_some_and(|record| real::may_be_running(record, self.lock_made, self.now)) {
            return self.go(process, At::PreLock(why, unsent, read));
        }
        match (decided, record) {
            (Decided::Exchange(presentations), Some(record)) => {
                let exchanging = Exchanging { why, record, presentations, tries: 0 };
                self.processes[process].at = At::Reread(exchanging);
            }
            (settled, _) => self.settle(process, settled),
        }
    }

    fn mark(&mut self, protocol: &Protocol, process: usize, exchanging: Exchanging) {
        if self.processes[process].lock == Lock::Stale {
            return self.go(process, At::PreLock(exchanging.why, None, None));
        }
        let record = real::marked(exchanging.record, exchanging.presentations, self.now);
        if protocol.mutant != Some(Mutant::NoMark) {
            self.record = Some(record);
        }
        self.processes[process].at = At::Marked(Exchanging { record, ..exchanging });
    }

    /// The lock is looked at right before: nothing comes between in this model, and little in the code.
    fn send(&mut self, process: usize, exchanging: Exchanging) {
        if self.processes[process].lock == Lock::Stale {
            return self.go(process, At::PreLock(exchanging.why, Some(exchanging.record), None));
        }
        self.truth.dead_presented |= self.truth.dead & exchanging.record.token.bit() != 0;
        self.truth.pause_broken |=
            self.truth.client_refused == Some((exchanging.record.token.grant, self.now));
        self.processes[process].at = At::Sent(exchanging, None);
    }

    /// What follows an outcome.
    pub(super) fn follow(
        &mut self,
        protocol: &Protocol,
        process: usize,
        mut exchanging: Exchanging,
        outcome: Outcome,
    ) {
        exchanging.tries += 1;
        match real::next(outcome, exchanging.tries, exchanging.presentations) {
            Follows::Save(token) => {
                if protocol.mutant == Some(Mutant::SavesUnlocked) {
                    self.processes[process].lock = Lock::No;
                }
                self.processes[process].at = At::Received(exchanging, token, self.now);
            }
            Follows::Bury if protocol.mutant == Some(Mutant::DeletesOnRefusal) => {
                self.go(process, At::Deleting(exchanging.record.token));
            }
            Follows::Bury => self.bury(protocol, process, exchanging),
            Follows::ClientRefused => self.keep(protocol, process, exchanging),
            Follows::Again => self.processes[process].at = At::Marked(exchanging),
            Follows::Repeat => {
                exchanging.presentations += 1;
                self.processes[process].at = At::Reread(exchanging);
            }
            Follows::GiveUp(unknown) => {
                let record = real::given_up(exchanging.record, unknown, self.now);
                self.save_or_warn(process, record);
                self.obtained_nothing(process, exchanging.why, record);
            }
        }
    }

    /// The client was refused.
    fn keep(&mut self, protocol: &Protocol, process: usize, exchanging: Exchanging) {
        let mut record = real::client_refused(exchanging.record, exchanging.presentations - 1, self.now);
        if protocol.mutant == Some(Mutant::ForgetsTheClient) {
            record.client_refused = None;
        }
        if self.save_or_warn(process, record) {
            self.truth.client_refused = Some((record.token.grant, self.now));
        }
        self.obtained_nothing(process, exchanging.why, record);
    }

    fn obtained_nothing(&mut self, process: usize, why: Why, record: Kept) {
        let decided = real::decide(Some(record), why, self.now);
        // What would be tried again is a failure by now.
        let decided = if let Decided::Exchange(_) = decided { Decided::LeaveAlone } else { decided };
        self.settle_as(process, decided, Some(record));
    }

    fn bury(&mut self, protocol: &Protocol, process: usize, exchanging: Exchanging) {
        let current = self.record.filter(|record| record.token == exchanging.record.token);
        let Some(current) = current else { return self.superseded(process, exchanging.why) };
        let mut record = real::buried(current, exchanging.why, self.now);
        if protocol.mutant == Some(Mutant::ForgetsTheDead) {
            record.dead = None;
        }
        if self.save_or_warn(process, record) {
            self.truth.dead |= record.token.bit();
        }
        match real::decide(Some(record), exchanging.why, self.now) {
            Decided::Adopt => self.publish(process, record.token),
            _ => self.withdraw(process),
        }
    }

    /// Whether it was saved: not under a lock that is lost.
    fn save_or_warn(&mut self, process: usize, record: Kept) -> bool {
        let saves = self.processes[process].lock == Lock::Held;
        if saves {
            self.record = Some(record);
        }
        saves
    }

    fn superseded(&mut self, process: usize, why: Why) {
        match real::decide(self.record, why, self.now) {
            Decided::Exchange(_) => self.settle(process, Decided::LeaveAlone),
            settled => self.settle(process, settled),
        }
    }

    fn settle(&mut self, process: usize, decided: Decided) {
        self.settle_as(process, decided, self.record);
    }

    /// Ends a transaction with a definite answer: a token, a sign-in that is required, or "try again later".
    fn settle_as(&mut self, process: usize, decided: Decided, record: Option<Kept>) {
        match decided {
            Decided::Adopt => {
                let token = record.expect("adopting needs a record").token;
                self.truth.adopted |= self.processes[process].snapshot != Some(token);
                self.publish(process, token);
            }
            Decided::SignIn(_) => self.withdraw(process),
            Decided::LeaveAlone => self.go(process, At::Idle),
            Decided::Exchange(_) => unreachable!("an exchange is not settled here"),
        }
    }

    fn publish(&mut self, process: usize, token: Token) {
        self.processes[process].snapshot = Some(token);
        self.go(process, At::Idle);
    }

    fn withdraw(&mut self, process: usize) {
        self.processes[process].snapshot = None;
        self.go(process, At::Idle);
    }

    /// Lets go of the lock.
    fn go(&mut self, process: usize, at: At) {
        self.processes[process].lock = Lock::No;
        self.processes[process].at = at;
    }

    fn lock(&mut self, protocol: &Protocol, process: usize) -> Option<()> {
        let lets_all_in = protocol.mutant == Some(Mutant::NoLock);
        let free = lets_all_in || self.processes.iter().all(|process| process.lock != Lock::Held);
        free.then(|| self.processes[process].lock = Lock::Held)
    }
}
