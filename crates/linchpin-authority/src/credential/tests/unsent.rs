//! A lock that is taken away between the mark of the one repeat and its request, by somebody who made a new one.

use linchpin_store::{LockError, LockWatch};

use super::hooked::{Hooked, Hooks};
use super::*;

/// Takes the first lock away once something was saved under it: the store beneath looks at no lock, so the mark is
/// saved, and then the lock turns out to be gone. The later ones were made at that moment.
#[derive(Debug, Default)]
struct TakesFirstLockAway {
    locks: AtomicUsize,
    made_at: UnixMs,
    /// For how long others have the lock then. It passes from one to the next, and none of them changes anything.
    others: Duration,
}

struct Lease {
    #[expect(dead_code, reason = "dropping it releases the lock")]
    inner: CredentialGuard,
    is_lost: bool,
    made_at: UnixMs,
}

impl Held for Lease {
    fn still_excludes(&self) -> Result<(), LockError> {
        if self.is_lost { Err(LockError::Lost { path: "lock".into() }) } else { Ok(()) }
    }

    fn made_at(&self) -> Option<UnixMs> {
        Some(if self.is_lost { UnixMs(0) } else { self.made_at })
    }
}

#[async_trait]
impl Hooks for TakesFirstLockAway {
    async fn lock(
        &self,
        beneath: &dyn Store,
        key: &CredentialKey,
        request: LockRequest,
    ) -> Result<CredentialGuard, LockError> {
        let is_lost = self.locks.fetch_add(1, Ordering::SeqCst) == 0;
        if !is_lost {
            tokio::time::sleep(self.others).await;
        }
        let inner = beneath.lock(key, request).await?;
        Ok(CredentialGuard::new(key.clone(), Lease { inner, is_lost, made_at: self.made_at }))
    }

    fn watch_lock(&self, _: &dyn Store, _: &CredentialKey) -> Box<dyn LockWatch> {
        Box::new(Passing)
    }
}

struct Passing;

#[async_trait]
impl LockWatch for Passing {
    async fn passed(&mut self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Saves the mark of a process that died after it had presented the token once.
async fn presented_once(world: &World) {
    let request = LockRequest { purpose: "test", within: Duration::ZERO };
    let guard = world.store.lock(&key(), request).await.expect("free");
    let once = crate::exchange::marked(record("A1", "R1"), 1, UnixMs(1_020_000));
    world.store.save(&guard, &once).await.expect("saved");
}

/// The process knows that its second presentation never was, also after it has waited for one that might be running.
#[tokio::test(start_paused = true)]
async fn f11_a_repeat_that_was_marked_and_never_sent_stays_allowed_after_the_wait() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    presented_once(&world).await;
    let made_at = UnixMs(1_100_000);
    let store =
        Hooked::over(world.store.clone(), TakesFirstLockAway { made_at, ..TakesFirstLockAway::default() });
    let process =
        Authority::new(store.clone(), world.endpoint.clone(), world.clock.clone()).credential(key());
    let call = tokio::spawn(async move { process.access_token(Wait::Transaction).await });
    while store.hooks.locks.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.presented(), [] as [&str; 0], "the exchange of the mark might be running");
    world.set_time(1_136);
    assert_eq!(token(&call.await.expect("no panic")), "A2");
    assert_eq!(world.presented(), ["R1"]);
}

/// While its own mark lies there, what a process reads without the lock says that the token must not be presented any
/// more: that would keep the access token in use, leave the mark, and cost the sign-in at its end.
#[tokio::test(start_paused = true)]
async fn f11_a_mark_of_ones_own_that_was_never_sent_is_judged_under_the_lock_alone() {
    let world = world(1_050, Duration::ZERO, vec![]).await;
    presented_once(&world).await;
    let others = Duration::from_secs(1);
    let store =
        Hooked::over(world.store.clone(), TakesFirstLockAway { others, ..TakesFirstLockAway::default() });
    let process =
        Authority::new(store.clone(), world.endpoint.clone(), world.clock.clone()).credential(key());
    let call = process.access_token_for(Duration::from_secs(20), Wait::Transaction).await;
    assert_eq!(store.hooks.locks.load(Ordering::SeqCst), 2, "one that is taken away, and another");
    assert_eq!(token(&call), "A2");
    assert_eq!(world.presented(), ["R1"]);
}
