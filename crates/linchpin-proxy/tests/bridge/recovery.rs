//! One sign-in recovery and one session recovery per request, in either order (P16, P17).

use std::time::Duration;

use linchpin_testkit::{Counts, Endpoint, Fault};
use serde_json::json;

use crate::harness::{Client, World};

fn calls(counts: &Counts) -> u64 {
    counts.mcp_requests.get("POST tools/call").copied().unwrap_or(0)
}

fn initializes(counts: &Counts) -> u64 {
    counts.mcp_requests.get("POST initialize").copied().unwrap_or(0)
}

async fn call_many(client: &mut Client, count: usize) {
    for call in 0..count {
        let params = format!(r#"{{"name":"count","arguments":{{"nonce":"n{call}"}}}}"#);
        client.send(&format!("\"c{call}\""), "tools/call", &params).await;
    }
}

/// A 401 for the next call only, however good its token.
fn refuse_call() -> Fault {
    Fault::status(Endpoint::McpPost, 401).of_method("tools/call").times(1)
}

/// The session is unknown to the next call only.
fn forget_session() -> Fault {
    Fault::status(Endpoint::McpPost, 404).of_method("tools/call").times(1)
}

#[tokio::test]
async fn f02_fifty_refused_calls_make_one_exchange_and_each_is_sent_twice_at_most() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::delay(Endpoint::Token, Duration::from_millis(100)));
    call_many(&mut client, 50).await;
    for call in 0..50 {
        assert_eq!(client.answer(&format!("\"c{call}\"")).await.text(), format!("n{call}"));
    }
    let counts = world.kit.counts();
    assert_eq!(counts.exchanges, 1);
    assert_eq!(counts.most_presentations(), 1);
    assert_eq!((counts.tool_calls.len(), counts.calls_run()), (50, 50), "each ran once");
    assert!(calls(&counts) <= 100, "sent {} times", calls(&counts));
    assert_eq!(counts.mcp_requests_by_token.len(), 2);
    assert_eq!(counts.unauthorized, calls(&counts) - 50, "each 401 was followed by one more request");
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn f02_a_401_without_a_challenge_or_with_several_is_recovered() {
    let world = World::with(|config| config.challenge = false).await;
    let mut client = world.initialized().await;
    world.kit.refuse_access_tokens();
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    assert_eq!(world.kit.counts().exchanges, 1);
    let several =
        [("www-authenticate", "Basic realm=\"x\", Bearer error=\"invalid_token\", Negotiate abc==")];
    world
        .kit
        .fault(Fault::replace(Endpoint::McpPost, 401, &several, "<html>").of_method("tools/call").times(1));
    client.call("count", r#"{"nonce":"b"}"#).await.text();
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, calls(&counts), counts.calls_run()), (2, 4, 2));
    client.close(&world).await;
}

#[tokio::test]
async fn p16_a_late_401_is_charged_to_the_token_that_was_sent() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::hold(Endpoint::McpPost).of_method("tools/call").times(1));
    client.send("1", "tools/call", r#"{"name":"count","arguments":{"nonce":"late"}}"#).await;
    world.until("its 401 is under way", || world.kit.held() == 1).await;
    client.call("count", r#"{"nonce":"soon"}"#).await.text();
    assert_eq!(world.kit.counts().exchanges, 1);
    world.kit.release();
    assert_eq!(client.answer("1").await.text(), "late");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, calls(&counts), counts.unauthorized), (1, 4, 2), "the late one adopts");
    client.close(&world).await;
}

#[tokio::test]
async fn p17_a_token_refused_after_renewal_needs_a_person_and_no_further_exchange() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(Fault::status(Endpoint::McpPost, 401).of_method("tools/call"));
    let answer = client.call("count", r#"{"nonce":"a"}"#).await;
    let (code, message) = answer.error();
    assert_eq!(code, -32001);
    assert!(message.contains(&format!("linchpin login {}", world.kit.mcp_url())), "{message}");
    assert_eq!(answer.disposition(), "sign_in_required");
    assert_eq!((world.kit.counts().exchanges, world.posts("POST tools/call")), (1, 2));
    for _ in 0..5 {
        assert_eq!(client.call("count", r#"{"nonce":"a"}"#).await.error().0, -32001);
    }
    call_many(&mut client, 20).await;
    for call in 0..20 {
        assert_eq!(client.answer(&format!("\"c{call}\"")).await.error().0, -32001);
    }
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.token_requests["refresh_token"]), (1, 1));
    assert_eq!(calls(&counts), 2 + 5 + 20, "each of the later ones was sent once");
    // What is not refused goes on.
    client.request("ping", "{}").await.result();
    client.close(&world).await;
}

