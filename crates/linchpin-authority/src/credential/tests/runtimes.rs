//! Runtimes that come and go while the sign-in stays.

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// Never answers the first time.
#[derive(Debug, Default)]
struct Silent {
    scripted: Scripted,
    asked: AtomicUsize,
}

#[async_trait]
impl TokenEndpoint for Silent {
    async fn refresh(&self, record: &Record) -> Exchange {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        self.scripted.refresh(record).await
    }

    async fn revoke(&self, record: &Record) -> Revocation {
        self.scripted.revoke(record).await
    }
}

#[test]
fn p07_a_runtime_dropped_in_an_exchange_locks_nobody_out() {
    let (store, endpoint) = (MemoryStore::new(), Arc::new(Silent::default()));
    let clock = Arc::new(ManualClock(AtomicU64::new(1_100_000)));
    let credential = Authority::new(Arc::new(store), endpoint.clone(), clock).credential(key());
    let first = runtime();
    first.block_on(async {
        credential.sign_in(record("A1", "R1")).await.expect("saved");
        let mut asking = std::pin::pin!(credential.access_token(Wait::Transaction));
        while endpoint.asked.load(Ordering::SeqCst) == 0 {
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut asking).await.is_err());
        }
    });
    drop(first);
    let asked = runtime().block_on(credential.access_token(Wait::Transaction));
    assert_eq!(token(&asked), "A2");
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn p18_a_look_outside_a_runtime_renews_nothing_and_breaks_nothing() {
    let world = runtime().block_on(world(1_001, Duration::ZERO, vec![]));
    world.set_time(1_040);
    for _ in 0..2 {
        assert_eq!(world.credential.current(), Some(a("A1")), "near its end");
    }
    assert!(world.presented().is_empty());
    world.set_time(1_001);
    world.credential.refused_again(&a("A1"));
    runtime().block_on(async {
        assert_eq!(world.saved().await.refused, None, "no note, but this process knows");
        let recovered = world.credential.recover(&a("A1"), Wait::Transaction).await;
        assert!(
            matches!(
                &recovered,
                Err(CredentialError::SignInRequired { reason: SignInReason::RefusedAfterExchange, .. })
            ),
            "{recovered:?}"
        );
        world.set_time(1_100);
        assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A2");
    });
}
