//! A lock that is taken away between the mark of the one repeat and its request, by somebody who made a new one.

use linchpin_store::{LockError, StoreError, StoreKind, StoredRecord};

use super::*;

/// Takes the first lock away once something was saved under it; the later ones were made at that moment.
#[derive(Debug)]
struct TakesFirstLockAway {
    inner: MemoryStore,
    locks: AtomicUsize,
    made_at: UnixMs,
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
impl Store for TakesFirstLockAway {
    fn kind(&self) -> StoreKind {
        self.inner.kind()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        self.inner.load(key).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready().await
    }

    /// Looks at no lock: the mark is saved, and then the lock turns out to be gone.
    async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        self.inner.save(guard, record).await
    }

    async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError> {
        self.inner.delete(guard).await
    }

    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        self.inner.list().await
    }

    async fn lock(&self, key: &CredentialKey, request: LockRequest) -> Result<CredentialGuard, LockError> {
        let inner = self.inner.lock(key, request).await?;
        let is_lost = self.locks.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(CredentialGuard::new(key.clone(), Lease { inner, is_lost, made_at: self.made_at }))
    }
}

/// The process knows that its second presentation never was, also after it has waited for one that might be running.
#[tokio::test(start_paused = true)]
async fn f11_a_repeat_that_was_marked_and_never_sent_stays_allowed_after_the_wait() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    let guard = world
        .store
        .lock(&key(), LockRequest { purpose: "test", within: Duration::ZERO })
        .await
        .expect("free");
    let once = crate::exchange::marked(record("A1", "R1"), 1, UnixMs(1_099_000));
    world.store.save(&guard, &once).await.expect("saved");
    drop(guard);
    let store = Arc::new(TakesFirstLockAway {
        inner: world.store.clone(),
        locks: AtomicUsize::default(),
        made_at: UnixMs(1_100_000),
    });
    let process =
        Authority::new(store.clone(), world.endpoint.clone(), world.clock.clone()).credential(key());
    let call = tokio::spawn(async move { process.access_token(Wait::Transaction).await });
    while store.locks.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.presented(), [] as [&str; 0], "the exchange of the mark might be running");
    world.set_time(1_136);
    assert_eq!(token(&call.await.expect("no panic")), "A2");
    assert_eq!(world.presented(), ["R1"]);
}
