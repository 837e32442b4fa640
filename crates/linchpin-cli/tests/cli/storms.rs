//! Many processes, one sign-in (P6, F1, F2, F5).

use std::time::{Duration, Instant};

use linchpin_testkit::{Endpoint, Fault};

use crate::world::{PATIENCE, Tally, World, figures, initialize, storm, until};

const TOKEN_DELAY: Duration = Duration::from_millis(300);

async fn all_start_with_an_expired_token(processes: usize, calls: usize) {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.fault(Fault::delay(Endpoint::Token, TOKEN_DELAY));
    let bridges = world.bridges(processes);
    initialize(&bridges).await;
    let tally = storm(&bridges, calls, "start").await;
    let counts = world.kit.counts();
    figures(&format!("f01: {processes} processes start with an expired token"), &tally, &counts);
    assert_eq!(tally.answered, processes * calls, "{:?}", tally.errors);
    assert_eq!(counts.exchanges, 1, "{counts:?}");
    assert_eq!((counts.replays, counts.repeats, counts.grants_revoked), (0, 0, 0), "{counts:?}");
    assert_eq!((counts.calls_run(), counts.calls_doubled()), (tally.made as u64, 0));
    assert_eq!(world.opened().len(), 1, "no browser but the first sign-in's");
    world.close(bridges).await;
}

#[tokio::test]
async fn p06_eight_processes_one_expiry_one_exchange() {
    all_start_with_an_expired_token(8, 25).await;
}

#[tokio::test]
async fn p06_thirty_two_processes_one_expiry_one_exchange() {
    all_start_with_an_expired_token(32, 25).await;
}

async fn live_and_refused(processes: usize, rounds: u64, calls: usize) {
    let world = World::signed_in(|_| {}).await;
    world.kit.fault(Fault::delay(Endpoint::Token, TOKEN_DELAY));
    let bridges = world.bridges(processes);
    initialize(&bridges).await;
    let mut all = Tally::default();
    for round in 1..=rounds {
        world.kit.refuse_access_tokens();
        let tally = storm(&bridges, calls, &format!("round{round}")).await;
        all.add(&tally);
        let counts = world.kit.counts();
        assert_eq!(tally.answered, processes * calls, "round {round}: {:?}", tally.errors);
        assert_eq!(counts.exchanges, round, "{counts:?}");
    }
    let counts = world.kit.counts();
    figures(&format!("p16: {processes} live processes, {rounds} refusals"), &all, &counts);
    assert_eq!((counts.replays, counts.repeats, counts.grants_revoked), (0, 0, 0), "{counts:?}");
    assert_eq!((counts.most_presentations(), counts.most_exchanges_at_once), (1, 1), "{counts:?}");
    assert_eq!(counts.calls_doubled(), 0);
    assert_eq!(world.opened().len(), 1);
    world.close(bridges).await;
}

#[tokio::test]
async fn p16_eight_live_processes_five_refusals_five_exchanges() {
    live_and_refused(8, 5, 5).await;
}

#[tokio::test]
async fn p16_thirty_two_live_processes_five_refusals_five_exchanges() {
    live_and_refused(32, 5, 2).await;
}

/// F2: the answers to the refused requests come at random, and the refusal of an old token may arrive late.
#[tokio::test]
async fn f02_four_processes_with_fifty_calls_at_once_and_one_refusal_make_one_exchange() {
    let world = World::signed_in(|_| {}).await;
    let bridges = world.bridges(4);
    initialize(&bridges).await;
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::delay(Endpoint::Token, TOKEN_DELAY));
    for (skip, delay_ms) in [(3, 40), (5, 400), (11, 150), (20, 700), (31, 90)] {
        let delay = Duration::from_millis(delay_ms);
        world.kit.fault(Fault::delay(Endpoint::McpPost, delay).of_method("tools/call").skip(skip).times(9));
    }
    let before = world.kit.counts();
    let calls = bridges.iter().enumerate().flat_map(|(process, bridge)| {
        (0..50).map(move |call| {
            let nonce = format!("burst-{process}-{call}");
            async move {
                let answer = bridge.call("count", serde_json::json!({ "nonce": nonce }), PATIENCE).await;
                assert_eq!(answer.expect("answered"), Ok(nonce));
            }
        })
    });
    futures::future::join_all(calls).await;
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.replays, counts.calls_doubled()), (1, 0, 0), "{counts:?}");
    assert_eq!(counts.calls_run(), 200);
    let sent =
        counts.mcp_requests["POST tools/call"] - before.mcp_requests.get("POST tools/call").unwrap_or(&0);
    println!(
        "f02: 200 calls at once from 4 processes, one refusal, answers at random: {} exchange, {} replays, {sent} \
         requests for 200 calls, {} doubled",
        counts.exchanges,
        counts.replays,
        counts.calls_doubled()
    );
    assert!((200..=400).contains(&sent), "{sent} requests for 200 calls: each is sent at most twice");
    world.close(bridges).await;
}

/// One exchange per life: every refresh token is presented once, and there are as many access tokens as exchanges.
#[tokio::test]
async fn p14_tokens_that_live_five_seconds_cost_one_exchange_each() {
    let world = World::signed_in(|config| config.access_lifetime_ms = 5_000).await;
    let bridges = world.bridges(8);
    initialize(&bridges).await;
    let begun = Instant::now();
    let mut all = Tally::default();
    while begun.elapsed() < Duration::from_millis(12_500) {
        let tally = storm(&bridges, 2, &format!("at{}", begun.elapsed().as_millis())).await;
        all.add(&tally);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let counts = world.kit.counts();
    figures("p14: 8 processes, 5 s tokens, 12.5 s", &all, &counts);
    assert_eq!(all.answered, all.made, "{:?}", all.errors);
    assert_eq!((counts.most_presentations(), counts.replays, counts.repeats), (1, 0, 0), "{counts:?}");
    assert_eq!(counts.presentations.len() as u64, counts.exchanges, "{counts:?}");
    // A token is renewed at half of its life at the earliest.
    assert!((2..=5).contains(&counts.exchanges), "{counts:?}");
    assert_eq!(counts.unauthorized, 0, "no request was sent with an ended token: {counts:?}");
    world.close(bridges).await;
}

/// The provider of one server takes its time; the calls to another server, whose token has ended too, do not wait.
#[tokio::test]
async fn p06_a_slow_provider_delays_no_other_server() {
    let world = World::signed_in(|_| {}).await;
    let other = World::signed_in(|_| {}).await;
    let login = world.login_at(&other, &[]).await;
    assert_eq!(login.code, 0, "{login:?}");
    world.expire();
    world.kit.fault(Fault::hold(Endpoint::Token));
    let slow = vec![world.bridge()];
    let waiting = tokio::spawn(async move {
        initialize(&slow).await;
        slow
    });
    until("the exchange is held", || world.kit.held() > 0).await;
    other.kit.refuse_access_tokens();
    let fast = vec![world.bridge_to(&other.url()), world.bridge_to(&other.url())];
    initialize(&fast).await;
    let tally = storm(&fast, 25, "fast").await;
    assert_eq!(tally.answered, 50, "{:?}", tally.errors);
    assert_eq!(world.kit.held(), 1, "the slow provider has still not answered");
    assert!(!waiting.is_finished());
    world.kit.clear_faults();
    let slow = waiting.await.expect("no panic");
    assert_eq!(storm(&slow, 1, "slow").await.answered, 1);
    assert_eq!((world.kit.counts().exchanges, other.kit.counts().replays), (1, 0));
    world.close(slow).await;
    world.close(fast).await;
}
