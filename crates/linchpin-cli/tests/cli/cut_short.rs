//! A process that is told to stop, or a request that is, at any moment of its refresh (F4, P7): the refresh ends well.

use std::time::{Duration, Instant};

use linchpin_testkit::{Endpoint, Fault};
use rustix::process::Signal;
use serde_json::json;

use crate::world::{PATIENCE, World, until};

/// Before the provider has done anything, and after it.
const BEFORE: Duration = Duration::from_millis(250);
const AFTER: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    InputCloses,
    Interrupt,
    Terminate,
    HangUp,
    Cancelled,
}

/// When: nothing but the mark is there, the provider has exchanged, or so much after the request was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    AtOnce,
    Marked,
    Exchanged,
    AnswerDue,
}

async fn stopped(means: Means, moment: Moment) -> bool {
    let world = World::signed_in(|_| {}).await;
    let mut bridge = world.bridge();
    assert!(bridge.initialize(PATIENCE).await.expect("answered").get("result").is_some());
    until("it listens", || world.kit.streams() > 0).await;
    let old = world.tokens().1;
    world.kit.refuse_access_tokens();
    let mut slow = Fault::delay(Endpoint::Token, AFTER);
    slow.delay_before_ms = u64::try_from(BEFORE.as_millis()).expect("short");
    world.kit.fault(slow);
    let call = json!({ "jsonrpc": "2.0", "id": "stopped", "method": "tools/call",
        "params": { "name": "count", "arguments": { "nonce": "stopped" } } });
    bridge.send_line(&call.to_string()).await.expect("sent");
    let is_marked = || world.record().is_some_and(|record| record.get("exchange").is_some());
    match moment {
        Moment::AtOnce => {}
        Moment::Marked => until("the mark is saved", is_marked).await,
        Moment::Exchanged => until("the provider has exchanged", || world.kit.counts().exchanges > 0).await,
        Moment::AnswerDue => {
            until("the provider has exchanged", || world.kit.counts().exchanges > 0).await;
            tokio::time::sleep(AFTER).await;
        }
    }
    let signal = match means {
        Means::InputCloses => None,
        Means::Interrupt => Some(Signal::INT),
        Means::Terminate => Some(Signal::TERM),
        Means::HangUp => Some(Signal::HUP),
        Means::Cancelled => {
            let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
                "params": { "requestId": "stopped" } });
            bridge.send_line(&cancel.to_string()).await.expect("sent");
            None
        }
    };
    if let (Some(signal), Some(pid)) = (signal, bridge.pid()) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not zero");
        let _ = rustix::process::kill_process(pid, signal);
    }
    bridge.close(PATIENCE).await.expect("it ends");
    world.note(&bridge.output());
    let counts = world.kit.counts();
    let spent = counts.exchanges == 1;
    if spent {
        assert_ne!(world.tokens().1, old, "{means:?} {moment:?}: what was spent is replaced: {counts:?}");
    }
    assert!(!is_marked(), "{means:?} {moment:?}: no mark is left");
    // Whoever comes next has the lock at once, and spends nothing that was spent.
    world.kit.clear_faults();
    let begun = Instant::now();
    let ran = world.run(&["call", &world.url(), "count", r#"{"nonce":"next"}"#]).await;
    assert_eq!(ran.code, 0, "{means:?} {moment:?}: {ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{means:?} {moment:?}");
    let counts = world.kit.counts();
    assert_eq!(
        (counts.exchanges, counts.replays, counts.repeats, counts.most_presentations()),
        (1, 0, 0, 1),
        "{means:?} {moment:?}: {counts:?}"
    );
    spent
}

#[tokio::test]
async fn f04_a_process_or_a_request_stopped_at_any_moment_of_its_refresh_loses_nothing() {
    let (mut runs, mut in_time) = (0, 0);
    for moment in [Moment::AtOnce, Moment::Marked, Moment::Exchanged, Moment::AnswerDue] {
        let means = [Means::InputCloses, Means::Interrupt, Means::Terminate, Means::HangUp, Means::Cancelled];
        let spent = futures::future::join_all(means.map(|means| stopped(means, moment))).await;
        runs += spent.len();
        in_time += spent.iter().filter(|spent| **spent).count();
    }
    println!(
        "f04: {runs} bridges stopped by 5 means at 4 moments of a refresh: {in_time} had spent the token and saved the \
         next, {} had not begun; 1 exchange, 0 replays, 0 repeats in each, the next process served",
        runs - in_time
    );
}

/// A caller with 200 ms, a provider with 2 s: the caller is told at its time, the process finishes, the next call has the
/// new token.
#[tokio::test]
async fn f04_a_deadline_ends_the_wait_and_not_the_exchange() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.fault(Fault::delay(Endpoint::Token, Duration::from_secs(2)).times(1));
    let url = world.url();
    let begun = Instant::now();
    let ran = world.run(&["token", &url, "--timeout", "200ms"]).await;
    let took = begun.elapsed();
    assert_eq!(ran.code, 6, "{ran:?}");
    let saved = world.record().expect("a record");
    assert!(saved.get("exchange").is_none(), "the exchange was finished before the end: {saved}");
    let next = world.run(&["call", &url, "count", r#"{"nonce":"n"}"#]).await;
    let counts = world.kit.counts();
    println!(
        "f04: 200 ms beside a provider of 2 s: exit {} (the process ended after {} ms), then {}: {} exchange, {} replays",
        ran.code,
        took.as_millis(),
        next.stdout.trim_end(),
        counts.exchanges,
        counts.replays
    );
    assert_eq!((next.code, counts.exchanges, counts.replays, counts.repeats), (0, 1, 0, 0), "{next:?}");
}
