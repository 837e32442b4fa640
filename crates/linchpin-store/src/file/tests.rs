use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::permissions::private_dir;
use crate::samples::{PATIENT, QUICK, key, record};

struct Home {
    directory: tempfile::TempDir,
    store: FileStore,
}

fn home() -> Home {
    let directory = tempfile::tempdir().expect("a directory");
    let directories = Directories::under(directory.path().join("home")).expect("absolute");
    Home { store: FileStore::new(&directories), directory }
}

impl Home {
    fn file(&self) -> PathBuf {
        self.directory.path().join("home/credentials.json")
    }

    /// The lock of server 1.
    fn lock(&self) -> PathBuf {
        self.store.locks.directory().join(format!("{}.lock", key(1).digest()))
    }

    fn plant(&self, bytes: &[u8]) {
        self.plant_as("credentials.json", bytes);
    }

    fn plant_as(&self, name: &str, bytes: &[u8]) {
        let path = self.file().with_file_name(name);
        private_dir(path.parent().expect("a directory")).expect("made");
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, bytes))
            .expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.directory.path().join("home"))
            .expect("readable")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

async fn save(store: &FileStore, key: &CredentialKey, access: &str) -> Result<(), StoreError> {
    let guard = store.lock(key, PATIENT).await?;
    store.save(&guard, &record(access)).await
}

#[tokio::test]
async fn a_record_is_saved_listed_and_deleted() {
    let home = home();
    assert_eq!(home.store.load(&key(1)).await.expect("readable"), None);
    save(&home.store, &key(1), "one").await.expect("saved");
    save(&home.store, &key(2), "two").await.expect("saved");
    let loaded = home.store.load(&key(1)).await.expect("readable").expect("there");
    assert_eq!(loaded.access_token.expose(), "one");
    let listed = home.store.list().await.expect("readable");
    assert_eq!(listed.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key(1), key(2)]);
    let guard = home.store.lock(&key(1), QUICK).await.expect("free");
    assert!(home.store.delete(&guard).await.expect("deleted"));
    assert!(!home.store.delete(&guard).await.expect("nothing there"));
    assert!(home.store.load(&key(2)).await.expect("readable").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn p01_writers_of_different_records_never_lose_each_others_change() {
    let home = home();
    let store = Arc::new(home.store.clone());
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for round in 0..10 {
                    save(&store, &key(writer * 100 + round), "planted-x").await.expect("saved");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert_eq!(home.store.list().await.expect("readable").len(), 80);
}

#[tokio::test]
async fn p02_files_are_private_from_the_start_and_nothing_is_left_over() {
    let home = home();
    save(&home.store, &key(1), "one").await.expect("saved");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(&home.file()), 0o600);
    assert_eq!(mode(home.file().parent().expect("a directory")), 0o700);
    assert_eq!(home.names(), ["credentials.json", "locks"]);
    // What a killed process left behind is gone after the next save.
    fs::File::create(home.file().with_file_name(".credentials.json.x1y2.tmp")).expect("created");
    save(&home.store, &key(1), "two").await.expect("saved");
    assert_eq!(home.names(), ["credentials.json", "locks"]);
}

#[tokio::test]
async fn f13_a_loose_mode_is_repaired_and_a_directory_open_to_all_is_refused() {
    let home = home();
    save(&home.store, &key(1), "one").await.expect("saved");
    fs::set_permissions(home.file(), fs::Permissions::from_mode(0o666)).expect("set");
    assert!(home.store.load(&key(1)).await.expect("repaired").is_some());
    assert_eq!(fs::metadata(home.file()).expect("there").permissions().mode() & 0o777, 0o600);

    let directory = home.file().parent().expect("a directory").to_owned();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("set");
    let error = save(&home.store, &key(1), "two").await.expect_err("refused");
    assert!(error.to_string().contains("chmod 700"), "{error}");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o770)).expect("set");
    save(&home.store, &key(1), "two").await.expect("repaired");
    assert_eq!(fs::metadata(&directory).expect("there").permissions().mode() & 0o777, 0o750);
}

#[tokio::test]
async fn f13_a_link_in_place_of_the_file_is_refused_and_its_target_untouched() {
    let home = home();
    save(&home.store, &key(1), "one").await.expect("saved");
    let target = home.directory.path().join("target");
    fs::copy(home.file(), &target).expect("copied");
    fs::remove_file(home.file()).expect("removed");
    symlink(&target, home.file()).expect("linked");
    let before = fs::read(&target).expect("readable");
    for error in [
        home.store.load(&key(1)).await.expect_err("refused"),
        save(&home.store, &key(1), "two").await.expect_err("refused"),
    ] {
        assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
    }
    assert_eq!(fs::read(&target).expect("readable"), before);
}

