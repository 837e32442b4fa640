//! A transaction that panics (F27): its text shows no token, nobody waits for ever, and the next one has the lock.

use super::*;

/// Panics at its first exchange, with everything in the text that a careless programmer could put there.
#[derive(Debug, Default)]
struct Careless {
    scripted: Scripted,
    said: Mutex<Option<String>>,
}

#[async_trait]
impl TokenEndpoint for Careless {
    async fn refresh(&self, record: &Record) -> Exchange {
        let answer = self.scripted.refresh(record).await;
        if lock(&self.said).is_none() {
            let token = AccessToken::new(record.access_token.clone(), None);
            let text = format!("{record:?} {token:?} {answer:?}");
            *lock(&self.said) = Some(text.clone());
            panic!("{text}");
        }
        answer
    }

    async fn revoke(&self, record: &Record) -> Revocation {
        self.scripted.revoke(record).await
    }
}

#[tokio::test(start_paused = true)]
async fn f27_a_panic_in_an_exchange_shows_no_token_and_locks_nobody_out() {
    let (store, endpoint) = (MemoryStore::new(), Arc::new(Careless::default()));
    let clock = Arc::new(ManualClock(AtomicU64::new(1_100_000)));
    let process =
        || Authority::new(Arc::new(store.clone()), endpoint.clone(), clock.clone()).credential(key());
    let credential = process();
    credential.sign_in(record("planted-A1", "planted-R1")).await.expect("saved");
    let outcome = credential.access_token(Wait::Transaction).await;
    assert!(matches!(outcome, Err(CredentialError::Interrupted { .. })), "{outcome:?}");
    let said = lock(&endpoint.said).clone().expect("it panicked");
    assert!(said.contains("redacted"), "{said}");
    for secret in ["planted-", "\"A2\"", "\"R2\""] {
        assert!(!said.contains(secret), "{said}");
    }
    // The mark says that the token may be spent: it is presented once more, by whoever comes next, here or elsewhere.
    assert_eq!(token(&process().access_token(Wait::Transaction).await), "A3");
    assert_eq!(token(&credential.access_token(Wait::Transaction).await), "A3");
    assert_eq!(*lock(&endpoint.scripted.presented), ["planted-R1", "planted-R1"]);
}
