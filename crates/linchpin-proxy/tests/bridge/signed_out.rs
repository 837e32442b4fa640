//! Without a sign-in, and with an authorization that is the user's own (P18, P19).

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use linchpin_testkit::{AuthMode, Endpoint, Fault};
use linchpin_transport::{Authorization, Endpoint as Mcp};
use serde_json::json;

use crate::harness::{Bench, Client, INITIALIZE, logged};

#[tokio::test]
async fn bridge_not_signed_in_every_request_names_the_command_until_somebody_signs_in() {
    let bench = Bench::signed_out(|_| {}).await;
    let mut client = bench.client();
    let command = format!("linchpin login {}", bench.kit.mcp_url());
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

    let counts = bench.kit.counts();
    assert_eq!(
        (counts.authorizations, counts.registrations, counts.token_requests.len()),
        (0, 0, 0),
        "no browser"
    );
    bench.plant().await;
    client.initialize().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    bench.until("it listens", || bench.posts("GET") == 1).await;
    assert_eq!(bench.kit.counts().exchanges, 0);
    assert!(client.close(&bench).await.is_empty());
}

#[tokio::test]
async fn bridge_a_sign_in_that_ended_is_replaced_by_one_made_elsewhere() {
    let bench = Bench::new().await;
    let mut client = bench.initialized().await;
    bench.kit.revoke_grants();
    for _ in 0..3 {
        let (code, message) = client.call("count", r#"{"nonce":"a"}"#).await.error();
        assert_eq!(code, -32001);
        assert!(message.contains("linchpin login"), "{message}");
    }
    assert_eq!(bench.kit.counts().token_requests["refresh_token"], 1, "a dead token is presented once");
    bench.plant().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    let counts = bench.kit.counts();
    assert_eq!((counts.exchanges, counts.calls_run(), counts.sessions_opened), (0, 1, 1));
    client.close(&bench).await;
}

#[tokio::test]
async fn bridge_an_open_server_needs_no_sign_in() {
    let bench = Bench::signed_out(|config| config.auth = AuthMode::Open).await;
    let mut client = bench.initialized().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    assert!(bench.kit.seen().iter().all(|seen| seen.header("authorization").is_none()));
    client.close(&bench).await;
}

#[tokio::test]
async fn p18_listening_ends_with_the_sign_in_and_begins_again_with_the_next() {
    let bench = Bench::new().await;
    let mut client = bench.initialized().await;
    bench.kit.revoke_grants();
    bench.kit.drop_sessions();
    bench.until("the stream was asked for again", || bench.posts("GET") >= 2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let then = bench.posts("GET");
    assert!(then <= 3, "{then} attempts");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(bench.posts("GET"), then, "the loop has ended");
    let counts = bench.kit.counts();
    assert_eq!(counts.token_requests["refresh_token"], 1);

    bench.plant().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    bench.until("it listens again", || bench.posts("GET") > then).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/new" }));
    assert!(client.next_line().await.contains("notifications/new"));
    client.close(&bench).await;
}

#[tokio::test]
async fn p18_listening_to_a_busy_server_backs_off() {
    let bench = Bench::new().await;
    let mut client = bench.client();
    bench.kit.fault(Fault::status(Endpoint::McpGet, 503));
    client.initialize().await;
    tokio::time::sleep(Duration::from_millis(2400)).await;
    let attempts = bench.posts("GET");
    assert!((2..=4).contains(&attempts), "{attempts} attempts in 2.4 s");
    client.close(&bench).await;
}

#[tokio::test]
async fn p18_the_listener_recovers_once_from_a_401() {
    let bench = Bench::new().await;
    let mut client = bench.client();
    bench.kit.fault(Fault::status(Endpoint::McpGet, 401).times(1));
    client.initialize().await;
    bench.until("it recovered", || bench.posts("GET") == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/new" }));
    assert!(client.next_line().await.contains("notifications/new"));
    assert_eq!((bench.kit.counts().exchanges, bench.posts("GET")), (1, 2));
    client.close(&bench).await;
}

fn configured(bench: &Bench, value: &str) -> Client {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
    headers.insert("x-team", HeaderValue::from_static("blue"));
    Client::over(Mcp::new(bench.key.server.clone(), Authorization::Configured, headers).expect("set up"))
}

#[tokio::test]
async fn p19_an_authorization_that_the_user_configured_is_never_recovered() {
    let bench = Bench::with(|config| config.auth = AuthMode::Static("planted-mine".to_owned())).await;
    let mut client = configured(&bench, "Bearer planted-other");
    for _ in 0..3 {
        let (code, message) = client.request("initialize", INITIALIZE).await.error();
        assert_eq!(code, -32000);
        assert!(message.contains("401") && message.contains("Authorization"), "{message}");
    }
    let counts = bench.kit.counts();
    assert_eq!((counts.unauthorized, counts.exchanges, counts.token_requests.len()), (3, 0, 0));
    assert!(bench.kit.seen().iter().all(|seen| seen.header("authorization") == Some("Bearer planted-other")));
    client.close(&bench).await;

    let mut client = configured(&bench, "Bearer planted-mine");
    client.initialize().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    bench.kit.configure(|config| config.auth = AuthMode::Static("planted-newer".to_owned()));
    assert!(client.call("count", r#"{"nonce":"a"}"#).await.error().1.contains("401"));
    let counts = bench.kit.counts();
    assert_eq!((counts.token_requests.len(), counts.calls_run()), (0, 1));
    assert!(bench.kit.seen().iter().rev().take(3).all(|seen| seen.header("x-team") == Some("blue")));
    client.close(&bench).await;
    assert!(!logged("planted-mine") && !logged("planted-other") && !logged("planted-newer"));
}

#[tokio::test]
async fn f17_a_token_that_is_no_header_value_injects_nothing() {
    let bench = Bench::signed_out(|_| {}).await;
    let signed_in = bench.kit.sign_in().expect("signed in");
    let mut record = crate::harness::record(&signed_in);
    record.access_token = linchpin_store::Secret::new("planted-x\r\nX-Evil: 1\r\n\r\n");
    bench.save(&record).await;
    let mut client = bench.initialized().await;
    client.call("count", r#"{"nonce":"a"}"#).await.text();
    assert!(bench.kit.seen().iter().all(|seen| seen.header("x-evil").is_none()));
    assert_eq!(bench.kit.counts().exchanges, 1, "it counts as refused");
    client.close(&bench).await;
}

#[tokio::test]
async fn f17_what_a_server_says_goes_into_no_header_unchecked() {
    let bench = Bench::new().await;
    let mut client = bench.client();
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25\r\nX-Evil: 1"}}"#;
    let json = [("content-type", "application/json"), ("mcp-session-id", "a b")];
    bench.kit.fault(Fault::falsify(Endpoint::McpPost, 200, &json, answer).times(1));
    client.send("1", "initialize", INITIALIZE).await;
    client.answer("1").await.result();
    // The session is unknown to the server, so it is opened again.
    client.call("echo", "{}").await.text();
    assert!(bench.kit.seen().iter().all(|seen| seen.header("x-evil").is_none()));
    client.close(&bench).await;
}
