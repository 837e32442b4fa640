//! A read of the store that is still under way when a person's sign-in or sign-out finishes, in the same process (F19).

use std::sync::atomic::AtomicBool;

use linchpin_store::{LockError, StoreError};
use tokio::sync::Notify;

use super::hooked::{Hooked, Hooks};
use super::*;
use crate::Replace;

/// A store whose first read takes until the test says so.
#[derive(Debug, Default)]
struct SlowRead {
    was_read: AtomicBool,
    go_on: Notify,
}

#[async_trait]
impl Hooks for SlowRead {
    async fn load(&self, beneath: &dyn Store, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        let record = beneath.load(key).await;
        if !self.was_read.swap(true, Ordering::SeqCst) {
            self.go_on.notified().await;
        }
        record
    }
}

/// What a person does.
#[derive(Debug, Clone, Copy)]
enum Act {
    SignOut,
    SignIn,
    Import,
    Move,
}

impl Act {
    async fn by(self, process: &Credential) {
        let brought = Record { obtained_at_ms: UnixMs(1_001_000), expires_at_ms: None, ..record("B1", "S1") };
        match self {
            Self::SignOut => drop(process.sign_out().await.expect("signed out")),
            Self::SignIn => drop(process.sign_in(brought).await.expect("saved")),
            Self::Import => drop(process.import(brought, Replace::Always).await.expect("saved")),
            Self::Move => drop(process.move_to(Arc::new(MemoryStore::new())).await.expect("moved")),
        }
    }
}

/// What was read before is neither adopted nor reported after it: the last finished action of a person decides.
#[tokio::test(start_paused = true)]
async fn p12_what_was_read_before_a_person_acted_is_not_used_after_it() {
    for (is_signed_in, act, expected) in [
        (true, Act::SignOut, None),
        (true, Act::Move, None),
        (true, Act::SignIn, Some("B1")),
        (true, Act::Import, Some("B1")),
        (false, Act::SignIn, Some("B1")),
        (false, Act::Import, Some("B1")),
    ] {
        let world = world(1_001, Duration::ZERO, vec![]).await;
        if !is_signed_in {
            world.credential.sign_out().await.expect("signed out");
        }
        let store = Hooked::over(world.store.clone(), SlowRead::default());
        let process =
            Authority::new(store.clone(), world.endpoint.clone(), world.clock.clone()).credential(key());
        let call = {
            let process = process.clone();
            tokio::spawn(async move { process.access_token(Wait::Transaction).await })
        };
        while !store.hooks.was_read.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        act.by(&process).await;
        store.hooks.go_on.notify_one();
        let given = call.await.expect("no panic");
        match (expected, &given) {
            (Some(expected), Ok(_)) => assert_eq!(token(&given), expected, "{act:?}"),
            (None, Err(CredentialError::SignInRequired { reason: SignInReason::NotSignedIn, .. })) => {}
            _ => panic!("{act:?} when signed in {is_signed_in}: {given:?}"),
        }
        let current = process.current();
        let current = current.as_ref().map(|token| token.secret().expose());
        assert_eq!(current, expected, "{act:?} when signed in {is_signed_in}");
        assert_eq!(world.presented(), [] as [&str; 0]);
    }
}

/// A store that saves a new token slowly, and lets a second one in past the lock meanwhile, as when its file was removed
/// in that very moment.
#[derive(Debug, Default)]
struct SlowSave {
    is_saved: AtomicBool,
    go_on: Notify,
}

struct New;

impl Held for New {}

#[async_trait]
impl Hooks for SlowSave {
    async fn save(
        &self,
        beneath: &dyn Store,
        guard: &CredentialGuard,
        record: &Record,
    ) -> Result<(), StoreError> {
        beneath.save(guard, record).await?;
        if record.access_token == Secret::new("A2") {
            self.is_saved.store(true, Ordering::SeqCst);
            self.go_on.notified().await;
        }
        Ok(())
    }

    async fn lock(
        &self,
        beneath: &dyn Store,
        key: &CredentialKey,
        request: LockRequest,
    ) -> Result<CredentialGuard, LockError> {
        if self.is_saved.load(Ordering::SeqCst) {
            return Ok(CredentialGuard::new(key.clone(), New));
        }
        beneath.lock(key, request).await
    }
}

#[tokio::test(start_paused = true)]
async fn p12_a_token_that_was_saved_before_a_person_acted_past_a_lost_lock_is_not_used_after_it() {
    for (act, expected) in [(Act::SignOut, None), (Act::SignIn, Some("B1"))] {
        let world = world(1_061, Duration::ZERO, vec![]).await;
        let store = Hooked::over(world.store.clone(), SlowSave::default());
        let process =
            Authority::new(store.clone(), world.endpoint.clone(), world.clock.clone()).credential(key());
        let call = {
            let process = process.clone();
            tokio::spawn(async move { process.access_token(Wait::Transaction).await })
        };
        while !store.hooks.is_saved.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        act.by(&process).await;
        store.hooks.go_on.notify_one();
        let given = call.await.expect("no panic");
        assert_eq!(given.is_ok(), expected.is_some(), "{act:?}: {given:?}");
        let current = process.current();
        assert_eq!(current.as_ref().map(|token| token.secret().expose()), expected, "{act:?}");
        assert_eq!(world.presented(), ["R1"]);
    }
}
