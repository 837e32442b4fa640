//! What every store promises, as one suite that each of them passes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::keyring::tests::Fake;
use crate::samples::{PATIENT, QUICK, key, record};
use crate::{
    CredentialKey, Directories, FileStore, KeyringStore, LockError, LockRequest, MemoryStore, Profile,
    Record, SecretsStore, Store, StoreError, StoreKind,
};

/// A store on a machine of its own.
struct Subject {
    store: Arc<dyn Store>,
    /// The same store as another process has it.
    again: Arc<dyn Store>,
    _home: tempfile::TempDir,
}

fn subjects() -> Vec<Subject> {
    type Pair = (Arc<dyn Store>, Arc<dyn Store>);
    let subject = |make: &dyn Fn(&Directories) -> Pair| {
        let home = tempfile::tempdir().expect("a directory");
        let directories = Directories::under(home.path().join("home")).expect("absolute");
        let (store, again) = make(&directories);
        Subject { store, again, _home: home }
    };
    vec![
        subject(&|_| {
            let store = Arc::new(MemoryStore::new());
            (Arc::<MemoryStore>::clone(&store), store)
        }),
        subject(&|directories| {
            (Arc::new(FileStore::new(directories)), Arc::new(FileStore::new(directories)))
        }),
        subject(&|directories| {
            let fake = Arc::new(Fake::default());
            let make = || Arc::new(SecretsStore::over(directories, None, fake.keyring()));
            (make(), make())
        }),
        subject(&|directories| {
            let fake = Arc::new(Fake::default());
            let make = || Arc::new(KeyringStore::over(fake.keyring(), directories));
            (make(), make())
        }),
    ]
}

async fn save(store: &dyn Store, key: &CredentialKey, record: &Record) -> Result<(), StoreError> {
    let guard = store.lock(key, PATIENT).await?;
    store.save(&guard, record).await
}

#[tokio::test]
async fn a_record_is_found_as_it_was_saved_by_every_process() {
    for Subject { store, again, _home } in subjects() {
        let kind = store.kind();
        assert_eq!(store.load(&key(1)).await.expect("readable"), None, "{kind}");
        let mut saved = record("one");
        saved.extra.insert("from_the_future".to_owned(), serde_json::json!({ "kept": [1, 2.5, null] }));
        save(&*store, &key(1), &saved).await.expect("saved");
        assert_eq!(again.load(&key(1)).await.expect("readable"), Some(saved), "{kind}");
        save(&*again, &key(1), &record("two")).await.expect("saved");
        let found = store.load(&key(1)).await.expect("readable").expect("there");
        assert_eq!(found.access_token.expose(), "two", "{kind}");
    }
}

#[tokio::test]
async fn profiles_and_servers_are_kept_apart_and_listed_in_order() {
    for Subject { store, again, _home } in subjects() {
        let kind = store.kind();
        assert!(store.list().await.expect("readable").is_empty(), "{kind}");
        let other = CredentialKey::new(Profile::parse("work").expect("a name"), key(1).server);
        for (key, access) in [(key(2), "two"), (other.clone(), "work"), (key(1), "one")] {
            save(&*store, &key, &record(access)).await.expect("saved");
        }
        let listed = again.list().await.expect("readable");
        let listed: Vec<_> = listed
            .into_iter()
            .map(|(key, record)| (key, record.expect("readable").access_token.expose().to_owned()))
            .collect();
        let expected = [(key(1), "one"), (key(2), "two"), (other, "work")];
        assert_eq!(listed, expected.map(|(key, access)| (key, access.to_owned())), "{kind}");
    }
}

#[tokio::test]
async fn a_deleted_record_is_gone_and_the_others_stay() {
    for Subject { store, again, _home } in subjects() {
        let kind = store.kind();
        save(&*store, &key(1), &record("one")).await.expect("saved");
        save(&*store, &key(2), &record("two")).await.expect("saved");
        let guard = store.lock(&key(1), QUICK).await.expect("free");
        assert!(store.delete(&guard).await.expect("deleted"), "{kind}");
        assert!(!store.delete(&guard).await.expect("nothing there"), "{kind}");
        assert_eq!(again.load(&key(1)).await.expect("readable"), None, "{kind}");
        assert!(again.load(&key(2)).await.expect("readable").is_some(), "{kind}");
    }
}

