use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::keyring::tests::{Fake, Trouble};
use crate::samples::{QUICK, key};
use crate::{KeyringStore, StorePolicy};

struct Machine {
    fake: Arc<Fake>,
    directories: Directories,
    home: tempfile::TempDir,
}

fn machine() -> Machine {
    let home = tempfile::tempdir().expect("a directory");
    let directories = Directories::under(home.path().join("home")).expect("absolute");
    Machine { fake: Arc::default(), directories, home }
}

impl Machine {
    fn stores(&self, policy: StorePolicy) -> Stores {
        let keyring = KeyringStore::over(self.fake.keyring(), &self.directories);
        Stores::over(keyring, &self.directories, policy, None)
    }

    async fn check(&self, policy: StorePolicy) -> Vec<Check> {
        check(&self.directories, &self.stores(policy)).await
    }
}

fn find<'a>(checks: &'a [Check], what: &str) -> &'a Check {
    checks.iter().find(|check| check.what == what).unwrap_or_else(|| panic!("{what}: {checks:#?}"))
}

#[tokio::test]
async fn a_sound_machine_is_fine_and_nothing_is_left_behind() {
    let machine = machine();
    let checks = machine.check(StorePolicy::Auto).await;
    assert!(checks.iter().all(|check| check.verdict == Verdict::Fine), "{checks:#?}");
    assert_eq!(find(&checks, "locks").found, "a second taker is kept out");
    for store in machine.stores(StorePolicy::Auto).all() {
        assert!(store.list().await.expect("readable").is_empty());
    }
    assert!(!machine.directories.secrets_file().exists(), "an unused store is not begun");
}

#[tokio::test]
async fn p04_a_keyring_that_does_not_work_is_named() {
    let machine = machine();
    machine.fake.trouble(Some(Trouble::Fails(KeyringError::Locked)));
    let checks = machine.check(StorePolicy::Auto).await;
    let keyring = find(&checks, "store keyring");
    assert!(keyring.verdict == Verdict::Wrong && keyring.found.contains("locked"), "{keyring:?}");
    machine.fake.trouble(Some(Trouble::Fails(KeyringError::Unavailable("no bus".into()))));
    let checks = machine.check(StorePolicy::Auto).await;
    assert_eq!(find(&checks, "store keyring").verdict, Verdict::Note, "an ordinary machine without one");
    assert_eq!(find(&checks, "store file").verdict, Verdict::Fine);
    let checks = machine.check(StorePolicy::Keyring).await;
    assert_eq!(find(&checks, "store keyring").verdict, Verdict::Wrong, "it is what the user asked for");
}

/// Nothing else says so: no sign-in depends on it.
#[tokio::test]
async fn f06_a_history_that_cannot_be_written_is_told() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let machine = machine();
    machine.check(StorePolicy::File).await;
    let path = machine.directories.events_file();
    let begin = || File::options().append(true).create_new(true).open(&path).map(drop);
    begin().expect("made");
    assert_eq!(find(&machine.check(StorePolicy::File).await, "history").verdict, Verdict::Fine);
    for what in ["a link", "a directory", "a FIFO"] {
        fs::remove_file(&path).expect("removed");
        match what {
            "a link" => std::os::unix::fs::symlink("elsewhere", &path).expect("linked"),
            "a directory" => fs::create_dir(&path).expect("made"),
            _ => mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("made"),
        }
        let checks = machine.check(StorePolicy::File).await;
        let history = find(&checks, "history");
        assert!(
            history.verdict == Verdict::Wrong && history.remedy.contains("events.jsonl"),
            "{what}: {history:?}"
        );
        assert_eq!(find(&checks, "locks").verdict, Verdict::Fine, "{what}: all else is looked at");
        if what == "a directory" {
            fs::remove_dir(&path).and_then(|()| begin()).expect("replaced");
        }
    }
}

#[tokio::test]
async fn f13_a_directory_that_everyone_can_write_to_is_wrong() {
    let machine = machine();
    let home = machine.home.path().join("home");
    fs::create_dir(&home).expect("made");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).expect("changed");
    let checks = machine.check(StorePolicy::File).await;
    let directory = find(&checks, "data directory");
    assert!(directory.verdict == Verdict::Wrong && directory.found.contains("chmod 700"), "{directory:?}");
}

#[tokio::test]
async fn f11_a_held_lock_names_its_holder() {
    let machine = machine();
    let stores = machine.stores(StorePolicy::File);
    let store = stores.store(StoreKind::File).expect("there");
    let guard = store.lock(&key(1), QUICK).await.expect("free");
    let checks = machine.check(StorePolicy::File).await;
    let held = find(&checks, "lock in use");
    assert!(held.found.contains(&format!("process {} (test)", std::process::id())), "{held:?}");
    drop(guard);
    let checks = machine.check(StorePolicy::File).await;
    assert!(checks.iter().all(|check| check.what != "lock in use"), "{checks:#?}");
}

#[tokio::test]
async fn p05_drift_is_shown_and_not_noted_by_looking() {
    let machine = machine();
    let stores = machine.stores(StorePolicy::Auto);
    let _ = stores.resolve(&key(1), &crate::SystemClock).await;
    let what = format!("sign-in {}", key(1));
    let checks = machine.check(StorePolicy::Auto).await;
    assert_eq!(find(&checks, &what).verdict, Verdict::Fine);
    machine.fake.trouble(Some(Trouble::Fails(KeyringError::Locked)));
    for _ in 0..2 {
        let checks = machine.check(StorePolicy::Auto).await;
        let drift = find(&checks, &what);
        assert!(
            drift.verdict == Verdict::Note && drift.found.contains("now from the file store"),
            "{drift:?}"
        );
    }
}