#[tokio::test]
async fn f26_a_lost_session_is_opened_again_once_for_twenty_requests() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.drop_sessions();
    world.kit.fault(Fault::delay(Endpoint::McpPost, Duration::from_millis(200)).of_method("initialize"));
    call_many(&mut client, 20).await;
    for call in 0..20 {
        assert_eq!(client.answer(&format!("\"c{call}\"")).await.text(), format!("n{call}"));
    }
    let counts = world.kit.counts();
    assert_eq!((initializes(&counts), counts.sessions_opened), (2, 2));
    assert_eq!(counts.mcp_requests["POST notifications/initialized"], 2);
    assert_eq!(calls(&counts), 40, "each was sent once more");
    assert_eq!((counts.tool_calls.len(), counts.calls_run()), (20, 20), "and ran once");
    // To the client it is the same session: it was told nothing, and hears what comes in the new one.
    assert!(client.take_passed().is_empty());
    world.until("it listens again", || world.posts("GET") >= 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/new" }));
    assert!(client.next_line().await.contains("notifications/new"));
    let first = world.kit.seen()[0].body.clone();
    let again: Vec<_> = world.kit.seen().into_iter().filter(|seen| seen.body == first).collect();
    assert_eq!(again.len(), 2, "the same initialize, byte for byte");
    assert_eq!(again[1].header("mcp-session-id"), None);
    assert!(client.close(&world).await.is_empty());
    assert_eq!(world.kit.counts().sessions_deleted, 1);
}

