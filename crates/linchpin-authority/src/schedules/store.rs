//! A store in memory that gives everybody else a turn before and after each of its steps, and knows what changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use linchpin_store::{
    CredentialGuard, CredentialKey, Held, LockError, LockRequest, LockWatch, Record, Store, StoreError,
    StoreKind, StoredRecord,
};

use super::turn;

/// What processes share: the record and its lock.
#[derive(Debug, Default)]
pub(super) struct SteppedStore(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The lock lets everybody in: what the exploration must find.
    lets_all_in: bool,
}

#[derive(Debug, Default)]
struct State {
    record: Option<Record>,
    held: bool,
    /// How often the lock was let go of.
    passed: usize,
    waiting: Vec<Waker>,
    deleted: Vec<Record>,
    /// In the order in which they took effect.
    user_actions: Vec<UserAction>,
}

/// What a person did, with the lock held.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum UserAction {
    /// Saved this access token, which came from a browser.
    SignedIn(String),
    SignedOut,
}

impl SteppedStore {
    /// Holds `record`, as a sign-in of long ago left it.
    pub(super) fn holding(record: Record) -> Self {
        let state = State { record: Some(record), ..State::default() };
        Self(Arc::new(Shared { state: Mutex::new(state), lets_all_in: false }))
    }

    /// The same with a lock that excludes nobody.
    pub(super) fn holding_without_lock(record: Record) -> Self {
        let state = State { record: Some(record), ..State::default() };
        Self(Arc::new(Shared { state: Mutex::new(state), lets_all_in: true }))
    }

    /// The record.
    pub(super) fn record(&self) -> Option<Record> {
        self.state().record.clone()
    }

    /// What sign-outs deleted.
    pub(super) fn deleted(&self) -> Vec<Record> {
        self.state().deleted.clone()
    }

    /// What the last person to finish did.
    pub(super) fn last_user_action(&self) -> Option<UserAction> {
        self.state().user_actions.last().cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Holding(Arc<Shared>);

impl Held for Holding {}

impl Drop for Holding {
    fn drop(&mut self) {
        let waiting = {
            let mut state = lock(&self.0.state);
            state.held = false;
            state.passed += 1;
            std::mem::take(&mut state.waiting)
        };
        // All of them: who gets it next is for the schedule to say.
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[async_trait]
impl Store for SteppedStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Memory
    }

    fn location(&self) -> String {
        "the memory of this test".to_owned()
    }

    async fn load(&self, _key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        turn().await;
        let record = self.record();
        turn().await;
        Ok(record)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        turn().await;
        Ok(())
    }

    async fn save(&self, _guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        turn().await;
        {
            let mut state = self.state();
            let access = record.access_token.expose();
            if access.starts_with("browser") && record.exchange.is_none() {
                let signed_in = UserAction::SignedIn(access.to_owned());
                if !state.user_actions.contains(&signed_in) {
                    state.user_actions.push(signed_in);
                }
            }
            state.record = Some(record.clone());
        }
        turn().await;
        Ok(())
    }

    async fn delete(&self, _guard: &CredentialGuard) -> Result<bool, StoreError> {
        turn().await;
        let was_there = {
            let mut state = self.state();
            state.user_actions.push(UserAction::SignedOut);
            let record = state.record.take();
            let was_there = record.is_some();
            state.deleted.extend(record);
            was_there
        };
        turn().await;
        Ok(was_there)
    }

    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        unreachable!("no transaction lists")
    }

    async fn lock(&self, key: &CredentialKey, _request: LockRequest) -> Result<CredentialGuard, LockError> {
        turn().await;
        std::future::poll_fn(|cx| {
            let mut state = self.state();
            if state.held && !self.0.lets_all_in {
                state.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            state.held = true;
            Poll::Ready(())
        })
        .await;
        let guard = CredentialGuard::new(key.clone(), Holding(Arc::clone(&self.0)));
        turn().await;
        Ok(guard)
    }

    fn watch_lock(&self, _key: &CredentialKey) -> Box<dyn LockWatch> {
        Box::new(Watch { shared: Arc::clone(&self.0), seen: self.state().passed })
    }
}

struct Watch {
    shared: Arc<Shared>,
    seen: usize,
}

#[async_trait]
impl LockWatch for Watch {
    async fn passed(&mut self) {
        turn().await;
        self.seen = std::future::poll_fn(|cx| {
            let mut state = lock(&self.shared.state);
            if state.passed == self.seen {
                state.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(state.passed)
        })
        .await;
        turn().await;
    }
}
