use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::samples::{QUICK, key, record};

/// A keyring that does what a test tells it to.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    entries: Mutex<BTreeMap<String, Vec<u8>>>,
    trouble: Mutex<Option<Trouble>>,
    calls: Mutex<Vec<String>>,
}

/// What is wrong with it.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// Every call fails.
    Fails(KeyringError),
    /// Entries are said to be absent and cannot be made, as by a daemon that nobody has unlocked yet.
    NeverUnlocked,
    /// Every call takes this long.
    Hangs(Duration),
    /// Keeps nothing that it is given.
    Forgets,
}

impl Fake {
    pub(crate) fn keyring(self: &Arc<Self>) -> Keyring {
        Keyring::over(Arc::<Self>::clone(self))
    }

    pub(crate) fn trouble(&self, trouble: Option<Trouble>) {
        *lock(&self.trouble) = trouble;
    }

    pub(crate) fn entries(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.entries).clone()
    }

    pub(crate) fn calls(&self) -> usize {
        lock(&self.calls).len()
    }

    fn called(&self, call: &str) -> Result<Option<Trouble>, KeyringError> {
        lock(&self.calls).push(call.to_owned());
        let trouble = lock(&self.trouble).clone();
        match trouble {
            Some(Trouble::Fails(error)) => Err(error),
            Some(Trouble::Hangs(time)) => {
                std::thread::sleep(time);
                Ok(None)
            }
            other => Ok(other),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend for Fake {
    fn get(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
        match self.called("get")? {
            Some(Trouble::NeverUnlocked) => Ok(None),
            _ => Ok(lock(&self.entries).get(entry).cloned().map(Zeroizing::new)),
        }
    }

    fn set(&self, entry: &str, secret: &[u8]) -> Result<(), KeyringError> {
        match self.called("set")? {
            Some(Trouble::NeverUnlocked) => Err(KeyringError::NoCollection),
            Some(Trouble::Forgets) => Ok(()),
            _ => {
                lock(&self.entries).insert(entry.to_owned(), secret.to_vec());
                Ok(())
            }
        }
    }

    fn delete(&self, entry: &str) -> Result<bool, KeyringError> {
        match self.called("delete")? {
            Some(Trouble::NeverUnlocked) => Ok(false),
            _ => Ok(lock(&self.entries).remove(entry).is_some()),
        }
    }

    fn list(&self) -> Result<Vec<String>, KeyringError> {
        match self.called("list")? {
            Some(Trouble::NeverUnlocked) => Ok(Vec::new()),
            _ => Ok(lock(&self.entries).keys().cloned().collect()),
        }
    }
}

fn store() -> (Arc<Fake>, KeyringStore, tempfile::TempDir) {
    let home = tempfile::tempdir().expect("a directory");
    let directories = Directories::under(home.path()).expect("absolute");
    let fake = Arc::new(Fake::default());
    (Arc::clone(&fake), KeyringStore::over(fake.keyring(), &directories), home)
}

async fn guard(store: &KeyringStore) -> CredentialGuard {
    store.lock(&key(1), QUICK).await.expect("free")
}

fn failed(error: &StoreError) -> &KeyringError {
    match error {
        StoreError::Keyring(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn p04_no_entry_proves_nothing_until_the_keyring_has_shown_that_it_works() {
    let (fake, store, _home) = store();
    fake.trouble(Some(Trouble::NeverUnlocked));
    let error = store.load(&key(1)).await.expect_err("it has not shown that it works");
    assert_eq!(failed(&error), &KeyringError::NoCollection);
    assert!(store.list().await.is_err());
    fake.trouble(Some(Trouble::Forgets));
    assert!(matches!(failed(&store.load(&key(1)).await.expect_err("it forgets")), KeyringError::Failed(_)));
    fake.trouble(None);
    assert_eq!(store.load(&key(1)).await.expect("it works"), None);
    assert!(fake.entries().is_empty(), "the probe is taken away again");
    // Shown once, it is believed; the probe is not repeated.
    let calls = fake.calls();
    assert_eq!(store.load(&key(1)).await.expect("it works"), None);
    assert_eq!(fake.calls(), calls + 1);
}

#[tokio::test]
async fn f10_what_a_keyring_fails_with_is_told_apart_and_named() {
    let (fake, store, _home) = store();
    for error in [
        KeyringError::Unavailable("no bus".to_owned()),
        KeyringError::Locked,
        KeyringError::NoCollection,
        KeyringError::TooLarge(9),
        KeyringError::Failed("odd".to_owned()),
    ] {
        fake.trouble(Some(Trouble::Fails(error.clone())));
        let found = store.load(&key(1)).await.expect_err("it fails");
        assert_eq!(failed(&found), &error);
        assert!(found.to_string().starts_with("keyring: "), "{found}");
    }
}

#[tokio::test]
async fn p12_a_write_that_arrives_late_still_arrives_under_the_lock() {
    let (fake, store, _home) = store();
    let calls = Bounded::new(Arc::<Fake>::clone(&fake)).with_bound(Duration::from_millis(50));
    let store = KeyringStore { keyring: Keyring { calls, proven: Arc::default() }, ..store };
    let held = guard(&store).await;
    fake.trouble(Some(Trouble::Hangs(Duration::from_millis(400))));
    let begun = Instant::now();
    let error = store.save(&held, &record("one")).await.expect_err("it hangs");
    assert_eq!(failed(&error), &KeyringError::TimedOut);
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    // While one call hangs, the next fails at once rather than behind it.
    let begun = Instant::now();
    assert!(store.load(&key(1)).await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(40), "{:?}", begun.elapsed());
    drop(held);
    let at_once = LockRequest { purpose: "test", within: Duration::ZERO };
    assert!(store.lock(&key(1), at_once).await.is_err(), "the late write still holds the lock");
    fake.trouble(None);
    let patient = LockRequest { purpose: "test", within: Duration::from_secs(5) };
    let held = store.lock(&key(1), patient).await.expect("released by the late write");
    assert_eq!(store.load(&key(1)).await.expect("it works again"), Some(record("one")));
    drop(held);
}

#[tokio::test]
async fn p03_an_entry_that_does_not_read_is_an_error_and_stays() {
    let (fake, store, _home) = store();
    for content in [&b"\xff\xfe"[..], b"{}", b"", br#"{"version":9}"#] {
        lock(&fake.entries).insert(key(1).entry(), content.to_vec());
        let error = store.load(&key(1)).await.expect_err("damaged");
        let told_apart = match error {
            StoreError::NewerRecord { found, .. } => found == 9,
            StoreError::DamagedRecord { .. } => !content.starts_with(b"{\"version"),
            _ => false,
        };
        assert!(told_apart, "{content:?}");
        assert_eq!(fake.entries()[&key(1).entry()], content);
    }
    let listed = store.list().await.expect("the keyring works");
    assert!(listed.len() == 1 && listed[0].1.is_err());
}
