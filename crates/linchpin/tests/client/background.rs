//! Traffic that nobody waits for: at most one recovery each, charged to the token that was sent (P16, P18).

use std::time::Duration;

use linchpin::{ClientError, Disposition, McpClient};
use linchpin_testkit::{Endpoint as At, Fault};
use serde_json::json;

use crate::world::{Accepting, LEGACY, World, arguments, call, text};

#[tokio::test]
async fn p18_the_event_stream_is_opened_with_another_token_after_a_refusal() {
    let world = World::new().await;
    world.kit.fault(Fault::status(At::McpGet, 401).times(1));
    let client = world.legacy().await;
    assert_eq!((world.requests("GET"), world.exchanges()), (2, 1));
    call(&client, "a").await.expect("called");
    assert_eq!((world.sent(), world.exchanges()), (1, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn p18_a_broken_event_stream_is_resumed_with_another_token_after_a_refusal() {
    let world = World::new().await;
    // The head and the first event pass; then the connection ends in the middle of a message.
    world.kit.fault(Fault::cut(At::McpGet, 400).times(1));
    world.kit.fault(Fault::status(At::McpGet, 401).times(1));
    let handler = Accepting::default();
    let client = world.connect(McpClient::builder().revision(LEGACY).handler(handler.clone())).await;
    world.until("it listens", || world.kit.streams() > 0).await;
    let padding = "x".repeat(600);
    world.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed",
        "params": { "_meta": { "padding": padding } } }));
    world.until("the message arrived", || !handler.heard.lock().expect("whole").is_empty()).await;
    assert_eq!(*handler.heard.lock().expect("whole"), ["tools changed"]);
    let counts = world.kit.counts();
    assert_eq!((world.requests("GET"), counts.resumes, counts.exchanges), (3, 1, 1));
    drop(client);
    world.finish(&[]);
}

#[tokio::test]
async fn p18_the_end_of_a_session_is_said_with_another_token_after_a_refusal() {
    let world = World::new().await;
    let client = world.legacy().await;
    world.kit.refuse_access_tokens();
    client.close().await;
    let counts = world.kit.counts();
    assert_eq!((world.requests("DELETE"), counts.exchanges, counts.sessions_deleted), (2, 1, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn p18_an_answer_to_the_server_is_sent_with_another_token_after_a_refusal() {
    let world = World::new().await;
    let handler = Accepting::default();
    let client = world.connect(McpClient::builder().revision(LEGACY).handler(handler.clone())).await;
    world.until("it listens", || world.kit.streams() > 0).await;
    // The call passes, the answer that it needs does not.
    world.kit.fault(Fault::status(At::McpPost, 401).skip(1).times(1));
    let question = json!({ "message": "Who?", "requestedSchema": { "type": "object", "properties": {} } });
    let ask = arguments(json!({ "method": "elicitation/create", "params": question, "nonce": "a" }));
    let result = client.call_tool("ask", ask).await.expect("answered");
    assert_eq!(text(&result), "answered server-1");
    assert_eq!(*handler.heard.lock().expect("whole"), ["Who?"]);
    let counts = world.kit.counts();
    assert_eq!((world.requests("POST (an answer)"), counts.client_answers, counts.exchanges), (2, 1, 1));
    assert_eq!((world.sent(), counts.tool_calls["a"]), (1, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn p17_background_traffic_that_is_refused_again_stops_and_the_next_operation_says_why() {
    let world = World::new().await;
    let client = world.legacy().await;
    let other = world.legacy().await;
    let refusal = ("www-authenticate", "Bearer error=\"invalid_token\"");
    world.kit.fault(Fault::replace(At::McpDelete, 401, &[refusal], ""));
    world.kit.fault(Fault::replace(At::McpPost, 401, &[refusal], "").of_method("tools/call"));
    other.close().await;
    assert_eq!((world.requests("DELETE"), world.exchanges()), (2, 1));
    let error = call(&client, "a").await.expect_err("refused");
    assert!(matches!(error, ClientError::AuthenticationRequired { .. }), "{error:?}");
    assert_eq!(error.challenge(), Some(refusal.1));
    // The token that was refused right after its exchange is not exchanged again.
    assert_eq!((world.sent(), world.exchanges()), (1, 1));
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn p17_an_event_stream_that_is_refused_again_is_not_asked_for_any_more() {
    let world = World::new().await;
    world.kit.fault(Fault::status(At::McpGet, 401));
    let client = world.connect(McpClient::builder().revision(LEGACY)).await;
    world.until("it was refused twice", || world.requests("GET") == 2).await;
    // Calls go on; the stream waits for another sign-in.
    for number in 0..20 {
        call(&client, &format!("n{number}")).await.expect("called");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((world.requests("GET"), world.exchanges(), world.sent()), (2, 1, 20));
    world.kit.clear_faults();
    world.sign_in().await;
    world.until("it listens", || world.kit.streams() > 0).await;
    assert_eq!((world.requests("GET"), world.exchanges()), (3, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn f25_an_event_of_more_than_16_mib_ends_its_call_and_leaves_the_listener_listening() {
    let world = World::new().await;
    let handler = Accepting::default();
    let client = world.connect(McpClient::builder().revision(LEGACY).handler(handler.clone())).await;
    world.until("it listens", || world.kit.streams() > 0).await;
    let big = arguments(json!({ "bytes": 17 << 20, "sse": true, "nonce": "a" }));
    let error = client.call_tool("big", big).await.expect_err("too large");
    assert!(error.to_string().contains("bytes at once"), "{error}");
    assert_eq!(error.disposition(), Disposition::Answered);
    // It is not asked for again: neither the call nor the rest of its stream.
    assert_eq!((world.sent(), world.requests("GET"), world.kit.counts().resumes), (1, 1, 0));
    let changed = |padding: usize| {
        json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed",
            "params": { "_meta": { "padding": "x".repeat(padding) } } })
    };
    world.kit.push(&changed(0));
    world.until("a small one arrives", || !handler.heard.lock().expect("whole").is_empty()).await;
    world.kit.push(&changed(17 << 20));
    world.until("the stream is opened afresh", || world.requests("GET") >= 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = world.requests("GET");
    assert!(asked <= 4, "asked {asked} times within 2 s");
    call(&client, "b").await.expect("called");
    println!("an event of 17 MiB: its call sent once, the listener asked {asked} times in 2 s");
    world.finish(&[format!("{error} {error:?}")]);
}
