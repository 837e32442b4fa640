//! A machine whose every await can be seen: a store and a provider that count them, and stand still at one.

use linchpin_store::{LockError, StoreError, StoreKind, StoredRecord};
use tokio::sync::{Notify, watch};

use super::super::*;

/// How long the provider takes: an exchange that is dropped in the middle has most of its bound before it.
pub(super) const PROVIDER: Duration = Duration::from_secs(20);
/// The bound of one exchange (`DESIGN.md`, step 4).
pub(super) const EXCHANGE: Duration = Duration::from_secs(30);

/// The awaits of a transaction, counted. At one of them it stands still until it is let go on.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) stop_at: Option<usize>,
    pub(super) passed: Mutex<Vec<&'static str>>,
    pub(super) count: watch::Sender<usize>,
    pub(super) stopped: Notify,
    pub(super) go_on: Notify,
}

impl Steps {
    pub(super) fn stopping_at(step: Option<usize>) -> Arc<Self> {
        Arc::new(Self { stop_at: step, ..Self::default() })
    }

    pub(super) async fn pass(&self, what: &'static str) {
        let step = {
            let mut passed = lock(&self.passed);
            passed.push(what);
            passed.len() - 1
        };
        self.count.send_replace(step + 1);
        if self.stop_at == Some(step) {
            self.stopped.notify_one();
            self.go_on.notified().await;
        }
        // Whoever was told gets its turn before the transaction goes on.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn passed(&self, steps: usize) {
        let _ = self.count.subscribe().wait_for(|passed| *passed > steps).await;
    }
}

/// A store whose every call is an await before and after, and some of whose saves fail.
#[derive(Debug)]
pub(super) struct Stepped {
    pub(super) inner: Arc<dyn Store>,
    pub(super) steps: Arc<Steps>,
    /// Which saves fail, counted from 0.
    pub(super) failing: Vec<usize>,
    pub(super) saves: AtomicUsize,
}

#[async_trait]
impl Store for Stepped {
    fn kind(&self) -> StoreKind {
        self.inner.kind()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        self.steps.pass("load").await;
        let loaded = self.inner.load(key).await;
        self.steps.pass("loaded").await;
        loaded
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.steps.pass("ready").await;
        self.inner.ready().await
    }

    async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        self.steps.pass("save").await;
        if self.failing.contains(&self.saves.fetch_add(1, Ordering::SeqCst)) {
            return Err(StoreError::Other("the disk is full"));
        }
        let saved = self.inner.save(guard, record).await;
        self.steps.pass("saved").await;
        saved
    }

    async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError> {
        self.steps.pass("delete").await;
        let deleted = self.inner.delete(guard).await;
        self.steps.pass("deleted").await;
        deleted
    }

    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        self.inner.list().await
    }

    async fn lock(&self, key: &CredentialKey, request: LockRequest) -> Result<CredentialGuard, LockError> {
        self.steps.pass("lock").await;
        let guard = self.inner.lock(key, request).await;
        self.steps.pass("locked").await;
        guard
    }
}

/// The provider, likewise, which also sees when two are at it.
#[derive(Debug)]
pub(super) struct SteppedEndpoint {
    pub(super) inner: Arc<Scripted>,
    pub(super) steps: Arc<Steps>,
    pub(super) at_once: AtomicUsize,
    pub(super) most_at_once: AtomicUsize,
}

#[async_trait]
impl TokenEndpoint for SteppedEndpoint {
    async fn refresh(&self, record: &Record) -> Exchange {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        self.steps.pass("send").await;
        let outcome = self.inner.refresh(record).await;
        self.steps.pass("received").await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    async fn revoke(&self, record: &Record) -> Revocation {
        self.steps.pass("revoke").await;
        self.inner.revoke(record).await
    }
}

/// A machine signed in with `A1`/`R1`, which have ended.
pub(super) struct Stage {
    pub(super) steps: Arc<Steps>,
    pub(super) inner: Arc<dyn Store>,
    pub(super) stepped: Arc<dyn Store>,
    pub(super) target: MemoryStore,
    pub(super) scripted: Arc<Scripted>,
    pub(super) endpoint: Arc<SteppedEndpoint>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) authority: Authority,
}

impl Stage {
    pub(super) async fn new(
        inner: Arc<dyn Store>,
        steps: Arc<Steps>,
        script: Vec<Exchange>,
        failing: Vec<usize>,
    ) -> Self {
        let guard = inner.lock(&key(), free_within(Duration::ZERO)).await.expect("free");
        inner.save(&guard, &record("A1", "R1")).await.expect("saved");
        drop(guard);
        let script = Mutex::new(script.into());
        let scripted = Arc::new(Scripted { script, delay: PROVIDER, ..Scripted::default() });
        let endpoint = Arc::new(SteppedEndpoint {
            inner: Arc::clone(&scripted),
            steps: Arc::clone(&steps),
            at_once: AtomicUsize::default(),
            most_at_once: AtomicUsize::default(),
        });
        let saves = AtomicUsize::default();
        let stepped: Arc<dyn Store> =
            Arc::new(Stepped { inner: Arc::clone(&inner), steps: Arc::clone(&steps), failing, saves });
        let clock = Arc::new(ManualClock(AtomicU64::new(1_100_000)));
        let authority = Authority::new(Arc::clone(&stepped), endpoint.clone(), clock.clone());
        let target = MemoryStore::new();
        Self { steps, inner, stepped, target, scripted, endpoint, clock, authority }
    }

    pub(super) fn another_process(&self) -> Authority {
        Authority::new(Arc::clone(&self.stepped), self.endpoint.clone(), self.clock.clone())
    }

    /// A process on whose disk nothing fails.
    pub(super) fn healthy_process(&self) -> Authority {
        Authority::new(Arc::clone(&self.inner), self.endpoint.clone(), self.clock.clone())
    }

    pub(super) fn presented(&self) -> Vec<String> {
        lock(&self.scripted.presented).clone()
    }

    pub(super) async fn saved(&self) -> Option<Record> {
        self.inner.load(&key()).await.expect("readable")
    }
}

pub(super) fn free_within(within: Duration) -> LockRequest {
    LockRequest { purpose: "test", within }
}
