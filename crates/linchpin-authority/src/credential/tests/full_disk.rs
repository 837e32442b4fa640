//! A disk on which nothing can be written any more, not even who has a lock (F6), beside what a dead process left.
//!
//! The process that meets it is this binary again, with its home in the environment and no file size allowed.

use std::process::Command;

use linchpin_store::{Directories, FileStore, SystemClock};

use super::*;

const HOME: &str = "LINCHPIN_TEST_FULL_HOME";
const WITHIN: Duration = Duration::from_secs(5);

fn store(home: impl Into<std::path::PathBuf>) -> FileStore {
    FileStore::new(&Directories::under(home).expect("absolute"))
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "its home is in the environment")]
#[expect(clippy::print_stdout, reason = "what its parent reads")]
async fn child() {
    let Ok(home) = std::env::var(HOME) else { return };
    let endpoint = Arc::new(Scripted::default());
    let process = Authority::new(Arc::new(store(home)), endpoint.clone(), Arc::new(SystemClock));
    let outcome = process.credential(key()).access_token(Wait::within(WITHIN)).await;
    let presented = lock(&endpoint.presented).len();
    println!("presented {presented}: {}", outcome.expect_err("nothing can be saved"));
}

/// The note in the lock file cannot be written, and the former one is gone: the mark is as old as it is all the same.
#[tokio::test]
async fn f06_a_full_disk_beside_the_mark_of_a_dead_process_is_told_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let home = directory.path().join("home");
    let of_the_dead = store(&home);
    let request = LockRequest { purpose: "refresh", within: Duration::ZERO };
    let guard = of_the_dead.lock(&key(), request).await.expect("free");
    // A mark of the moment in which the lock was made might be of a former lock.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mark = crate::exchange::marked(record("A1", "R1"), 1, SystemClock.now());
    of_the_dead.save(&guard, &mark).await.expect("saved");
    drop(guard);
    let begun = Instant::now();
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["credential::tests::full_disk::child", "--exact", "--nocapture"])
        .env(HOME, &home)
        .output()
        .expect("it ran");
    let said = String::from_utf8_lossy(&child.stdout);
    let said = said.lines().find(|line| line.contains("presented")).expect("it came to an end");
    assert!(said.contains("presented 0: ") && said.contains("cannot write "), "{said}");
    assert!(begun.elapsed() < WITHIN, "{:?}", begun.elapsed());
}