#[tokio::test]
async fn p06_one_holder_at_a_time_and_a_bounded_wait() {
    for Subject { store, again, _home } in subjects() {
        let kind = store.kind();
        let held = store.lock(&key(1), QUICK).await.expect("free");
        let other = again.lock(&key(2), QUICK).await.expect("another key is free");
        let waiting = {
            let again = Arc::clone(&again);
            tokio::spawn(async move {
                let request = LockRequest { purpose: "test", within: Duration::from_millis(100) };
                let begun = Instant::now();
                (again.lock(&key(1), request).await.map(drop), begun.elapsed())
            })
        };
        let (outcome, took) = waiting.await.expect("no panic");
        assert!(matches!(outcome, Err(LockError::TimedOut { .. })), "{kind}: {outcome:?}");
        assert!((90..2_000).contains(&took.as_millis()), "{kind}: {took:?}");
        drop((held, other));
        let free = tokio::spawn(async move { again.lock(&key(1), QUICK).await.map(drop) });
        free.await.expect("no panic").expect("free again");
    }
}

#[tokio::test]
async fn f01_who_watches_a_lock_sees_it_pass_and_not_before() {
    for Subject { store, again, _home } in subjects() {
        let kind = store.kind();
        if kind == StoreKind::Memory {
            // It says that it cannot tell.
            continue;
        }
        // So that no two holders are noted in the same millisecond.
        let moment = Duration::from_millis(40);
        let first = store.lock(&key(1), QUICK).await.expect("free");
        let watch = {
            let mut watch = again.watch_lock(&key(1));
            tokio::spawn(async move {
                watch.passed().await;
                watch
            })
        };
        let _other = again.lock(&key(2), QUICK).await.expect("another key is free");
        tokio::time::sleep(moment).await;
        assert!(!watch.is_finished(), "{kind}: it is held as before");
        drop(first);
        tokio::time::sleep(moment).await;
        assert!(!watch.is_finished(), "{kind}: it is free");
        let second = store.lock(&key(1), QUICK).await.expect("free");
        let passed = tokio::time::timeout(Duration::from_secs(5), watch).await;
        let passed = passed.unwrap_or_else(|_| panic!("{kind}: it has another holder"));
        let mut watch = passed.expect("no panic");
        assert!(tokio::time::timeout(moment, watch.passed()).await.is_err(), "{kind}: that was seen");
        drop(second);
        let _third = store.lock(&key(1), QUICK).await.expect("free");
        tokio::time::sleep(moment).await;
        let passed = tokio::time::timeout(Duration::from_millis(1), watch.passed()).await;
        assert!(passed.is_ok(), "{kind}: a pass while nobody waited");
    }
}

#[tokio::test]
async fn a_hold_outlives_its_guard() {
    for Subject { store, again, _home } in subjects() {
        let kind = store.kind();
        let guard = store.lock(&key(1), QUICK).await.expect("free");
        let hold = guard.hold();
        drop(guard);
        let second = Arc::clone(&again);
        let taken = tokio::spawn(async move {
            let request = LockRequest { purpose: "test", within: Duration::from_millis(50) };
            second.lock(&key(1), request).await.is_ok()
        });
        assert!(!taken.await.expect("no panic"), "{kind}: held by the hold");
        drop(hold);
        let free = tokio::spawn(async move { again.lock(&key(1), QUICK).await.is_ok() });
        assert!(free.await.expect("no panic"), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p01_interleaved_writers_of_different_records_lose_nothing() {
    for Subject { store, again, _home } in subjects() {
        let kind = store.kind();
        let writers = (0..8).map(|writer| {
            let store = Arc::clone(if writer % 2 == 0 { &store } else { &again });
            tokio::spawn(async move {
                for round in 0..5 {
                    let access = format!("{writer}-{round}");
                    save(&*store, &key(writer), &record(&access)).await.expect("saved");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("no panic");
        }
        let listed = store.list().await.expect("readable");
        assert_eq!(listed.len(), 8, "{kind}");
        for (writer, (_, record)) in listed.into_iter().enumerate() {
            assert_eq!(record.expect("readable").access_token.expose(), format!("{writer}-4"), "{kind}");
        }
    }
}
