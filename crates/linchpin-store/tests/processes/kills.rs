//! F3 inside a save: killed anywhere, the store parses and holds the old or the new record (P2).

use std::io::Read as _;
use std::time::{Duration, Instant};

#[cfg(feature = "kill-points")]
use linchpin_store::steps::Step;
use linchpin_store::{LockRequest, Store};

use crate::child::Act;
use crate::machine::{Kind, Machine, kept, key, save};

/// A killed holder's lock is free for whoever asks first: no wait at all, however busy the machine is.
const AT_ONCE: LockRequest = LockRequest { purpose: "test", within: Duration::ZERO };

/// Fills the store with sign-ins that nobody touches.
async fn furnish(store: &dyn Store) {
    for server in 1..4 {
        save(store, server, "untouched").await;
    }
}

async fn assert_others_intact(store: &dyn Store, place: &str) {
    for server in 1..4 {
        assert_eq!(kept(store, server).await.as_deref(), Some("untouched"), "{place}");
    }
}

/// Killed after a random time, as the out-of-memory killer would.
#[tokio::test]
async fn f03_killed_at_a_random_moment_a_save_is_whole_or_not_at_all() {
    for (name, kind) in [("file", Kind::File), ("secrets", Kind::SecretsGiven)] {
        let machine = Machine::new(kind);
        let store = machine.store();
        furnish(&*store).await;
        let (mut slowest, mut torn, mut orphans, mut saves) = (Duration::ZERO, 0, 0, 0);
        for _ in 0..100 {
            save(&*store, 0, "0").await;
            assert_eq!(machine.temporaries(), 0);
            let mut child = machine.spawn(&Act::SaveForEver);
            let mut printed = String::new();
            let mut output = child.stdout.take().expect("piped");
            // From its first save on.
            while !printed.contains("saved 1\n") {
                let mut some = [0; 64];
                let length = output.read(&mut some).expect("readable");
                assert!(length > 0, "{printed}");
                printed.push_str(&String::from_utf8_lossy(&some[..length]));
            }
            std::thread::sleep(Duration::from_micros(rand::random_range(0..30_000)));
            child.kill().expect("killed");
            child.wait().expect("waited for");
            output.read_to_string(&mut printed).expect("readable");
            let said: u64 = printed
                .lines()
                .rfind(|line| line.starts_with("saved ") && printed.contains(&format!("{line}\n")))
                .and_then(|line| line["saved ".len()..].parse().ok())
                .expect("a number");
            let found: u64 =
                kept(&*store, 0).await.and_then(|access| access.parse().ok()).expect("a whole record");
            torn += usize::from(found != said && found != said + 1);
            assert_others_intact(&*store, name).await;
            orphans += machine.temporaries();
            saves += said;
            slowest = slowest.max(lock(&*store).await);
        }
        println!(
            "f03 {name}: 100 kills after 0-30 ms in {saves} saves: {torn} torn, {orphans} temporary files \
             left and swept, next lock within {slowest:.1?}"
        );
        assert_eq!(torn, 0);
    }
}

/// How long the next process takes to get the credential lock.
async fn lock(store: &dyn Store) -> Duration {
    let begun = Instant::now();
    let guard = store.lock(&key(0), AT_ONCE).await.expect("free at once");
    let took = begun.elapsed();
    drop(guard);
    took
}

/// The points of a save in their order; from `renamed` on, the new record is there.
#[cfg(feature = "kill-points")]
const POINTS: [Step; 8] = [
    Step::SavePreLock,
    Step::SaveLocked,
    Step::SaveReread,
    Step::TemporaryMade,
    Step::Written,
    Step::Synced,
    Step::Renamed,
    Step::DirectorySynced,
];

#[cfg(feature = "kill-points")]
const RUNS: usize = 20;

/// One run: a child dies at `point`; what the next process finds. The answer is how long it waited for the lock.
#[cfg(feature = "kill-points")]
async fn die_at(machine: &Machine, point: Step, old: Option<&str>) -> Duration {
    use std::os::unix::process::ExitStatusExt as _;
    let store = machine.store();
    let place = format!("{:?}, {point}, {old:?}", machine.kind);
    let status = machine.spawn(&Act::DieAt { point: point.name().to_owned() }).wait().expect("waited for");
    assert_eq!(status.signal(), Some(9), "{place}: it was not killed there");
    let is_mid_write = (Step::TemporaryMade..Step::Renamed).contains(&point);
    assert_eq!(machine.temporaries(), usize::from(is_mid_write), "{place}");

    let took = lock(&*store).await;
    // A first save into the encrypted file makes the identity by the same steps, and dies in those.
    let is_new = point >= Step::Renamed;
    let is_of_identity = machine.kind == Kind::SecretsMade && old.is_none() && point >= Step::TemporaryMade;
    let expected = if is_new && !is_of_identity { Some("new") } else { old };
    assert_eq!(kept(&*store, 0).await.as_deref(), expected, "{place}");
    if old.is_some() {
        assert_others_intact(&*store, &place).await;
    }
    save(&*store, 0, "old").await;
    assert_eq!(kept(&*store, 0).await.as_deref(), Some("old"), "{place}");
    assert_eq!(machine.temporaries(), 0, "{place}: swept by the next save");
    took
}

#[cfg(feature = "kill-points")]
async fn killed_at_every_point(kind: Kind) {
    let (mut slowest, begun) = (Duration::ZERO, Instant::now());
    let machine = Machine::new(kind);
    let store = machine.store();
    furnish(&*store).await;
    save(&*store, 0, "old").await;
    for point in POINTS {
        for _ in 0..RUNS {
            slowest = slowest.max(die_at(&machine, point, Some("old")).await);
            slowest = slowest.max(die_at(&Machine::new(kind), point, None).await);
        }
    }
    println!(
        "f03 {kind:?}: {} points x {RUNS} first saves and {RUNS} replacements, killed there: 0 torn, 0 lost, \
         next lock within {slowest:.1?} ({:.1?})",
        POINTS.len(),
        begun.elapsed()
    );
}

#[cfg(feature = "kill-points")]
#[tokio::test]
async fn f03_killed_at_any_point_of_a_save_the_file_has_the_old_or_the_new_record() {
    killed_at_every_point(Kind::File).await;
}

#[cfg(feature = "kill-points")]
#[tokio::test]
async fn f03_killed_at_any_point_of_a_save_the_encrypted_file_has_the_old_or_the_new_record() {
    killed_at_every_point(Kind::SecretsGiven).await;
}

#[cfg(feature = "kill-points")]
#[tokio::test]
async fn f03_killed_at_any_point_of_a_save_that_makes_an_identity_one_is_made() {
    killed_at_every_point(Kind::SecretsMade).await;
}
