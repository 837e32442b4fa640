//! Without a sign-in, and with an authorization that is the user's own (P18, P19).

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use linchpin_testkit::{AuthMode, Endpoint, Fault};
use linchpin_transport::{Authorization, Endpoint as Mcp};
use serde_json::json;

use crate::harness::{Client, INITIALIZE, World, logged};

#[tokio::test]
async fn bridge_not_signed_in_every_request_names_the_command_until_somebody_signs_in() {
    let world = World::signed_out(|_| {}).await;
    let mut client = world.client();
    let command = format!("linchpin login {}", world.kit.mcp_url());
    for (method, params) in
        [("initialize", INITIALIZE), ("tools/list", "{}"), ("vendor/x", "[]"), ("ping", "{}")]
    {
        let answer = client.request(method, params).await;
        let (code, message) = answer.error();
        assert_eq!(code, -32001, "{method}");
        assert!(message.contains(&command), "{message}");
        assert_eq!(answer.disposition(), "sign_in_required");
    }
    client.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    client
        .send_line(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await;
    client.send_line(r#"{"jsonrpc":"2.0","id":"server-1","result":{}}"#).await;
    client.owe("7");
    client.owe("8");
    client.send_line(r#"[{"id":7,"method":"ping"},{"id":8,"method":"ping"}]"#).await;
    assert_eq!(client.answer("8").await.error().0, -32001);
    assert_eq!(client.answer("7").await.error().0, -32001);

    let counts = world.kit.counts();
    assert_eq!(
        (counts.authorizations, counts.registrations, counts.token_requests.len()),
        (0, 0, 0),
        "no browser"
    );
    world.plant().await;
    client.initialize().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    world.until("it listens", || world.posts("GET") == 1).await;
    assert_eq!(world.kit.counts().exchanges, 0);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_a_sign_in_that_ended_is_replaced_by_one_made_elsewhere() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.revoke_grants();
    for _ in 0..3 {
        let (code, message) = client.call("count", r#"{"nonce":"a"}"#).await.error();
        assert_eq!(code, -32001);
        assert!(message.contains("linchpin login"), "{message}");
    }
    assert_eq!(world.kit.counts().token_requests["refresh_token"], 1, "a dead token is presented once");
    world.plant().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.calls_run(), counts.sessions_opened), (0, 1, 1));
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_an_open_server_needs_no_sign_in() {
    let world = World::signed_out(|config| config.auth = AuthMode::Open).await;
    let mut client = world.initialized().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    assert!(world.kit.seen().iter().all(|seen| seen.header("authorization").is_none()));
    client.close(&world).await;
}

#[tokio::test]
async fn p18_listening_ends_with_the_sign_in_and_begins_again_with_the_next() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.revoke_grants();
    world.kit.drop_sessions();
    world.until("the stream was asked for again", || world.posts("GET") >= 2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let then = world.posts("GET");
    assert!(then <= 3, "{then} attempts");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(world.posts("GET"), then, "the loop has ended");
    let counts = world.kit.counts();
    assert_eq!(counts.token_requests["refresh_token"], 1);

    world.plant().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    world.until("it listens again", || world.posts("GET") > then).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/new" }));
    assert!(client.next_line().await.contains("notifications/new"));
    client.close(&world).await;
}

#[tokio::test]
async fn p18_listening_to_a_busy_server_backs_off() {
    let world = World::new().await;
    let mut client = world.client();
    world.kit.fault(Fault::status(Endpoint::McpGet, 503));
    client.initialize().await;
    tokio::time::sleep(Duration::from_millis(2400)).await;
    let attempts = world.posts("GET");
    assert!((2..=4).contains(&attempts), "{attempts} attempts in 2.4 s");
    client.close(&world).await;
}

#[tokio::test]
async fn p18_the_listener_recovers_once_from_a_401() {
    let world = World::new().await;
    let mut client = world.client();
    world.kit.fault(Fault::status(Endpoint::McpGet, 401).times(1));
    client.initialize().await;
    world.until("it recovered", || world.posts("GET") == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/new" }));
    assert!(client.next_line().await.contains("notifications/new"));
    assert_eq!((world.kit.counts().exchanges, world.posts("GET")), (1, 2));
    client.close(&world).await;
}

fn configured(world: &World, value: &str) -> Client {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
    headers.insert("x-team", HeaderValue::from_static("blue"));
    Client::over(Mcp::new(world.key.server.clone(), Authorization::Configured, headers).expect("set up"))
}

#[tokio::test]
async fn p19_an_authorization_that_the_user_configured_is_never_recovered() {
    let world = World::with(|config| config.auth = AuthMode::Static("planted-mine".to_owned())).await;
    let mut client = configured(&world, "Bearer planted-other");
    for _ in 0..3 {
        let (code, message) = client.request("initialize", INITIALIZE).await.error();
        assert_eq!(code, -32000);
        assert!(message.contains("401") && message.contains("Authorization"), "{message}");
    }
    let counts = world.kit.counts();
    assert_eq!((counts.unauthorized, counts.exchanges, counts.token_requests.len()), (3, 0, 0));
    assert!(world.kit.seen().iter().all(|seen| seen.header("authorization") == Some("Bearer planted-other")));
    client.close(&world).await;

    let mut client = configured(&world, "Bearer planted-mine");
    client.initialize().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    world.kit.configure(|config| config.auth = AuthMode::Static("planted-newer".to_owned()));
    assert!(client.call("count", r#"{"nonce":"a"}"#).await.error().1.contains("401"));
    let counts = world.kit.counts();
    assert_eq!((counts.token_requests.len(), counts.calls_run()), (0, 1));
    assert!(world.kit.seen().iter().rev().take(3).all(|seen| seen.header("x-team") == Some("blue")));
    client.close(&world).await;
    assert!(!logged("planted-mine") && !logged("planted-other") && !logged("planted-newer"));
}

#[tokio::test]
async fn f17_a_token_that_is_no_header_value_injects_nothing() {
    let world = World::signed_out(|_| {}).await;
    let signed_in = world.kit.sign_in().expect("signed in");
    let mut record = crate::harness::record(&signed_in);
    record.access_token = linchpin_store::Secret::new("planted-x\r\nX-Evil: 1\r\n\r\n");
    world.save(&record).await;
    let mut client = world.initialized().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    assert!(world.kit.seen().iter().all(|seen| seen.header("x-evil").is_none()));
    assert_eq!(world.kit.counts().exchanges, 1, "it counts as refused");
    client.close(&world).await;
}

#[tokio::test]
async fn f17_what_a_server_says_goes_into_no_header_unchecked() {
    let world = World::new().await;
    let mut client = world.client();
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25\r\nX-Evil: 1"}}"#;
    let json = [("content-type", "application/json"), ("mcp-session-id", "a b")];
    world.kit.fault(Fault::falsify(Endpoint::McpPost, 200, &json, answer).times(1));
    client.send("1", "initialize", INITIALIZE).await;
    client.answer("1").await.result();
    // The session is unknown to the server, so it is opened again.
    client.call("echo", "{}").await.text();
    assert!(world.kit.seen().iter().all(|seen| seen.header("x-evil").is_none()));
    client.close(&world).await;
}