#[tokio::test]
async fn f26_the_session_is_confirmed_before_requests_use_it() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.drop_sessions();
    let confirmation = "notifications/initialized";
    world.kit.fault(Fault::delay(Endpoint::McpPost, Duration::from_millis(150)).of_method(confirmation));
    client.send("1", "tools/call", r#"{"name":"echo"}"#).await;
    world.until("it is confirmed", || world.posts("POST notifications/initialized") == 2).await;
    client.send("2", "tools/call", r#"{"name":"echo"}"#).await;
    tokio::time::sleep(Duration::from_millis(70)).await;
    let session = |seen: &linchpin_testkit::Seen| seen.header("mcp-session-id").map(str::to_owned);
    let early = world.kit.seen();
    let is_confirmation = |seen: &&linchpin_testkit::Seen| {
        seen.body.windows(confirmation.len()).any(|at| at == confirmation.as_bytes())
    };
    let new = early.iter().rfind(is_confirmation).and_then(session).expect("a new session");
    let used = early.iter().filter(|seen| session(seen).as_ref() == Some(&new)).count();
    assert_eq!(used, 1, "nothing but the confirmation, which has no answer yet");
    client.answer("1").await.text();
    client.answer("2").await.text();
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn f26_a_session_lost_twice_in_a_row_is_an_error() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(forget_session());
    world.kit.fault(forget_session());
    let (code, message) = client.call("count", r#"{"nonce":"a"}"#).await.error();
    assert_eq!(code, -32000);
    assert!(message.contains("session again"), "{message}");
    let counts = world.kit.counts();
    assert_eq!((calls(&counts), initializes(&counts), counts.calls_run()), (2, 2, 0));
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    client.close(&world).await;
}

#[tokio::test]
async fn f26_a_404_where_there_is_no_session_is_an_error_and_no_loss() {
    let world = World::new().await;
    let mut client = world.client();
    world.kit.fault(Fault::status(Endpoint::McpPost, 404).times(2));
    assert!(client.request("tools/list", "{}").await.error().1.contains("404"));
    assert!(client.request("initialize", crate::harness::INITIALIZE).await.error().1.contains("404"));
    assert_eq!(world.kit.seen().len(), 2);
    client.initialize().await;
    client.close(&world).await;
}

#[tokio::test]
async fn f26_a_session_that_cannot_be_opened_again_is_an_error_and_the_next_request_tries_again() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.drop_sessions();
    world.kit.fault(Fault::status(Endpoint::McpPost, 503).of_method("initialize").times(1));
    assert!(client.call("count", r#"{"nonce":"a"}"#).await.error().1.contains("503"));
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    assert_eq!(world.kit.counts().calls_run(), 1);
    client.close(&world).await;
}

#[tokio::test]
async fn p17_a_401_and_then_a_lost_session_are_both_recovered() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.refuse_access_tokens();
    world.kit.drop_sessions();
    assert_eq!(client.call("count", r#"{"nonce":"a"}"#).await.text(), "a");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.sessions_opened, calls(&counts)), (1, 2, 3));
    assert_eq!(counts.calls_run(), 1);
    client.close(&world).await;
}

#[tokio::test]
async fn p17_a_lost_session_and_then_a_401_are_both_recovered() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(forget_session());
    world.kit.fault(refuse_call());
    assert_eq!(client.call("count", r#"{"nonce":"a"}"#).await.text(), "a");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.sessions_opened, calls(&counts)), (1, 2, 3));
    assert_eq!(counts.calls_run(), 1);
    client.close(&world).await;
}

#[tokio::test]
async fn p17_of_each_kind_one_is_recovered_and_the_next_is_the_answer() {
    // Each row: what the server does to one call in turn; then code, exchanges, sessions, times sent.
    let (lost, refused) = (forget_session as fn() -> Fault, refuse_call as fn() -> Fault);
    let rows = [
        (vec![lost, refused, lost], -32000, 1, 2, 3),
        (vec![lost, refused, refused], -32001, 1, 2, 3),
        (vec![refused, lost, refused], -32001, 1, 2, 3),
        (vec![refused, lost, lost], -32000, 1, 2, 3),
        (vec![refused, refused], -32001, 1, 1, 2),
    ];
    for (faults, code, exchanges, sessions, sent) in rows {
        let world = World::new().await;
        let mut client = world.initialized().await;
        let row: Vec<_> =
            faults.iter().map(|fault| if *fault as usize == lost as usize { 404 } else { 401 }).collect();
        for fault in faults {
            world.kit.fault(fault());
        }
        let answer = client.call("count", r#"{"nonce":"a"}"#).await.error();
        let counts = world.kit.counts();
        let figures = (answer.0, counts.exchanges, counts.sessions_opened, calls(&counts));
        assert_eq!(figures, (code, exchanges, sessions, sent), "{row:?}: {}", answer.1);
        assert_eq!(counts.calls_run(), 0);
        client.close(&world).await;
    }
}

#[tokio::test]
async fn p17_opening_the_session_again_has_no_recovery_of_its_own() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(refuse_call());
    world.kit.fault(forget_session());
    world.kit.fault(Fault::status(Endpoint::McpPost, 401).of_method("initialize").times(1));
    assert_eq!(client.call("count", r#"{"nonce":"a"}"#).await.error().0, -32001);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, initializes(&counts), calls(&counts)), (1, 2, 2));
    client.close(&world).await;

    // A session that was opened with the one recovery leaves none for the call.
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(forget_session());
    world.kit.fault(Fault::status(Endpoint::McpPost, 401).of_method("initialize").times(1));
    world.kit.fault(refuse_call());
    assert_eq!(client.call("count", r#"{"nonce":"a"}"#).await.error().0, -32001);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, initializes(&counts), calls(&counts)), (1, 3, 2));
    client.close(&world).await;
}

#[tokio::test]
async fn p17_more_rights_are_asked_for_with_the_command_that_gets_them() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let challenge =
        [("www-authenticate", "Bearer error=\"insufficient_scope\", scope=\"files:write tools\"")];
    world.kit.fault(Fault::replace(Endpoint::McpPost, 403, &challenge, "").of_method("tools/call").times(1));
    let (code, message) = client.call("echo", "{}").await.error();
    assert_eq!(code, -32001);
    assert!(message.contains("--scope 'files:write tools'"), "{message}");
    world.kit.fault(Fault::status(Endpoint::McpPost, 403).of_method("tools/call").times(1));
    let (code, message) = client.call("echo", "{}").await.error();
    assert!(code == -32000 && message.contains("403"), "{message}");
    assert_eq!((world.kit.counts().exchanges, world.posts("POST tools/call")), (0, 2));
    client.close(&world).await;
}
