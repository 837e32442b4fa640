//! Waiting for a lock that passes from one process to the next: what its holders save is adopted without it.

use linchpin_store::LockError;
use tokio::sync::Notify;

use super::hooked::{Hooked, Hooks};
use super::*;

/// A lock that somebody else always has, and that passes when the test says so.
#[derive(Debug, Default)]
struct Taken {
    passed: Notify,
}

#[async_trait]
impl Hooks for Taken {
    async fn lock(
        &self,
        _: &dyn Store,
        _: &CredentialKey,
        request: LockRequest,
    ) -> Result<CredentialGuard, LockError> {
        tokio::time::sleep(request.within).await;
        Err(LockError::TimedOut { path: "lock".into(), waited: request.within, holder: None })
    }

    async fn lock_passed(&self, _: &dyn Store, _: &CredentialKey) {
        self.passed.notified().await;
    }
}

async fn save(world: &World, record: &Record) {
    let request = LockRequest { purpose: "test", within: Duration::ZERO };
    let guard = world.store.lock(&key(), request).await.expect("free");
    world.store.save(&guard, record).await.expect("saved");
}

/// Many waiters would otherwise queue for the lock one after the other, each only to read.
#[tokio::test(start_paused = true)]
async fn f01_a_waiter_adopts_what_was_saved_while_others_have_the_lock() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    let store = Hooked::over(world.store.clone(), Taken::default());
    let process =
        Authority::new(store.clone(), world.endpoint.clone(), world.clock.clone()).credential(key());
    let waits = {
        let process = process.clone();
        tokio::spawn(async move { process.access_token(Wait::Transaction).await })
    };
    let moment = Duration::from_millis(10);
    tokio::time::sleep(moment).await;
    // The mark of an exchange that runs; it must wait for its outcome, as often as the lock passes.
    save(&world, &crate::exchange::marked(record("A1", "R1"), 2, UnixMs(1_099_000))).await;
    store.hooks.passed.notify_waiters();
    tokio::time::sleep(moment).await;
    assert!(!waits.is_finished(), "a mark is for whoever gets the lock to judge");
    save(&world, &Record { expires_at_ms: Some(UnixMs(1_200_000)), ..record("A2", "R2") }).await;
    tokio::time::sleep(moment).await;
    assert!(!waits.is_finished(), "nobody reads again before the lock passes");
    store.hooks.passed.notify_waiters();
    assert_eq!(token(&waits.await.expect("no panic")), "A2");
    assert_eq!(world.presented(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn f11_a_lock_that_passes_and_passes_ends_in_a_timeout_all_the_same() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    let store = Hooked::over(world.store.clone(), Taken::default());
    let process =
        Authority::new(store.clone(), world.endpoint.clone(), world.clock.clone()).credential(key());
    let passing = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            store.hooks.passed.notify_waiters();
        }
    });
    let error = process.access_token(Wait::Transaction).await.expect_err("never free");
    assert_eq!(error.disposition(), linchpin_store::Disposition::TimedOut, "{error}");
    passing.abort();
}
