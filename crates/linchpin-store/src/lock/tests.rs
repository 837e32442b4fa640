use super::*;
use crate::{Clock as _, SystemClock};

const WITHIN: Duration = Duration::from_secs(3);

/// A lock that a thread, and so nobody of this test's task, holds.
fn held(directory: &tempfile::TempDir) -> (PathBuf, FileLock) {
    let path = directory.path().join("a.lock");
    let holder = path.clone();
    let taken = std::thread::spawn(move || try_lock(&holder, "work"));
    let lock = taken.join().expect("no panic").expect("usable").expect("free");
    (path, lock)
}

#[tokio::test(start_paused = true)]
async fn p06_a_wait_pauses_longer_and_longer_says_so_once_and_ends_in_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, lock) = held(&directory);
    let mut wait = Wait::new(&path, LockRequest { purpose: "test", within: WITHIN });
    for longest_ms in [1, 2, 4, 8, 16, 16, 16] {
        let Ok(Attempt::Pause(pause)) = wait.attempt() else { panic!("it is held") };
        let longest = Duration::from_millis(longest_ms);
        assert!((longest / 2..=longest).contains(&pause), "{pause:?} of {longest_ms} ms");
    }
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(matches!(wait.attempt(), Ok(Attempt::Pause(_))) && !wait.told, "not yet worth telling");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(matches!(wait.attempt(), Ok(Attempt::Pause(_))) && wait.told);
    tokio::time::advance(Duration::from_millis(1_997)).await;
    let Ok(Attempt::Pause(last)) = wait.attempt() else { panic!("there is time left") };
    assert!(last <= Duration::from_millis(3), "{last:?}: no pause is longer than what is left");
    tokio::time::advance(Duration::from_millis(3)).await;
    match wait.attempt() {
        Err(error @ LockError::TimedOut { waited: WITHIN, .. }) => {
            let holder = format!(", held by process {} (work)", std::process::id());
            assert!(error.to_string().ends_with(&holder), "{error}");
        }
        _ => panic!("the time is over"),
    }
    drop(lock);
    assert!(matches!(wait.attempt(), Ok(Attempt::Taken(_))), "one that is free is taken all the same");
}

/// The lock is asked for by descriptor: a copy of it, as a fork makes one, must not keep it.
#[test]
fn f11_dropping_a_lock_frees_it_although_its_descriptor_was_copied() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, lock) = held(&directory);
    let _copy = lock.file.try_clone().expect("a copy");
    drop(lock);
    assert!(try_lock(&path, "test").expect("usable").is_some());
}

/// A file system whose locks do nothing gives one to everybody who asks.
#[test]
fn f12_a_lock_that_keeps_nobody_out_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, lock) = held(&directory);
    assert!(!lets_a_second_in(&path, &lock.file).expect("usable"), "it keeps others out");
    let unlocked = open(&path).expect("usable");
    drop(lock);
    assert!(lets_a_second_in(&path, &unlocked).expect("usable"), "as if it did nothing");
    std::fs::remove_file(&path).expect("removed");
    assert!(!lets_a_second_in(&path, &unlocked).expect("usable"), "another file says nothing about this one");
}

#[test]
fn f11_a_lock_knows_since_when_its_file_is_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let begun = SystemClock.now();
    let (path, first) = held(&directory);
    let made = first.made_at().expect("known");
    assert!((begun..=SystemClock.now()).contains(&made), "{made:?}");
    drop(first);
    std::thread::sleep(Duration::from_millis(5));
    let again = try_lock(&path, "test").expect("usable").expect("free");
    assert_eq!(again.made_at(), Some(made), "each holder hands it on");
}

#[test]
fn f10_what_is_no_lock_file_fails_when_it_is_tried_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.lock");
    try_out(&path).expect("usable");
    let (path, _lock) = held(&directory);
    try_out(&path).expect("held, and so usable");
    assert!(matches!(try_out(directory.path()), Err(LockError::File(_))));
}
