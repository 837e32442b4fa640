//! Requests side by side, messages as they come, sessions and versions carried.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use linchpin_testkit::{Endpoint, Fault};
use linchpin_transport::{Authorization, Endpoint as Mcp};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::harness::{Client, World, server};
use crate::raw::{Raw, http, id_in};

#[tokio::test]
async fn bridge_a_slow_call_delays_no_fast_one() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    client.send("1", "tools/call", r#"{"name":"slow","arguments":{"ms":600,"nonce":"slow"}}"#).await;
    let begun = Instant::now();
    for _ in 0..10 {
        client.call("echo", "{}").await.text();
    }
    let fast = begun.elapsed();
    assert!(fast < Duration::from_millis(500), "ten fast calls took {fast:?}");
    assert!(client.take_passed().is_empty(), "the slow one is not done");
    assert_eq!(client.answer("1").await.text(), "slow");
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_two_hundred_calls_run_at_once() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let begun = Instant::now();
    for call in 0..200 {
        let params = format!(r#"{{"name":"count","arguments":{{"nonce":"n{call}","ms":300}}}}"#);
        client.send(&format!("\"c{call}\""), "tools/call", &params).await;
    }
    for call in 0..200 {
        assert_eq!(client.answer(&format!("\"c{call}\"")).await.text(), format!("n{call}"));
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "200 calls of 0.3 s took {took:?}");
    let counts = world.kit.counts();
    assert_eq!((counts.tool_calls.len(), counts.calls_run(), counts.sessions_opened), (200, 200, 1));
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_progress_comes_in_order_and_before_its_answer() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    for stream in ["a", "b", "c"] {
        let params = format!(
            r#"{{"name":"progress","arguments":{{"steps":8}},"_meta":{{"progressToken":"{stream}"}}}}"#
        );
        client.send(&format!("\"{stream}\""), "tools/call", &params).await;
    }
    let mut lines = Vec::new();
    while lines.len() < 3 * 9 {
        lines.push(client.next_line().await);
    }
    for stream in ["a", "b", "c"] {
        let quoted = format!("\"{stream}\"");
        let of_stream: Vec<_> = lines.iter().filter(|line| line.contains(&quoted)).collect();
        assert_eq!(of_stream.len(), 9, "{of_stream:?}");
        for (step, line) in of_stream[..8].iter().enumerate() {
            assert!(line.contains(&format!(r#""progress":{},"#, step + 1)), "{line}");
        }
        assert!(of_stream[8].contains("8 steps"));
    }
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_a_request_of_the_server_is_answered_by_the_client() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    for answer in
        [r#""result":{"action":"accept"}"#, r#""error":{"code":-1,"message":"no"}"#, r#""result":null"#]
    {
        let id = client.new_id();
        let params = r#"{"name":"ask","arguments":{"method":"elicitation/create","params":{"message":"?"}}}"#;
        client.send(&id, "tools/call", params).await;
        let asked: serde_json::Value = serde_json::from_str(&client.next_line().await).expect("JSON");
        assert_eq!(asked["method"], "elicitation/create");
        assert_eq!(asked["params"]["message"], "?");
        let asked = &asked["id"];
        client.send_line(&format!(r#"{{"jsonrpc":"2.0","id":{asked},{answer}}}"#)).await;
        assert_eq!(client.answer(&id).await.text(), format!("answered {}", asked.as_str().expect("a text")));
    }
    assert_eq!(world.kit.counts().client_answers, 3);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_messages_of_no_request_arrive_once_the_client_is_initialized() {
    let world = World::new().await;
    let mut client = world.client();
    client.request("initialize", crate::harness::INITIALIZE).await.result();
    world.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/early" }));
    assert_eq!(client.line_within(Duration::from_millis(150)).await, None);
    assert_eq!(world.posts("GET"), 0);
    client.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert!(client.next_line().await.contains("notifications/early"));
    for number in 0..100 {
        world.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/x", "params": { "n": number } }));
    }
    for number in 0..100 {
        assert!(client.next_line().await.contains(&format!("\"n\":{number}}}")));
    }
    assert_eq!(world.posts("GET"), 1);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_session_and_version_are_carried_by_everything_after_initialize() {
    let world = World::new().await;
    let mut client = world.client();
    let params = crate::harness::INITIALIZE.replace("2025-11-25", "2025-06-18");
    assert_eq!(client.request("initialize", &params).await.result()["protocolVersion"], "2025-06-18");
    client.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    client.call("echo", "{}").await.text();
    world.until("it listens", || world.posts("GET") == 1).await;
    client.close(&world).await;
    let seen = world.kit.seen();
    assert_eq!(seen.len(), 5, "initialize, initialized, call, GET, DELETE");
    assert_eq!(seen[0].header("mcp-session-id"), None);
    assert_eq!(seen[0].header("mcp-protocol-version"), None);
    let session = seen[1].header("mcp-session-id").expect("a session");
    for seen in &seen[1..] {
        assert_eq!(seen.header("mcp-session-id"), Some(session));
        assert_eq!(seen.header("mcp-protocol-version"), Some("2025-06-18"));
    }
    for seen in seen.iter().filter(|seen| seen.method == "POST") {
        assert_eq!(seen.header("accept"), Some("application/json, text/event-stream"));
        assert_eq!(seen.header("content-type"), Some("application/json"));
    }
    assert_eq!(world.kit.counts().sessions_deleted, 1);
}

#[tokio::test]
async fn bridge_nothing_overtakes_initialize() {
    let world = World::new().await;
    world.kit.fault(Fault::delay(Endpoint::McpPost, Duration::from_millis(200)).of_method("initialize"));
    let mut client = world.client();
    client.send("1", "initialize", crate::harness::INITIALIZE).await;
    client.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    client.send("2", "tools/call", r#"{"name":"echo"}"#).await;
    client.answer("2").await.text();
    client.answer("1").await.result();
    let methods: Vec<_> = world
        .kit
        .seen()
        .iter()
        .filter(|seen| seen.method == "POST")
        .map(|seen| {
            let message: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
            message["method"].as_str().expect("a method").to_owned()
        })
        .collect();
    assert_eq!(methods, ["initialize", "notifications/initialized", "tools/call"]);
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_a_stream_left_open_after_the_answer_holds_nothing_up_and_its_messages_pass() {
    let raw = Raw::serving(|mut stream, request| async move {
        if request.starts_with("GET") || request.starts_with("DELETE") {
            stream.write_all(http(405, &[], "").as_bytes()).await.ok()?;
            return Some(stream);
        }
        if !request.contains("\"initialize\"") {
            let id = id_in(&request);
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            let answer = if id == "null" {
                http(202, &[], "")
            } else {
                http(200, &[("content-type", "application/json")], &answer)
            };
            stream.write_all(answer.as_bytes()).await.ok()?;
            return Some(stream);
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#;
        stream.write_all(format!("{head}data: {answer}\n\n").as_bytes()).await.ok()?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/late\"}\n\n").await.ok()?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        None
    })
    .await;
    let world = World::new().await;
    let endpoint =
        Mcp::new(server(&raw.origin), Authorization::Configured, HeaderMap::new()).expect("set up");
    let mut client = Client::over(endpoint);
    let begun = Instant::now();
    client.send("1", "initialize", crate::harness::INITIALIZE).await;
    client.answer("1").await.result();
    client.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    client.request("ping", "{}").await.result();
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(400), "the handshake took {took:?}");
    client.line_with("notifications/late").await;
    let begun = Instant::now();
    assert!(client.close(&world).await.is_empty());
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(500), "what is left of a stream kept the bridge for {took:?}");
}

#[tokio::test]
async fn f26_a_client_that_does_not_read_is_waited_for() {
    let world = World::new().await;
    let mut client = Client::with_pipe(world.endpoint(), 1024);
    client.initialize().await;
    let text = "x".repeat(10_000);
    for call in 0..150 {
        let params = format!(r#"{{"name":"echo","arguments":{{"nonce":"n{call}","t":"{text}"}}}}"#);
        client.send(&format!("\"c{call}\""), "tools/call", &params).await;
    }
    world.until("all calls have run", || world.kit.counts().calls_run() == 150).await;
    for call in 0..150 {
        client.answer(&format!("\"c{call}\"")).await.text();
    }
    assert_eq!(world.kit.counts().calls_doubled(), 0);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn f26_an_endless_stream_stops_when_the_client_does_not_read() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let raw = Raw::serving(move |mut stream, request| {
        let count = Arc::clone(&count);
        async move {
            if request.starts_with("POST") {
                let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#;
                let answer = http(200, &[("content-type", "application/json")], answer);
                stream.write_all(answer.as_bytes()).await.ok()?;
                return Some(stream);
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            let text = "x".repeat(10_000);
            let event = format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":\"{text}\"}}\n\n");
            loop {
                stream.write_all(event.as_bytes()).await.ok()?;
                count.fetch_add(event.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let world = World::new().await;
    let endpoint =
        Mcp::new(server(&raw.origin), Authorization::Configured, HeaderMap::new()).expect("set up");
    let mut client = Client::with_pipe(endpoint, 1024);
    client.send("1", "initialize", crate::harness::INITIALIZE).await;
    client.answer("1").await.result();
    client.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    // The queue and the sockets fill; then the server waits.
    let mut last = 0;
    world
        .until("the server is made to wait", || {
            let now = written.load(Ordering::SeqCst);
            now > 0 && std::mem::replace(&mut last, now) == now
        })
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (then, now) = (last, written.load(Ordering::SeqCst));
    assert!(now < 32 << 20, "{now} bytes were taken from the server");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(written.load(Ordering::SeqCst) - now <= 1 << 20, "it goes on: {then}, {now}");
    // Whoever reads again gets more.
    for _ in 0..100 {
        client.line_with("\"n\"").await;
    }
    assert_eq!(client.hang_up(&world).await, linchpin_proxy::Ended::OutputClosed);
}
