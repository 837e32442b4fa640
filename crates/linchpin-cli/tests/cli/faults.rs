//! What happens in the middle of an exchange: lost answers, a provider out of order, killed processes (P7 to P11).

use std::time::Duration;

use linchpin_testkit::{Endpoint, Fault};
use serde_json::json;

use crate::world::{PATIENCE, World, figures, initialize, storm, until};

/// F5: the provider honours a repeat, and the process that lost the answer goes on like the others.
#[tokio::test]
async fn p10_a_lost_answer_costs_nothing_where_the_provider_honours_a_repeat() {
    let world = World::signed_in(|config| config.grace_ms = 30_000).await;
    world.expire();
    world.kit.fault(Fault::lose(Endpoint::Token).times(1));
    let bridges = world.bridges(8);
    initialize(&bridges).await;
    let tally = storm(&bridges, 10, "lost").await;
    let counts = world.kit.counts();
    figures("f05: the answer lost, grace 30 s", &tally, &counts);
    assert_eq!((tally.answered, tally.made), (80, 80), "{:?}", tally.errors);
    assert_eq!((counts.exchanges, counts.repeats, counts.replays), (1, 1, 0), "{counts:?}");
    assert_eq!(counts.most_presentations(), 2);
    assert!(world.record().expect("a record").get("exchange").is_none(), "the mark is cleared");
    world.close(bridges).await;
}

/// F5: the provider honours no repeat, so the sign-in is lost: said everywhere, and nothing further is sent.
#[tokio::test]
async fn p10_a_lost_answer_without_grace_is_presented_twice_and_then_never_again() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.fault(Fault::lose(Endpoint::Token).times(1));
    let bridges = world.bridges(8);
    let answers = bridges.iter().map(|bridge| bridge.initialize(PATIENCE));
    for answer in futures::future::join_all(answers).await {
        let answer = answer.expect("answered");
        let error = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(error.contains("linchpin login"), "{answer}");
        assert_eq!(answer["error"]["data"]["linchpin"]["disposition"], "sign_in_required", "{answer}");
    }
    let url = world.url();
    let token = world.run(&["token", &url]).await;
    assert_eq!(token.code, 3);
    assert!(token.one_line_error().contains("invalid_grant"), "{token:?}");
    let call = world.run(&["call", &url, "echo"]).await;
    assert_eq!(call.code, 3, "{call:?}");
    let tally = storm(&bridges, 2, "after").await;
    assert_eq!(tally.answered, 0);
    let counts = world.kit.counts();
    figures("f05: the answer lost, no grace (2 presentations, then nothing)", &tally, &counts);
    assert_eq!(counts.token_requests["refresh_token"], 2, "{counts:?}");
    assert_eq!((counts.most_presentations(), counts.replays), (2, 1), "{counts:?}");
    assert_eq!(world.opened().len(), 1, "no browser opens by itself");
    assert!(world.record().is_some(), "nothing is deleted");

    // A sign-in elsewhere is picked up by the same processes.
    assert_eq!(world.login(&[]).await.code, 0);
    initialize(&bridges).await;
    let tally = storm(&bridges, 3, "again").await;
    assert_eq!(tally.answered, 24, "{:?}", tally.errors);
    world.close(bridges).await;
}

#[tokio::test]
async fn p11_a_provider_that_answers_503_twice_costs_no_call() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.fault(Fault::status(Endpoint::Token, 503).times(2));
    let bridges = world.bridges(8);
    initialize(&bridges).await;
    let tally = storm(&bridges, 10, "busy").await;
    let counts = world.kit.counts();
    figures("f15: 503 twice", &tally, &counts);
    assert_eq!(tally.answered, 80, "{:?}", tally.errors);
    assert_eq!((counts.exchanges, counts.replays), (1, 0), "{counts:?}");
    world.close(bridges).await;
}

/// A provider that is out of order for longer: an error that says so, the sign-in kept, and all well afterwards.
#[tokio::test]
async fn p11_an_outage_is_temporary_and_keeps_the_sign_in() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.fault(Fault::replace(Endpoint::Token, 503, &[("retry-after", "0")], ""));
    let ran = world.run(&["token", &world.url()]).await;
    assert_eq!(ran.code, 4);
    assert!(ran.one_line_error().contains("the sign-in is kept, try again"), "{ran:?}");
    world.kit.clear_faults();
    let ran = world.run(&["token", &world.url()]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((world.kit.counts().exchanges, world.kit.counts().replays), (1, 0));
}

