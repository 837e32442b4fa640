//! Answers that come as events, broken and resumed (2025-11-25, "Resumability and Redelivery").

use std::time::Duration;

use http::HeaderMap;
use linchpin_testkit::{Endpoint, Fault};
use linchpin_transport::{Authorization, Endpoint as Mcp};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Client, INITIALIZE, World, server};
use crate::raw::{Raw, http, id_in};

const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream")];

#[tokio::test]
async fn f26_a_stream_cut_at_any_byte_yields_everything_once_and_the_tool_runs_once() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let (mut resumed, mut refused) = (0, 0);
    for cut in (0..1300).step_by(37) {
        let (nonce, id) = (format!("n{cut}"), format!("\"cut{cut}\""));
        world.kit.fault(Fault::cut(Endpoint::McpPost, cut).of_method("tools/call").times(1));
        let before = world.kit.counts().resumes;
        let params = format!(
            r#"{{"name":"progress","arguments":{{"steps":4,"nonce":"{nonce}"}},"_meta":{{"progressToken":{cut}}}}}"#
        );
        client.send(&id, "tools/call", &params).await;
        let answer = client.answer(&id).await;
        let progress = client.take_passed();
        assert_eq!(world.kit.counts().tool_calls[&nonce], 1, "at byte {cut}");
        if answer.json().get("error").is_some() {
            // Before the first event there is nothing to resume from.
            assert!(answer.error().1.contains("may have been carried out"), "{}", answer.0);
            assert_eq!((resumed, progress.len()), (0, 0), "at byte {cut}");
            refused += 1;
            continue;
        }
        assert_eq!(answer.text(), "4 steps");
        for (step, line) in (1..).zip(&progress) {
            assert!(
                line.contains(&format!(r#""progressToken":{cut},"progress":{step},"#)),
                "at {cut}: {line}"
            );
        }
        assert_eq!(progress.len(), 4, "at byte {cut}");
        resumed += world.kit.counts().resumes - before;
    }
    assert!(refused >= 3, "{refused} cuts before the first event");
    assert!(resumed >= 15, "{resumed} streams were resumed");
    assert_eq!(world.posts("POST tools/call"), world.kit.counts().calls_run(), "nothing was sent twice");
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn f26_a_stream_that_breaks_again_and_again_goes_on_where_it_was() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(Fault::cut(Endpoint::McpPost, 500).of_method("tools/call").times(1));
    world.kit.fault(Fault::cut(Endpoint::McpGet, 420).times(3));
    world.kit.fault(Fault::status(Endpoint::McpGet, 503).times(1));
    let params = r#"{"name":"progress","arguments":{"steps":12,"nonce":"a"},"_meta":{"progressToken":1}}"#;
    client.send("1", "tools/call", params).await;
    assert_eq!(client.answer("1").await.text(), "12 steps");
    let progress = client.take_passed();
    for (step, line) in (1..).zip(&progress) {
        assert!(line.contains(&format!(r#""progress":{step},"#)), "{progress:?}");
    }
    assert_eq!(progress.len(), 12);
    let counts = world.kit.counts();
    assert_eq!((counts.resumes, counts.tool_calls["a"], world.posts("POST tools/call")), (4, 1, 1));
    assert_eq!(world.posts("GET"), 6, "listening, five resumptions of which one was refused");
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn f26_resuming_ends_after_a_while_and_says_so() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let events = "retry: 1\nid: x-1\ndata:\n\n";
    world.kit.fault(Fault::falsify(Endpoint::McpPost, 200, EVENTS, events).of_method("tools/call").times(1));
    world.kit.fault(Fault::cut(Endpoint::McpGet, 0));
    let (code, message) = client.call("count", r#"{"nonce":"a"}"#).await.error();
    assert_eq!(code, -32000);
    assert!(message.contains("may have been carried out"), "{message}");
    // Listening, once after the orderly end, and five times after a broken one.
    assert_eq!((world.posts("GET"), world.posts("POST tools/call")), (1 + 1 + 5, 1));
    assert_eq!(world.kit.counts().tool_calls["a"], 1);
    world.kit.clear_faults();
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_a_stream_that_ends_without_the_answer_is_an_error() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    for events in
        ["", "data: {\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n\n", ": nothing\n\n", "data: half of the ans"]
    {
        world
            .kit
            .fault(Fault::falsify(Endpoint::McpPost, 200, EVENTS, events).of_method("tools/call").times(1));
        let answer = client.call("count", "{}").await;
        assert!(answer.error().1.contains("may have been carried out"), "{}", answer.0);
        assert_eq!(answer.disposition(), "temporary");
    }
    // An id that the server does not know any more.
    world.kit.fault(
        Fault::falsify(Endpoint::McpPost, 200, EVENTS, "retry: 1\nid: gone-1\ndata:\n\n")
            .of_method("tools/call")
            .times(1),
    );
    assert!(client.call("count", "{}").await.error().1.contains("may have been carried out"));
    assert_eq!(client.take_passed(), [r#"{"jsonrpc":"2.0","method":"n"}"#]);
    assert_eq!(world.posts("POST tools/call"), 5);
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_a_server_that_is_polled_is_polled_until_it_answers() {
    // It closes the stream at once and names a time to come back (SEP-1699), more often than a broken one may.
    let raw = Raw::scripted(|request| {
        let polls =
            request.lines().find_map(|line| line.strip_prefix("last-event-id: e-")).map(str::to_owned);
        match (request.split(' ').next(), polls) {
            (Some("POST"), _) if request.contains("\"tools/call\"") => {
                http(200, EVENTS, "retry: 5\nid: e-0\ndata:\n\n")
            }
            (Some("GET"), Some(polls)) => match polls.parse().unwrap_or(0) {
                12 => http(200, EVENTS, "id: e-13\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"),
                polls => http(200, EVENTS, &format!("id: e-{}\ndata:\n\n", polls + 1)),
            },
            _ => http(405, &[], ""),
        }
    })
    .await;
    let world = World::new().await;
    let endpoint =
        Mcp::new(server(&raw.origin), Authorization::Configured, HeaderMap::new()).expect("set up");
    let mut client = Client::over(endpoint);
    client.send("1", "tools/call", "{}").await;
    client.answer("1").await.result();
    assert_eq!(raw.received().len(), 14);
    client.close(&world).await;
}

#[tokio::test]
async fn p16_a_token_that_ends_during_a_stream_is_renewed_for_its_resumption() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(Fault::cut(Endpoint::McpPost, 240).of_method("tools/call").times(1));
    let params = r#"{"name":"slow","arguments":{"ms":300,"sse":true,"nonce":"a"}}"#;
    client.send("1", "tools/call", params).await;
    world.until("it runs", || world.kit.counts().calls_run() == 1).await;
    world.kit.refuse_access_tokens();
    assert_eq!(client.answer("1").await.text(), "a");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.resumes, world.posts("POST tools/call")), (1, 1, 1));
    assert_eq!(counts.unauthorized, 1);
    client.close(&world).await;
}

#[tokio::test]
async fn p16_a_token_that_ends_during_a_stream_that_holds_disturbs_nothing() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let params = r#"{"name":"slow","arguments":{"ms":200,"sse":true,"nonce":"a"}}"#;
    client.send("1", "tools/call", params).await;
    world.until("it runs", || world.kit.counts().calls_run() == 1).await;
    world.kit.refuse_access_tokens();
    assert_eq!(client.answer("1").await.text(), "a");
    assert_eq!(world.kit.counts().exchanges, 0);
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_the_stream_of_the_session_is_resumed_without_loss() {
    let world = World::new().await;
    let mut client = world.client();
    world.kit.fault(Fault::cut(Endpoint::McpGet, 900).times(1));
    world.kit.fault(Fault::cut(Endpoint::McpGet, 700).times(2));
    client.initialize().await;
    for number in 0..30 {
        world.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/x", "params": { "n": number } }));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for number in 0..30 {
        let line = client.next_line().await;
        assert!(line.contains(&format!("\"n\":{number}}}")), "{number}: {line}");
    }
    assert!(world.kit.counts().resumes >= 2);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_listening_goes_on_where_the_server_forgot_the_last_event() {
    let world = World::new().await;
    let mut client = world.client();
    let events = "retry: 5\nid: gone-7\ndata: {\"method\":\"notifications/first\"}\n\n";
    world.kit.fault(Fault::falsify(Endpoint::McpGet, 200, EVENTS, events).times(1));
    client.initialize().await;
    assert!(client.next_line().await.contains("first"));
    world.until("it listens again", || world.posts("GET") >= 3).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.kit.push(&json!({ "jsonrpc": "2.0", "method": "notifications/new" }));
    assert!(client.next_line().await.contains("notifications/new"));
    let gets: Vec<_> = world.kit.seen().into_iter().filter(|seen| seen.method == "GET").collect();
    assert_eq!(gets[1].header("last-event-id"), Some("gone-7"));
    assert_eq!(gets[2].header("last-event-id"), None);
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_listening_moves_to_the_session_that_was_opened_again() {
    // The server forgets the session but leaves its stream open.
    let raw = Raw::serving(|mut stream, request| async move {
        let session =
            request.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).map(str::to_owned);
        let id = id_in(&request);
        let json = |body: &str, session: &str| {
            http(200, &[("content-type", "application/json"), ("mcp-session-id", session)], body)
        };
        let answer = if request.starts_with("GET") {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            let event = format!("data: {{\"method\":\"listening in {}\"}}\n\n", session.unwrap_or_default());
            stream.write_all(format!("{head}{event}").as_bytes()).await.ok()?;
            tokio::time::sleep(Duration::from_secs(20)).await;
            return None;
        } else if request.contains("\"initialize\"") {
            static OPENED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
            let number = OPENED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            json(
                &format!(r#"{{"id":{id},"result":{{"protocolVersion":"2025-11-25"}}}}"#),
                &format!("s{number}"),
            )
        } else if id == "null" {
            http(202, &[], "")
        } else if session.as_deref() == Some("s0") {
            http(404, &[], "")
        } else {
            json(&format!(r#"{{"id":{id},"result":{{}}}}"#), "")
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
        Some(stream)
    })
    .await;
    let world = World::new().await;
    let endpoint =
        Mcp::new(server(&raw.origin), Authorization::Configured, HeaderMap::new()).expect("set up");
    let mut client = Client::over(endpoint);
    client.request("initialize", INITIALIZE).await.result();
    client.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert!(client.next_line().await.contains("listening in s0"));
    client.request("tools/list", "{}").await.result();
    assert!(client.line_with("listening").await.contains("listening in s1"));
    client.close(&world).await;
}

#[tokio::test]
async fn f25_an_event_without_end_is_an_error_and_takes_bounded_memory() {
    let raw = endless("text/event-stream", "data: ").await;
    let world = World::new().await;
    let endpoint =
        Mcp::new(server(&raw.0.origin), Authorization::Configured, HeaderMap::new()).expect("set up");
    let mut client = Client::over(endpoint);
    client.send("1", "tools/call", "{}").await;
    assert!(client.answer("1").await.error().1.contains("event of more than"));
    let written = raw.1.load(std::sync::atomic::Ordering::SeqCst);
    assert!(written < 32 << 20, "{written} bytes were taken");
    client.close(&world).await;
}

#[tokio::test]
async fn f25_a_json_answer_without_end_is_an_error_and_takes_bounded_memory() {
    let raw = endless("application/json", "{\"x\":\"").await;
    let world = World::new().await;
    let endpoint =
        Mcp::new(server(&raw.0.origin), Authorization::Configured, HeaderMap::new()).expect("set up");
    let mut client = Client::over(endpoint);
    client.send("1", "tools/call", "{}").await;
    assert!(client.answer("1").await.error().1.contains("longer than 67108864 bytes"));
    let written = raw.1.load(std::sync::atomic::Ordering::SeqCst);
    assert!(written < 80 << 20, "{written} bytes were taken");
    client.close(&world).await;
}

#[tokio::test]
async fn f25_an_event_without_end_on_the_stream_of_the_session_is_not_asked_for_again() {
    let raw = Raw::serving(|mut stream, request| async move {
        if !request.starts_with("GET") {
            let answer = r#"{"jsonrpc":"2.0","id":101,"result":{"protocolVersion":"2025-11-25"}}"#;
            let answer = if id_in(&request) == "101" {
                http(200, &[("content-type", "application/json")], answer)
            } else {
                http(202, &[], "")
            };
            stream.write_all(answer.as_bytes()).await.ok()?;
            return Some(stream);
        }
        let first = "retry: 20\nid: e-1\ndata: {\"method\":\"n\"}\n\n";
        if request.contains("last-event-id") {
            stream.write_all(http(500, &[], "").as_bytes()).await.ok()?;
            return Some(stream);
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        stream.write_all(format!("{head}{first}data: ").as_bytes()).await.ok()?;
        let piece = vec![b'x'; 256 << 10];
        loop {
            stream.write_all(&piece).await.ok()?;
        }
    })
    .await;
    let world = World::new().await;
    let endpoint =
        Mcp::new(server(&raw.origin), Authorization::Configured, HeaderMap::new()).expect("set up");
    let mut client = Client::over(endpoint);
    client.initialize().await;
    client.line_with("\"n\"").await;
    world.until("it listens again", || gets(&raw).len() >= 2).await;
    client.close(&world).await;
    assert!(gets(&raw).iter().all(|get| !get.contains("last-event-id")), "{:?}", gets(&raw));
}

fn gets(raw: &Raw) -> Vec<String> {
    raw.received().into_iter().filter(|request| request.starts_with("GET")).collect()
}

async fn endless(
    kind: &'static str,
    begin: &'static str,
) -> (Raw, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&written);
    let raw = Raw::serving(move |mut stream, _| {
        let count = std::sync::Arc::clone(&count);
        async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n{begin}");
            stream.write_all(head.as_bytes()).await.ok()?;
            let piece = vec![b'x'; 256 << 10];
            loop {
                stream.write_all(&piece).await.ok()?;
                count.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
            }
        }
    })
    .await;
    (raw, written)
}
