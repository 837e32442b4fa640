//! What one operation may still do: until when, and how often it may be recovered.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linchpin_authority::{Wait, moment_in};
use tokio::time::Instant;

use crate::SendError;

/// What one operation may still do. Travels with its request to wherever that is sent, and is shared by everything
/// that is sent for it, so that a request which is sent again finds what was spent before (P17, P18). Cheap to clone;
/// clones are the same allowance.
#[derive(Clone)]
pub struct Allowance(Arc<Inner>);

struct Inner {
    deadline: Option<Instant>,
    sign_in_spent: AtomicBool,
    session_spent: AtomicBool,
    repeat_spent: AtomicBool,
    wanted: AtomicBool,
    running: AtomicBool,
    /// Why its answer cannot be waited for, where nobody could be told at once.
    failure: Mutex<Option<Arc<SendError>>>,
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowance")
            .field("deadline", &self.0.deadline)
            .field("sign_in_spent", &self.0.sign_in_spent)
            .field("session_spent", &self.0.session_spent)
            .field("wanted", &self.0.wanted)
            .finish_non_exhaustive()
    }
}

impl Allowance {
    /// One recovery of each kind until `deadline`; without one, for as long as its caller waits.
    pub fn until(deadline: Option<Instant>) -> Self {
        Self(Arc::new(Inner {
            deadline,
            sign_in_spent: AtomicBool::new(false),
            session_spent: AtomicBool::new(false),
            repeat_spent: AtomicBool::new(false),
            wanted: AtomicBool::new(true),
            running: AtomicBool::new(false),
            failure: Mutex::default(),
        }))
    }

    /// One recovery of each kind within `limit` from now.
    pub fn within(limit: Duration) -> Self {
        Self::until(Some(moment_in(limit)))
    }

    /// Until when.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Whether nothing may be sent for it any more: its deadline has passed, or nobody waits for it.
    pub fn is_over(&self) -> bool {
        !self.0.wanted.load(Ordering::Acquire) || self.wait().is_over()
    }

    /// Nobody waits for it any more. Nothing is sent for it from now on; what the server is at work on goes on there.
    pub fn abandon(&self) {
        self.0.wanted.store(false, Ordering::Release);
    }

    /// How long a token may be waited for.
    pub fn wait(&self) -> Wait {
        self.0.deadline.map_or(Wait::Transaction, Wait::Until)
    }

    /// Takes the one recovery of the sign-in; false when it was taken before.
    pub fn take_sign_in(&self) -> bool {
        !self.0.sign_in_spent.swap(true, Ordering::AcqRel)
    }

    /// Takes the one recovery of the session; false when it was taken before.
    pub fn take_session(&self) -> bool {
        !self.0.session_spent.swap(true, Ordering::AcqRel)
    }

    /// Takes the one repetition after a broken connection; false when it was taken before.
    pub fn take_repeat(&self) -> bool {
        !self.0.repeat_spent.swap(true, Ordering::AcqRel)
    }

    /// Whether the server may be at work on it: something was sent, and not refused.
    pub fn may_be_running(&self) -> bool {
        self.0.running.load(Ordering::Acquire)
    }

    /// What ended it without its caller being told.
    pub fn failure(&self) -> Option<Arc<SendError>> {
        lock(&self.0.failure).clone()
    }

    pub(crate) fn sending(&self) {
        self.0.running.store(true, Ordering::Release);
    }

    /// The server refused it before it looked at it.
    pub(crate) fn refused(&self) {
        self.0.running.store(false, Ordering::Release);
    }

    pub(crate) fn fail(&self, error: SendError) {
        *lock(&self.0.failure) = Some(Arc::new(error));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p17_each_recovery_is_taken_once_by_whoever_shares_it() {
        let allowance = Allowance::within(Duration::from_secs(1));
        let resent = allowance.clone();
        assert!(allowance.take_sign_in() && !resent.take_sign_in());
        assert!(resent.take_session() && !allowance.take_session());
        assert!(resent.take_repeat() && !allowance.take_repeat());
    }

    #[tokio::test(start_paused = true)]
    async fn p18_one_of_any_length_is_one() {
        let allowance = Allowance::within(Duration::MAX);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(!allowance.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn p18_it_is_over_at_its_deadline_or_once_nobody_waits() {
        let allowance = Allowance::within(Duration::from_secs(1));
        let endless = Allowance::until(None);
        assert!(!allowance.is_over() && !endless.is_over());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(allowance.is_over() && !endless.is_over());
        endless.clone().abandon();
        assert!(endless.is_over());
    }

    #[tokio::test]
    async fn what_was_refused_is_not_running() {
        let allowance = Allowance::until(None);
        assert!(!allowance.may_be_running());
        allowance.sending();
        assert!(allowance.may_be_running());
        allowance.refused();
        assert!(!allowance.may_be_running());
    }
}