/// The process in the middle of the exchange is killed. The provider has rotated and honours a repeat; the others
/// find the mark and go on.
#[tokio::test]
async fn p10_a_refreshing_process_killed_in_its_exchange_leaves_the_others_a_sign_in() {
    let world = World::signed_in(|config| config.grace_ms = 30_000).await;
    world.expire();
    world.kit.fault(Fault::hold(Endpoint::Token).times(1));
    let mut bridges = world.bridges(8);
    let begun = bridges.iter().map(|bridge| bridge.initialize(PATIENCE));
    let mut begun = Box::pin(futures::future::join_all(begun));
    let refreshing = async {
        until("the exchange is held", || world.kit.held() > 0).await;
        world.record().expect("a record")["exchange"]["pid"].as_u64().expect("the mark names its process")
    };
    let pid = tokio::select! {
        pid = refreshing => pid,
        _ = &mut begun => panic!("nobody may be answered while the exchange is held"),
    };
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not zero");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    let answers = begun.await;
    let killed = answers.iter().position(Result::is_err).expect("one was killed");
    let is_open = |answer: &&std::io::Result<serde_json::Value>| {
        answer.as_ref().is_ok_and(|answer| answer.get("result").is_some())
    };
    assert_eq!(answers.iter().filter(is_open).count(), 7, "{answers:?}");
    drop(bridges.remove(killed));
    let tally = storm(&bridges, 10, "orphan").await;
    assert_eq!(tally.answered, 70, "{:?}", tally.errors);
    let counts = world.kit.counts();
    figures("f03: the refreshing process killed in its exchange, 7 left", &tally, &counts);
    assert_eq!((counts.exchanges, counts.repeats, counts.replays), (1, 1, 0), "{counts:?}");
    world.kit.release();
    world.close(bridges).await;
}

/// P7: a client that goes away while its bridge refreshes costs nothing: the new token is saved before the end.
#[tokio::test]
async fn p07_a_bridge_whose_client_goes_away_finishes_its_exchange() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.fault(Fault::delay(Endpoint::Token, Duration::from_millis(2_500)).times(1));
    let mut bridge = world.bridge();
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#;
    bridge.send_line(line).await.expect("sent");
    until("the provider has exchanged", || world.kit.counts().exchanges > 0).await;
    let (status, _) = bridge.close(PATIENCE).await.expect("it ends");
    assert!(status.success());
    assert!(world.record().expect("a record").get("exchange").is_none(), "the exchange was finished");
    let ran = world.run(&["call", &world.url(), "echo", r#"{"a":1}"#]).await;
    assert_eq!((ran.code, ran.stdout.trim_end()), (0, r#"{"a":1}"#), "{ran:?}");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.replays, counts.repeats), (1, 0, 0), "{counts:?}");
}

/// P8: a store that cannot be written is found before the refresh token is spent.
#[tokio::test]
async fn p08_nothing_is_spent_when_the_store_cannot_be_written() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    // A directory in place of the lock file fails for root too, which a read-only mode does not.
    let lock = world.linchpin_home().join("locks/credentials.json.lock");
    let _ = std::fs::remove_file(&lock);
    std::fs::create_dir_all(&lock).expect("made");
    let ran = world.run(&["token", &world.url()]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.one_line_error().contains("credentials.json.lock"), "{ran:?}");
    assert_eq!(world.kit.counts().token_requests.get("refresh_token"), None);
    std::fs::remove_dir(&lock).expect("removed");
    assert_eq!(world.run(&["token", &world.url()]).await.code, 0);
    assert_eq!(world.kit.counts().exchanges, 1);
}

/// P12: a sign-out while others use the sign-in ends it for all of them, and nothing brings it back.
#[tokio::test]
async fn p12_a_sign_out_under_load_is_final() {
    let world = World::signed_in(|_| {}).await;
    let bridges = world.bridges(4);
    initialize(&bridges).await;
    let logout = ["logout", &world.url(), "--json"];
    let (out, _) = tokio::join!(world.run(&logout), storm(&bridges, 20, "out"));
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(out.json()["revocation"], "revoked");
    let after = bridges[0].call("echo", json!({}), PATIENCE).await.expect("answered");
    assert!(after.expect_err("signed out").contains("linchpin login"));
    assert!(world.record().is_none());
    assert_eq!(world.kit.living_grants(), 0);
    world.close(bridges).await;
}
