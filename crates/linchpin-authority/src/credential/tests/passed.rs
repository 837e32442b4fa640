//! Waiting for a lock that passes from one process to the next: what its holders save is adopted without it.

use linchpin_store::{Directories, FileStore, LockError, LockWatch, StoreError, SystemClock};
use tokio::sync::{Notify, watch};

use super::hooked::{Hooked, Hooks};
use super::*;

/// A lock that somebody else always has, and that passes when the test says so.
#[derive(Debug, Default)]
struct Taken {
    passed: watch::Sender<()>,
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

    fn watch_lock(&self, _: &dyn Store, _: &CredentialKey) -> Box<dyn LockWatch> {
        Box::new(Watch(self.passed.subscribe()))
    }
}

struct Watch(watch::Receiver<()>);

#[async_trait]
impl LockWatch for Watch {
    async fn passed(&mut self) {
        self.0.changed().await.expect("the store is there");
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
    store.hooks.passed.send_replace(());
    tokio::time::sleep(moment).await;
    assert!(!waits.is_finished(), "a mark is for whoever gets the lock to judge");
    save(&world, &Record { expires_at_ms: Some(UnixMs(1_200_000)), ..record("A2", "R2") }).await;
    tokio::time::sleep(moment).await;
    assert!(!waits.is_finished(), "nobody reads again before the lock passes");
    store.hooks.passed.send_replace(());
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
            store.hooks.passed.send_replace(());
        }
    });
    let error = process.access_token(Wait::Transaction).await.expect_err("never free");
    assert_eq!(error.disposition(), linchpin_store::Disposition::TimedOut, "{error}");
    passing.abort();
}

/// A store of which one read takes until the test says so.
#[derive(Debug, Default)]
struct SlowRead {
    is_next: std::sync::atomic::AtomicBool,
    read: Notify,
    go_on: Notify,
}

#[async_trait]
impl Hooks for SlowRead {
    async fn load(&self, beneath: &dyn Store, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        let record = beneath.load(key).await;
        if self.is_next.swap(false, Ordering::SeqCst) {
            self.read.notify_one();
            self.go_on.notified().await;
        }
        record
    }
}

/// The lock passes twice, the second time while the waiter still reads what it found at the first.
#[tokio::test]
async fn f01_a_pass_of_the_lock_during_a_look_is_followed_by_another_look() {
    let home = tempfile::tempdir().expect("a directory");
    let beneath = FileStore::new(&Directories::under(home.path().join("home")).expect("absolute"));
    let request = LockRequest { purpose: "test", within: Duration::ZERO };
    let lock_of = async || beneath.lock(&key(), request).await.expect("free");
    // So that no two holders are noted in the same millisecond.
    let moment = Duration::from_millis(40);
    let first = lock_of().await;
    beneath.save(&first, &record("A1", "R1")).await.expect("saved");
    let store = Hooked::over(beneath.clone(), SlowRead::default());
    let authority = Authority::new(store.clone(), Arc::new(Scripted::default()), Arc::new(SystemClock));
    let process = authority.credential(key());
    let waits = tokio::spawn(async move { process.access_token(Wait::Transaction).await });
    tokio::time::sleep(moment).await;
    store.hooks.is_next.store(true, Ordering::SeqCst);
    drop(first);
    let second = lock_of().await;
    store.hooks.read.notified().await;
    let renewed = Record { expires_at_ms: None, ..record("A2", "R2") };
    beneath.save(&second, &renewed).await.expect("saved");
    drop(second);
    let _third = lock_of().await;
    tokio::time::sleep(moment).await;
    store.hooks.go_on.notify_one();
    let adopted = tokio::time::timeout(Duration::from_secs(5), waits).await;
    assert_eq!(token(&adopted.expect("the lock passed").expect("no panic")), "A2");
}