#[tokio::test]
async fn p03_a_file_cut_at_any_byte_is_an_error_and_never_rewritten() {
    let home = home();
    save(&home.store, &key(1), "one").await.expect("saved");
    let whole = fs::read(home.file()).expect("readable");
    for length in 0..whole.trim_ascii_end().len() {
        home.plant(&whole[..length]);
        let error = save(&home.store, &key(2), "two").await.expect_err("damaged");
        assert!(matches!(error, StoreError::Damaged { .. }), "cut at {length}: {error}");
        assert!(home.store.load(&key(1)).await.is_err(), "cut at {length}");
        assert_eq!(fs::read(home.file()).expect("readable"), &whole[..length]);
    }
}

#[tokio::test]
async fn f08_what_is_not_a_credentials_file_is_kept_and_copied_aside_once() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let duplicated = r#"{"version":1,"credentials":{"a b":1,"a b":2}}"#;
    for damage in [
        &b"\0\0\0\0"[..],
        b"[]",
        b"{}",
        b"{\"version\":1,\"credentials\":{}} trailing",
        deep.as_bytes(),
        duplicated.as_bytes(),
    ] {
        let home = home();
        home.plant(damage);
        for _ in 0..3 {
            let error = home.store.load(&key(1)).await.expect_err("damaged");
            let StoreError::Damaged { kept_copy: Some(copy), .. } = &error else { panic!("{error}") };
            assert_eq!(fs::read(copy).expect("a copy"), damage);
            assert!(error.to_string().contains("credentials.json"), "{error}");
        }
        let copies = home.names().iter().filter(|name| name.contains(".corrupt-")).count();
        assert_eq!(copies, 1);
        assert_eq!(fs::read(home.file()).expect("readable"), damage);
    }
}

