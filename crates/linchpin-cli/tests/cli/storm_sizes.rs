//! Storms of every size on every store: one expiry, one exchange (F1).
//!
//! The ordinary run has the small ones, `storms.rs` two of the large ones on the file, `stores.rs` one on a keyring.
//! `cargo xtask storms` runs them all and writes `bench/STORMS.md`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use linchpin_testkit::process::StdioServer;
use linchpin_testkit::session::Session;
use linchpin_testkit::{Endpoint, Fault};
use serde_json::json;

use crate::world::{PATIENCE, World, initialize};

/// How long the provider takes.
const EXCHANGE: Duration = Duration::from_millis(300);
/// How much longer than that a waiter may wait; of a round in which one waits longer the history is printed.
const ASKED: Duration = Duration::from_millis(100);
const PROCESSES: [usize; 3] = [2, 8, 32];
const CALLS: [usize; 3] = [1, 25, 100];

/// What a storm came to.
#[derive(Debug, Default)]
struct Storm {
    made: usize,
    answered: usize,
    exchanges: u64,
    replays: u64,
    /// How long the first call of each process took.
    waits: Vec<Duration>,
}

impl Storm {
    fn add(&mut self, more: Self) {
        self.made += more.made;
        self.answered += more.answered;
        self.exchanges += more.exchanges;
        self.replays += more.replays;
        self.waits.extend(more.waits);
    }

    fn waited(&self, percentile: usize) -> Duration {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        waits[(waits.len() * percentile).div_ceil(100).saturating_sub(1)]
    }
}

/// Running processes whose token ends, and then all call at once.
async fn one_expiry(world: &World, store: &str, processes: usize, calls: usize) -> Storm {
    // All have to be there before half of its life is over, when the first would renew it.
    let life = Duration::from_millis(2_500 + 200 * processes as u64);
    world.kit.configure(|config| config.access_lifetime_ms = u64::try_from(life.as_millis()).expect("short"));
    let login = world.run_login_in(store).await;
    assert_eq!(login.code, 0, "{login:?}");
    let signed_in = Instant::now();
    world.kit.configure(|config| config.access_lifetime_ms = 3_600_000);
    world.kit.reset_counts();
    let start = || {
        let mut command = world.command(&["bridge", &world.url()]);
        command.env("LINCHPIN_STORE", store).env_remove("LINCHPIN_LOG");
        StdioServer::start(command).expect("started")
    };
    let bridges: Vec<_> = (0..processes).map(|_| start()).collect();
    initialize(&bridges).await;
    assert!(
        signed_in.elapsed() < life / 2,
        "this machine is too busy to start {processes} processes in time"
    );
    assert_eq!(world.kit.counts().exchanges, 0, "the token is still good");
    tokio::time::sleep(life.saturating_sub(signed_in.elapsed())).await;

    world.kit.fault(Fault::delay(Endpoint::Token, EXCHANGE));
    let runs = bridges.iter().enumerate().map(|(process, bridge)| async move {
        let mut run = Storm { made: calls, ..Storm::default() };
        for call in 0..calls {
            let (nonce, begun) = (format!("{process}-{call}"), Instant::now());
            let answer = bridge.call("count", json!({ "nonce": nonce }), PATIENCE).await;
            run.answered += usize::from(matches!(answer, Ok(Ok(text)) if text == nonce));
            if call == 0 {
                run.waits.push(begun.elapsed());
            }
        }
        run
    });
    let mut all = Storm::default();
    for run in futures::future::join_all(runs).await {
        all.add(run);
    }
    if all.waited(100) > EXCHANGE + ASKED {
        println!("f01: waited {:?}; what happened:\n{}", all.waits, world.history());
    }
    let counts = world.kit.counts();
    (all.exchanges, all.replays) = (counts.exchanges, counts.replays + counts.repeats);
    assert_eq!(counts.calls_doubled(), 0);
    world.kit.clear_faults();
    world.close(bridges).await;
    all
}

/// The worlds of one store, with the session that its keyring is in.
async fn storms(store: &str, processes: usize, calls: usize, rounds: usize) -> Option<Storm> {
    let session = if store == "keyring" { Some(Session::with_keyring()?) } else { None };
    let mut all = Storm::default();
    for _ in 0..rounds {
        let world = World::new();
        let world = if let Some(session) = &session { world.on(session) } else { world };
        all.add(one_expiry(&world, store, processes, calls).await);
    }
    assert_eq!((all.exchanges, all.replays), (rounds as u64, 0), "{store}, {processes} x {calls}: {all:?}");
    assert_eq!(all.answered, rounds * processes * calls, "{store}, {processes} x {calls}: {all:?}");
    println!(
        "f01: {store}, {processes} processes x {calls} calls: {} expiries, {} exchanges, {} replays, {}/{} calls, \
         waiters p50 {} p99 {} ms beside an exchange of {} ms",
        rounds,
        all.exchanges,
        all.replays,
        all.answered,
        all.made,
        all.waited(50).as_millis(),
        all.waited(99).as_millis(),
        EXCHANGE.as_millis()
    );
    Some(all)
}

#[tokio::test]
async fn f01_small_storms_on_every_store_cost_one_exchange_each() {
    for (store, processes, calls) in
        [("file", 2, 1), ("file", 8, 1), ("secrets", 2, 25), ("secrets", 8, 25), ("keyring", 2, 1)]
    {
        if storms(store, processes, calls, 1).await.is_none() {
            assert!(std::env::var("CI").is_err(), "there is no keyring to try");
        }
    }
}

#[tokio::test]
#[ignore = "five minutes; `cargo xtask storms` runs it and writes bench/STORMS.md"]
async fn f01_every_storm_on_every_store() {
    let mut text = String::from(
        "| store | processes | calls each | expiries | exchanges | replays | calls answered | waiter p50, ms | p99, ms | \
         p99 beyond the exchange, ms |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for store in ["file", "secrets", "keyring"] {
        for processes in PROCESSES {
            for calls in CALLS {
                let rounds = if processes == 2 { 4 } else { 2 };
                let Some(storm) = storms(store, processes, calls, rounds).await else { continue };
                let p99 = storm.waited(99);
                let _ = writeln!(
                    text,
                    "| {store} | {processes} | {calls} | {rounds} | {} | {} | {} of {} | {} | {} | {} |",
                    storm.exchanges,
                    storm.replays,
                    storm.answered,
                    storm.made,
                    storm.waited(50).as_millis(),
                    p99.as_millis(),
                    p99.saturating_sub(EXCHANGE).as_millis()
                );
            }
        }
    }
    if let Some(path) = std::env::var_os("LINCHPIN_STORMS") {
        std::fs::write(path, text).expect("written");
    }
}
