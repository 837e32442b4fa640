//! How long a caller waits, and what it is spared (P18).

use std::time::Duration;

use linchpin::{Cancel, ClientError, Disposition};
use linchpin_testkit::{Endpoint as At, Fault};
use serde_json::json;
use tokio::time::Instant;

use crate::world::{World, arguments, call};

const SHORT: Duration = Duration::from_millis(200);
const SLOW: Duration = Duration::from_secs(2);

#[tokio::test]
async fn p18_a_caller_with_200_ms_is_not_kept_by_a_provider_of_2_s_and_the_next_finds_the_token() {
    let world = World::new().await;
    let client = world.modern().await;
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::delay(At::Token, SLOW));
    let begun = Instant::now();
    let call_within =
        |nonce: &str, limit| client.call_tool("count", arguments(json!({ "nonce": nonce }))).within(limit);
    let error = call_within("a", SHORT).await.expect_err("too late");
    let waited = begun.elapsed();
    assert!(matches!(error, ClientError::TimedOut(limit) if limit == SHORT), "{error:?}");
    assert!(waited >= SHORT && waited < SLOW, "{waited:?}");
    assert_eq!(error.disposition(), Disposition::TimedOut);
    call_within("b", SLOW * 5).await.expect("with the new token");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.most_presentations()), (1, 1));
    // The late call was sent once and never again; the other was refused once at most.
    assert_eq!(counts.tool_calls.get("a"), None);
    assert!(world.sent() <= 3, "{} sent", world.sent());
    println!("the caller waited {} ms", waited.as_millis());
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn p18_what_is_late_is_not_sent_in_a_session_that_was_opened_anew() {
    let world = World::new().await;
    let client = world.legacy().await;
    world.kit.drop_sessions();
    world.kit.fault(Fault::delay(At::McpPost, SLOW).of_method("initialize"));
    let late = client.call_tool("count", arguments(json!({ "nonce": "a" }))).within(SHORT).await;
    assert!(matches!(late, Err(ClientError::TimedOut(_))), "{late:?}");
    call(&client, "b").await.expect("in the new session");
    let counts = world.kit.counts();
    assert_eq!((counts.tool_calls.get("a"), counts.tool_calls["b"]), (None, 1));
    assert_eq!((counts.sessions_opened, world.sent()), (2, 2), "{counts:#?}");
    world.finish(&[]);
}

#[tokio::test]
async fn p18_connecting_has_a_deadline_too() {
    let world = World::signed_out(|_| {}).await;
    world.sign_in_until(Duration::ZERO).await;
    world.kit.fault(Fault::delay(At::Token, SLOW));
    let server = world.server().await;
    let begun = Instant::now();
    let late = linchpin::McpClient::builder().within(SHORT).connect(&server).await;
    assert!(matches!(late, Err(ClientError::TimedOut(_))), "{late:?}");
    assert!(begun.elapsed() < SLOW, "{:?}", begun.elapsed());
    assert_eq!(world.requests("POST server/discover"), 0);
    let client = linchpin::McpClient::connect(&server).await.expect("with the new token");
    call(&client, "a").await.expect("called");
    assert_eq!((world.exchanges(), world.kit.counts().unauthorized), (1, 0));
    world.finish(&[]);
}

#[tokio::test]
async fn a_call_that_is_dropped_or_cancelled_is_cancelled_at_the_server() {
    let world = World::new().await;
    let client = world.legacy().await;
    world.kit.fault(Fault::hold(At::McpPost).of_method("tools/call"));
    let dropped = client.call_tool("count", arguments(json!({ "nonce": "a" })));
    tokio::select! {
        outcome = dropped.into_future() => panic!("{outcome:?}"),
        () = world.until("it runs", || world.kit.held() == 1) => {}
    }
    world.until("the server was told", || world.requests("POST notifications/cancelled") == 1).await;
    let cancel = Cancel::new();
    let cancelled = client.call_tool("count", arguments(json!({ "nonce": "b" }))).cancelled_by(&cancel);
    let (cancelled, ()) = tokio::join!(cancelled.into_future(), async {
        world.until("it runs", || world.kit.counts().tool_calls.contains_key("b")).await;
        cancel.cancel();
    });
    assert!(matches!(cancelled, Err(ClientError::Cancelled)), "{cancelled:?}");
    world.until("the server was told", || world.requests("POST notifications/cancelled") == 2).await;
    world.kit.clear_faults();
    call(&client, "c").await.expect("called");
    world.finish(&[]);
}

#[tokio::test]
async fn p07_a_call_that_is_dropped_while_it_waits_for_a_token_leaves_the_exchange_running() {
    let world = World::new().await;
    let client = world.modern().await;
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::hold(At::Token).times(1));
    let dropped = client.call_tool("count", arguments(json!({ "nonce": "a" })));
    tokio::select! {
        outcome = dropped.into_future() => panic!("{outcome:?}"),
        () = world.until("the exchange is under way", || world.kit.held() == 1) => {}
    }
    world.kit.release();
    call(&client, "b").await.expect("with the new token");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.tool_calls.get("a")), (1, None));
    // It was refused and never ran, so there was nothing to cancel.
    assert_eq!(world.requests("POST notifications/cancelled"), 0);
    world.finish(&[]);
}