#[tokio::test]
async fn f08_a_newer_version_is_left_alone() {
    let home = home();
    home.plant(br#"{"version":2,"credentials":{}}"#);
    let error = save(&home.store, &key(1), "one").await.expect_err("newer");
    assert!(error.to_string().contains("update linchpin"), "{error}");
    assert_eq!(home.names(), ["credentials.json", "locks"]);
}

/// What a newer version looks like nobody knows; only its number has to be one.
#[tokio::test]
async fn f08_a_newer_version_of_another_shape_is_no_damage() {
    for (content, is_newer) in [
        (r#"{"version":2,"credentials":[]}"#, true),
        (r#"{"credentials":7,"version":10,"more":{}}"#, true),
        (r#"{"version":1,"credentials":[]}"#, false),
        (r#"{"version":"2","credentials":[]}"#, false),
        (r#"{"version":{},"credentials":[]}"#, false),
    ] {
        let home = home();
        home.plant(content.as_bytes());
        let error = save(&home.store, &key(1), "one").await.expect_err("not ours");
        assert_eq!(matches!(error, StoreError::Version { .. }), is_newer, "{content}: {error}");
        assert_eq!(matches!(error, StoreError::Damaged { .. }), !is_newer, "{content}: {error}");
        assert_eq!(fs::read(home.file()).expect("readable"), content.as_bytes());
    }
}

#[tokio::test]
async fn f08_damage_is_told_by_its_place_and_never_by_its_content() {
    for (content, told) in [
        ("{\n\"version\": nonsense}", "it is not JSON, line 2, column 13"),
        ("{\"version\":1,\"credentials\":{", "it ends too early, line 1, column 28"),
        ("\"secret-token\"", "it is not a credentials file, line 1, column 14"),
    ] {
        let home = home();
        home.plant(content.as_bytes());
        let error = home.store.load(&key(1)).await.expect_err("damaged").to_string();
        assert!(error.contains(told) && !error.contains("secret-token"), "{error}");
    }
}

/// Half of a copy, as a crash leaves it on some file systems, is no copy.
#[tokio::test]
async fn f08_a_copy_of_another_length_is_made_anew() {
    let home = home();
    home.plant(b"damage");
    let copy = || async {
        match home.store.load(&key(1)).await {
            Err(StoreError::Damaged { kept_copy, .. }) => kept_copy,
            other => panic!("{other:?}"),
        }
    };
    let path = copy().await.expect("kept");
    home.plant_as(&path.file_name().expect("named").to_string_lossy(), b"dam");
    assert_eq!(copy().await.as_ref(), Some(&path));
    assert_eq!(fs::read(&path).expect("readable"), b"damage");
    // Something else at its place is none, and is left alone.
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    assert_eq!(copy().await, None);
}

#[tokio::test]
async fn p08_a_file_that_no_save_could_change_is_not_ready() {
    let home = home();
    home.store.ready().await.expect("nothing there yet");
    home.plant(b"damage");
    assert!(matches!(home.store.ready().await, Err(StoreError::Damaged { .. })));
    let nowhere = home.directory.path().join("nowhere/credentials.json");
    let error = crate::atomic::can_replace(&nowhere, 1).expect_err("no directory");
    assert!(error.to_string().starts_with("cannot create a file in"), "{error}");
}

/// A killed process leaves its temporary file; a probe's, and what only looks alike, is not the store's to remove.
#[tokio::test]
async fn p02_a_save_removes_what_killed_ones_left_and_nothing_else() {
    let home = home();
    home.plant(br#"{"version":1,"credentials":{}}"#);
    let others = [".credentials.json.b.bak", ".probe.c.tmp", ".secrets.age.d.tmp"];
    for name in [&[".credentials.json.a.tmp"], &others[..]].concat() {
        home.plant_as(name, b"left");
    }
    save(&home.store, &key(1), "one").await.expect("saved");
    assert_eq!(home.names(), [&others[..], &["credentials.json", "locks"]].concat());
}

/// Removes the temporary file of a save right before it is renamed, as a writer does that has lost its lock and not
/// noticed yet.
struct Sweeping {
    home: PathBuf,
    times: std::sync::atomic::AtomicUsize,
}

impl crate::Held for Sweeping {
    fn still_excludes(&self) -> Result<(), LockError> {
        use std::sync::atomic::Ordering::SeqCst;
        let swept = fs::read_dir(&self.home).expect("readable").map(|entry| entry.expect("an entry").path());
        let swept: Vec<_> = swept.filter(|path| path.extension().is_some_and(|end| end == "tmp")).collect();
        if !swept.is_empty() && self.times.fetch_update(SeqCst, SeqCst, |times| times.checked_sub(1)).is_ok()
        {
            for path in swept {
                fs::remove_file(path).expect("removed");
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn f11_a_save_whose_file_is_swept_away_is_made_again_ten_times_at_most() {
    for (times, is_saved) in [(1, true), (10, true), (11, false)] {
        let home = home();
        let sweeping = Sweeping { home: home.directory.path().join("home"), times: times.into() };
        let guard = CredentialGuard::new(key(1), sweeping);
        let outcome = home.store.save(&guard, &record("one")).await;
        assert_eq!(outcome.is_ok(), is_saved, "swept {times} times: {outcome:?}");
        let found = home.store.load(&key(1)).await.expect("readable");
        assert_eq!(found.is_some(), is_saved, "swept {times} times");
    }
}

#[tokio::test]
async fn f08_a_file_larger_than_linchpin_writes_is_not_read() {
    let home = home();
    home.plant(b"x");
    fs::File::options().write(true).open(home.file()).expect("open").set_len(100 << 20).expect("grown");
    let error = home.store.load(&key(1)).await.expect_err("too large");
    assert!(error.to_string().contains("104857600 bytes"), "{error}");
}

#[tokio::test]
async fn p03_one_damaged_record_leaves_the_others_in_use() {
    let home = home();
    save(&home.store, &key(1), "one").await.expect("saved");
    save(&home.store, &key(2), "two").await.expect("saved");
    let text = fs::read_to_string(home.file()).expect("readable").replacen(
        "\"generation\":1",
        "\"generation\":{}",
        1,
    );
    home.plant(text.replacen("{\"version\":1", "{\"later\":[1, 2],\"version\":1", 1).as_bytes());
    let error = home.store.load(&key(1)).await.expect_err("damaged");
    assert!(matches!(error, StoreError::DamagedRecord { .. }), "{error}");
    assert!(home.store.load(&key(2)).await.expect("fine").is_some());
    save(&home.store, &key(3), "three").await.expect("saved");
    let after = fs::read_to_string(home.file()).expect("readable");
    assert!(
        after.contains("\"generation\":{}") && after.contains("\"later\":[1, 2]"),
        "kept as it was: {after}"
    );
}

#[tokio::test]
async fn p06_a_credential_lock_excludes_and_names_its_holder() {
    let home = home();
    let store = home.store.clone();
    let (taken, is_taken) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let holder = tokio::spawn(async move {
        let guard = store
            .lock(&key(1), LockRequest { purpose: "refresh", within: Duration::ZERO })
            .await
            .expect("free");
        taken.send(()).expect("awaited");
        let _ = released.await;
        drop(guard);
    });
    is_taken.await.expect("taken");
    match home.store.lock(&key(1), QUICK).await {
        Err(LockError::TimedOut { holder: Some(holder), .. }) => {
            assert_eq!((holder.pid, holder.purpose.as_str()), (std::process::id(), "refresh"));
        }
        other => panic!("{other:?}"),
    }
    // Another server's lock is free all the while.
    drop(home.store.lock(&key(2), QUICK).await.expect("free"));
    release.send(()).expect("awaited");
    drop(home.store.lock(&key(1), QUICK).await.expect("free again"));
    holder.await.expect("no panic");
}

#[tokio::test]
async fn f11_asking_again_for_a_held_lock_is_reported_at_once() {
    let home = home();
    let task = tokio::spawn(async move {
        let _held = home.store.lock(&key(1), QUICK).await.expect("free");
        home.store.lock(&key(1), PATIENT).await.map(drop)
    });
    assert!(matches!(task.await.expect("no panic"), Err(LockError::Reentered { .. })));
}

/// Once the file is gone, a second taker makes another and gets in: the first one notices, and changes nothing.
#[tokio::test]
async fn f11_a_lock_file_removed_underneath_leaves_its_holder_without_a_say() {
    let home = home();
    let store = home.store.clone();
    save(&store, &key(1), "one").await.expect("saved");
    let first = store.lock(&key(1), QUICK).await.expect("free");
    let begun = first.made_at().expect("a lock file knows");
    fs::remove_file(home.lock()).expect("removed");
    let (others, access) = (store.clone(), "two");
    let second = tokio::spawn(async move { others.lock(&key(1), QUICK).await });
    let second = second.await.expect("no panic").expect("another lock, which nobody can prevent");
    assert!(second.made_at().expect("a lock file knows") >= begun);
    for error in [
        store.save(&first, &record(access)).await.expect_err("lost"),
        store.delete(&first).await.expect_err("lost"),
        StoreError::Lock(first.still_excludes().expect_err("lost")),
    ] {
        assert!(error.is_lost_lock(), "{error}");
        assert_eq!(error.disposition(), crate::Disposition::Retry);
    }
    drop(first);
    second.still_excludes().expect("its release took nothing from the second");
    let found = store.load(&key(1)).await.expect("readable").expect("there");
    assert_eq!(found.access_token.expose(), "one");
    store.save(&second, &record(access)).await.expect("saved");
}

/// The lock of the file itself, which a save holds for milliseconds: whoever loses it begins again.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn f11_aggregate_locks_removed_underneath_lose_no_write() {
    let home = home();
    let (store, done) = (home.store.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let (lock, stop) = (store.file.lock_path().to_owned(), Arc::clone(&done));
    let thief = std::thread::spawn(move || {
        let mut removed = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            removed += usize::from(fs::remove_file(&lock).is_ok());
            std::thread::sleep(Duration::from_millis(10));
        }
        removed
    });
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..25 {
                    save(&store, &key(writer * 100 + round), "x").await.expect("saved");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let removed = thief.join().expect("no panic");
    assert_eq!(store.list().await.expect("readable").len(), 100, "the lock was removed {removed} times");
    assert!(removed > 5, "{removed}");
}

#[tokio::test]
async fn f10_what_is_no_lock_file_is_refused_within_a_second() {
    for planted in ["directory", "link", "fifo"] {
        let home = home();
        private_dir(home.store.locks.directory()).expect("made");
        let path = home.store.locks.directory().join(format!("{}.lock", key(1).digest()));
        match planted {
            "directory" => fs::create_dir(&path).expect("made"),
            "link" => symlink("/etc/hostname", &path).expect("linked"),
            _ => {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
                    .expect("made");
            }
        }
        let refused = tokio::time::timeout(Duration::from_secs(1), home.store.lock(&key(1), PATIENT)).await;
        let error = refused.expect("within a second").expect_err(planted);
        assert!(matches!(error, LockError::File(_)), "{planted}: {error}");
    }
    // The text of a stale lock file is of no consequence.
    let home = home();
    private_dir(home.store.locks.directory()).expect("made");
    let stale = home.store.locks.directory().join(format!("{}.lock", key(1).digest()));
    std::io::Write::write_all(&mut fs::File::create(&stale).expect("created"), b"4242 somebody else")
        .expect("written");
    drop(home.store.lock(&key(1), QUICK).await.expect("free"));
}

#[test]
fn it_is_called_by_its_path() {
    let home = home();
    assert_eq!(home.store.location(), home.file().display().to_string());
}
