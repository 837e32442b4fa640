//! Locks between processes (F10, F11), and a directory that is swapped under a save (F13).

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use linchpin_store::{LockError, LockRequest, Store};
use rustix::process::{Pid, Signal, kill_process};

use crate::child::Act;
use crate::machine::{Kind, Machine, key};

/// A process that holds the lock of server 0 and has spawned `sleep` meanwhile; the pid of that.
fn holder(machine: &Machine) -> (Child, u32) {
    let mut child = machine.spawn(&Act::Hold);
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let mut lines = output.lines().map(|line| line.expect("readable"));
    let held =
        lines.find_map(|line| Some(line.strip_prefix("held ")?.to_owned())).expect("it holds the lock");
    (child, held.trim().parse().expect("a pid"))
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not zero");
    kill_process(pid, signal).expect("signalled");
}

async fn ask(store: &dyn Store, within: Duration) -> Result<Duration, LockError> {
    let begun = Instant::now();
    store.lock(&key(0), LockRequest { purpose: "test", within }).await.map(|_| begun.elapsed())
}

#[tokio::test]
async fn f11_a_stopped_holder_ends_in_a_timeout_that_names_it() {
    let machine = Machine::new(Kind::File);
    let store = machine.store();
    let (mut child, sleep) = holder(&machine);
    signal(child.id(), Signal::STOP);
    let begun = Instant::now();
    let error = ask(&*store, Duration::from_millis(300)).await.expect_err("held");
    let took = begun.elapsed();
    println!("f11: {error} (after {took:.0?})");
    assert!(error.to_string().contains(&format!("held by process {} (test)", child.id())), "{error}");
    assert!((290..1_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(error.disposition(), linchpin_store::Disposition::TimedOut);
    child.kill().expect("killed");
    child.wait().expect("waited for");
    signal(sleep, Signal::KILL);
}

#[tokio::test]
async fn f11_a_child_of_the_holder_does_not_keep_the_lock() {
    let machine = Machine::new(Kind::File);
    let (mut child, sleep) = holder(&machine);
    let open = std::fs::read_dir(format!("/proc/{sleep}/fd")).expect("it runs");
    let open: Vec<_> = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()).collect();
    let locks =
        open.iter().filter(|path| path.extension().is_some_and(|extension| extension == "lock")).count();
    child.kill().expect("killed");
    child.wait().expect("waited for");
    let took = ask(&*machine.store(), Duration::ZERO).await.expect("free at once");
    let runs = std::fs::exists(format!("/proc/{sleep}")).expect("readable");
    println!(
        "f11: {locks} of {} descriptors of the holder's child are locks; taken {took:.1?} after its death",
        open.len()
    );
    assert!(!open.is_empty() && locks == 0 && runs, "{open:?}");
    signal(sleep, Signal::KILL);
}

/// The directory is moved away in the middle of a save, and another put in its place: the save fails, and changes
/// neither.
#[cfg(feature = "kill-points")]
#[tokio::test]
async fn f13_a_directory_swapped_under_a_save_costs_nothing_in_either() {
    use linchpin_store::steps::Step;
    for point in [Step::TemporaryMade, Step::Written, Step::Synced] {
        for by_link in [false, true] {
            let machine = Machine::new(Kind::File);
            crate::machine::save(&*machine.store(), 0, "old").await;
            let before = std::fs::read(machine.home().join("credentials.json")).expect("there");
            let child = machine.spawn(&Act::SwapAt { point: point.name().to_owned(), by_link });
            let output = child.wait_with_output().expect("waited for");
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let error = printed.lines().find_map(|line| line.strip_prefix("refused: ")).expect("it fails");
            println!("f13 directory swapped when {point} (by a link: {by_link}): {error}");
            let at = |name: &str| machine.home().with_file_name(name);
            assert_eq!(std::fs::read(at("aside").join("credentials.json")).expect("there"), before);
            assert_eq!(
                std::fs::read_dir(machine.home()).expect("there").count(),
                0,
                "nothing in the new one"
            );
        }
    }
}
