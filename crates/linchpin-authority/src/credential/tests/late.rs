//! A store that gives up waiting for a save which then arrives all the same, as a keyring does that hangs for a while.

use linchpin_store::{Disposition, Hold, KeyringError, StoreError};

use super::hooked::{Hooked, Hooks};
use super::*;

/// For how long the keyring hangs.
const HANGS: Duration = Duration::from_secs(4);

/// Hangs at the first save that is made after it was told to.
#[derive(Debug)]
struct Hanging {
    /// Where it arrives, late.
    arrives: MemoryStore,
    hangs: AtomicUsize,
    until: Mutex<Option<Instant>>,
}

struct Late {
    #[expect(dead_code, reason = "a call that goes on keeps the lock")]
    hold: Hold,
}

impl Held for Late {}

impl Hanging {
    fn is_busy(&self) -> bool {
        lock(&self.until).is_some_and(|until| Instant::now() < until)
    }
}

#[async_trait]
impl Hooks for Hanging {
    async fn save(
        &self,
        beneath: &dyn Store,
        guard: &CredentialGuard,
        record: &Record,
    ) -> Result<(), StoreError> {
        if self.hangs.swap(0, Ordering::SeqCst) > 0 {
            *lock(&self.until) = Some(Instant::now() + HANGS);
            let (arrives, record) = (self.arrives.clone(), record.clone());
            let late = CredentialGuard::new(guard.key().clone(), Late { hold: guard.hold() });
            tokio::spawn(async move {
                tokio::time::sleep(HANGS).await;
                arrives.save(&late, &record).await.expect("saved, late");
            });
        }
        if self.is_busy() {
            return Err(KeyringError::TimedOut.into());
        }
        beneath.save(guard, record).await
    }
}

/// Twice, and the token would count as presented twice without an answer: a sign-in lost that was never in danger.
#[tokio::test(start_paused = true)]
async fn p08_a_mark_that_arrives_late_counts_no_presentation_that_never_was() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    let hanging =
        Hanging { arrives: world.store.clone(), hangs: AtomicUsize::default(), until: Mutex::default() };
    let store = Hooked::over(world.store.clone(), hanging);
    for round in 1..=3 {
        store.hooks.hangs.store(1, Ordering::SeqCst);
        let authority = Authority::new(store.clone(), world.endpoint.clone(), world.clock.clone());
        let begun = Instant::now();
        let error = authority.credential(key()).access_token(Wait::Transaction).await.expect_err("it hangs");
        assert_eq!(error.disposition(), Disposition::TimedOut, "{error}");
        assert_eq!(begun.elapsed(), Duration::ZERO, "whoever asks is told at once");
        let request = LockRequest { purpose: "test", within: Duration::ZERO };
        assert!(world.store.lock(&key(), request).await.is_err(), "nobody else reads the late mark");
        assert!(authority.drain(Duration::from_secs(30)).await, "and the process sees to it before it ends");
        assert!(begun.elapsed() >= HANGS);
        assert_eq!(world.saved().await.presentations(), 0, "round {round}");
    }
    assert_eq!(world.presented(), [] as [&str; 0]);
    assert_eq!(token(&world.another_process().access_token(Wait::Transaction).await), "A2");
}
