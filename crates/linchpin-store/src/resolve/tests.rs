use std::sync::Arc;

use super::*;
use crate::keyring::tests::{Fake, Trouble};
use crate::samples::{PATIENT, key, record};
use crate::{SystemClock, UnixMs};

#[derive(Debug)]
struct At(u64);

impl Clock for At {
    fn now(&self) -> UnixMs {
        UnixMs(self.0)
    }
}

struct Machine {
    fake: Arc<Fake>,
    directories: Directories,
    _home: tempfile::TempDir,
}

fn machine() -> Machine {
    let home = tempfile::tempdir().expect("a directory");
    let directories = Directories::under(home.path().join("home")).expect("absolute");
    Machine { fake: Arc::default(), directories, _home: home }
}

impl Machine {
    /// The stores as a new client has them.
    fn stores(&self, policy: StorePolicy) -> Stores {
        let keyring = KeyringStore::over(self.fake.keyring(), &self.directories);
        Stores::over(keyring, &self.directories, policy, None)
    }

    async fn resolve(&self, policy: StorePolicy) -> Pin {
        self.stores(policy).resolve(&key(1), &At(7)).await
    }

    async fn save(&self, kind: StoreKind) {
        let store = self.stores(StorePolicy::Auto).store(kind).expect("a store of the installation");
        let guard = store.lock(&key(1), PATIENT).await.expect("free");
        store.save(&guard, &record("one")).await.expect("saved");
    }

    async fn delete(&self, kind: StoreKind) {
        let store = self.stores(StorePolicy::Auto).store(kind).expect("a store of the installation");
        let guard = store.lock(&key(1), PATIENT).await.expect("free");
        assert!(store.delete(&guard).await.expect("deleted"));
    }
}

#[test]
fn p04_auto_takes_the_keyring_first_then_the_file() {
    let locked = || Err(KeyringError::Locked);
    for (keyring, file, expected) in [
        (Ok(true), false, (StoreKind::Keyring, Why::Found)),
        (Ok(true), true, (StoreKind::Keyring, Why::Found)),
        (Ok(false), true, (StoreKind::File, Why::Found)),
        (Ok(false), false, (StoreKind::Keyring, Why::ForNew)),
        (locked(), true, (StoreKind::File, Why::KeyringFails(KeyringError::Locked))),
        (locked(), false, (StoreKind::File, Why::KeyringFails(KeyringError::Locked))),
    ] {
        assert_eq!(choose(&Asked { keyring, file }), expected);
    }
}

#[tokio::test]
async fn p04_an_explicit_policy_asks_no_other_store() {
    let machine = machine();
    machine.save(StoreKind::Keyring).await;
    let calls = machine.fake.calls();
    for (policy, kind) in [(StorePolicy::File, StoreKind::File), (StorePolicy::Secrets, StoreKind::Secrets)] {
        let pin = machine.resolve(policy).await;
        assert_eq!((pin.store.kind(), pin.why), (kind, Why::Configured));
    }
    assert_eq!(machine.fake.calls(), calls);
}

#[tokio::test]
async fn p05_drift_is_told_once_with_its_reason() {
    let machine = machine();
    machine.save(StoreKind::Keyring).await;
    assert_eq!(machine.resolve(StorePolicy::Auto).await.drift, None, "the first time is a baseline");
    machine.fake.trouble(Some(Trouble::Fails(KeyringError::Locked)));
    let drift = machine.resolve(StorePolicy::Auto).await.drift.expect("another store");
    assert_eq!((drift.before, drift.now), (StoreKind::Keyring, StoreKind::File));
    assert_eq!(drift.reason, DriftReason::Keyring(KeyringError::Locked));
    assert!(drift.to_string().contains("locked"), "{drift}");
    assert_eq!(machine.resolve(StorePolicy::Auto).await.drift, None, "it was told");

    machine.fake.trouble(None);
    let drift = machine.resolve(StorePolicy::Auto).await.drift.expect("another store again");
    assert_eq!(drift.reason, DriftReason::Appeared);

    machine.save(StoreKind::File).await;
    machine.delete(StoreKind::Keyring).await;
    let drift = machine.resolve(StorePolicy::Auto).await.drift.expect("the entry is missing");
    assert_eq!((drift.now, drift.reason), (StoreKind::File, DriftReason::Missing));
}

#[tokio::test]
async fn p05_another_policy_or_a_sign_in_is_a_new_baseline() {
    let machine = machine();
    machine.save(StoreKind::Keyring).await;
    let _ = machine.resolve(StorePolicy::Auto).await;
    let _ = machine.resolve(StorePolicy::File).await;
    machine.fake.trouble(Some(Trouble::Fails(KeyringError::Locked)));
    assert_eq!(machine.resolve(StorePolicy::Auto).await.drift, None, "an explicit policy came between");

    machine.fake.trouble(None);
    machine.stores(StorePolicy::Auto).signed_in(&key(1), StoreKind::Keyring, &At(9)).await;
    assert_eq!(machine.resolve(StorePolicy::Auto).await.drift, None, "a migration by sign-in is no drift");
}

#[tokio::test]
async fn p05_the_note_holds_no_token_and_decides_nothing() {
    let machine = machine();
    machine.save(StoreKind::Keyring).await;
    let _ = machine.resolve(StorePolicy::Auto).await;
    let notes = machine.directories.resolutions_file();
    let text = std::fs::read_to_string(&notes).expect("written");
    assert!(text.contains("\"keyring\"") && !text.contains("one\""), "{text}");
    // Damaged notes, and notes that cannot be written, change no resolution.
    std::fs::remove_file(&notes).expect("removed");
    std::fs::create_dir(&notes).expect("made");
    let pin = machine.resolve(StorePolicy::Auto).await;
    assert_eq!((pin.store.kind(), pin.drift), (StoreKind::Keyring, None));
}

#[tokio::test]
async fn p04_a_new_sign_in_goes_to_the_keyring_when_it_works() {
    let machine = machine();
    let pin = machine.stores(StorePolicy::Auto).for_sign_in().await;
    assert_eq!((pin.store.kind(), pin.why), (StoreKind::Keyring, Why::ForNew));
    machine.fake.trouble(Some(Trouble::NeverUnlocked));
    let pin = machine.stores(StorePolicy::Auto).for_sign_in().await;
    assert_eq!((pin.store.kind(), pin.why), (StoreKind::File, Why::KeyringFails(KeyringError::NoCollection)));
    let pin = machine.stores(StorePolicy::Secrets).for_sign_in().await;
    assert_eq!((pin.store.kind(), pin.why), (StoreKind::Secrets, Why::Configured));
}

#[tokio::test]
async fn f20_a_pinned_store_is_the_only_one_that_is_asked() {
    let machine = machine();
    machine.save(StoreKind::Keyring).await;
    let pin = machine.resolve(StorePolicy::Auto).await;
    machine.save(StoreKind::File).await;
    // A file that may not even be looked at: any access to it would be an error of its own.
    let file = machine.directories.credentials_file();
    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir(&file).expect("made");
    machine.fake.trouble(Some(Trouble::Fails(KeyringError::Unavailable("it went away".into()))));
    for _ in 0..3 {
        let error = pin.store.load(&key(1)).await.expect_err("the keyring is gone");
        assert!(error.to_string().starts_with("keyring: "), "{error}");
    }
    let guard = pin.store.lock(&key(1), PATIENT).await.expect("free");
    assert!(pin.store.save(&guard, &record("two")).await.is_err());
    assert!(SystemClock.now() > UnixMs(0));
}
