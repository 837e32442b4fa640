//! Answers that are none: every request gets exactly one all the same.

use http::HeaderMap;
use linchpin_testkit::{AuthMode, Endpoint, Fault};
use linchpin_transport::{Authorization, Endpoint as Mcp};

use crate::harness::{Client, INITIALIZE, World, server};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Status, headers and body of an answer.
type Odd = (u16, &'static [(&'static str, &'static str)], &'static str);

fn to_calls(fault: Fault) -> Fault {
    fault.of_method("tools/call").times(1)
}

#[tokio::test]
async fn bridge_http_errors_become_errors_that_name_the_status() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    for (status, disposition) in [
        (400, "server_error"),
        (403, "server_error"),
        (405, "server_error"),
        (413, "server_error"),
        (429, "temporary"),
        (500, "server_error"),
        (502, "temporary"),
        (503, "temporary"),
        (504, "temporary"),
    ] {
        world.kit.fault(to_calls(Fault::replace(
            Endpoint::McpPost,
            status,
            &[("retry-after", "7")],
            "<html>",
        )));
        let answer = client.call("count", r#"{"nonce":"a"}"#).await;
        let (code, message) = answer.error();
        assert_eq!(code, -32000);
        assert!(message.contains(&status.to_string()) && !message.contains("<html>"), "{message}");
        assert_eq!(message.contains("7 s"), disposition == "temporary", "{message}");
        assert_eq!(answer.disposition(), disposition, "{status}");
    }
    assert_eq!(
        (world.posts("POST tools/call"), world.kit.counts().calls_run()),
        (9, 0),
        "none was sent again"
    );
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_an_error_of_the_server_passes_as_the_server_wrote_it() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let own = r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32020,"message":"Header","data":[1.0]}}"#;
    world.kit.fault(to_calls(Fault::replace(Endpoint::McpPost, 400, JSON, own)));
    client.send("5", "tools/call", "{}").await;
    assert_eq!(client.answer("5").await.0, own);
    // Written for no request in particular, it answers this one: with an error status or without.
    let nobodys = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no","x":1.0}}"#;
    for (id, status, kind) in
        [("6", 400, "application/json"), ("7", 200, "application/json"), ("8", 200, "text/event-stream")]
    {
        let body =
            if kind == "application/json" { nobodys.to_owned() } else { format!("data: {nobodys}\n\n") };
        world.kit.fault(to_calls(Fault::replace(
            Endpoint::McpPost,
            status,
            &[("content-type", kind)],
            &body,
        )));
        client.send(id, "tools/call", "{}").await;
        let expected = nobodys.replace("null", id);
        assert_eq!(client.answer(id).await.0, expected);
    }
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_a_page_instead_of_an_answer_says_to_check_the_url() {
    let world = World::with(|config| config.auth = AuthMode::NotMcp).await;
    let mut client = world.client();
    for (method, params) in [("initialize", INITIALIZE), ("tools/list", "{}")] {
        let (code, message) = client.request(method, params).await.error();
        assert_eq!(code, -32000);
        assert!(message.contains("check the URL") && !message.contains("shop"), "{message}");
    }
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_no_request_stays_without_an_answer() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let odd: [Odd; 9] = [
        (202, &[], ""),
        (204, &[], ""),
        (200, &[], ""),
        (200, JSON, ""),
        (200, JSON, " \r\n"),
        (202, JSON, ""),
        (200, JSON, "not json"),
        (200, JSON, "{\"jsonrpc\":\"2.0\",\"id\":"),
        (200, &[("content-type", "text/plain")], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"),
    ];
    let count = odd.len() as u64;
    for (status, headers, body) in odd {
        world.kit.fault(to_calls(Fault::falsify(Endpoint::McpPost, status, headers, body)));
        let answer = client.call("count", "{}").await;
        assert_eq!(answer.error().0, -32000, "{status} {body:?}");
    }
    assert!(client.take_passed().is_empty());
    // Somebody else's answer passes, and this request still gets one.
    for body in [r#"{"id":"other","result":{}}"#, r#"{"method":"n"}"#, "[]", "17"] {
        world.kit.fault(to_calls(Fault::falsify(Endpoint::McpPost, 200, JSON, body)));
        assert_eq!(client.call("count", "{}").await.error().0, -32000, "{body}");
        assert_eq!(client.next_line().await, body);
    }
    assert_eq!(world.posts("POST tools/call"), count + 4);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_events_that_are_no_messages_are_left_out() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let events = "event: ping\ndata: {\"t\":1}\n\ndata: keep-alive\n\nevent: message\ndata: {\"id\":1,\"result\":{}}\n\n";
    let kind = [("content-type", "text/event-stream")];
    world.kit.fault(to_calls(Fault::falsify(Endpoint::McpPost, 200, &kind, events)));
    client.send("1", "tools/call", "{}").await;
    client.answer("1").await.result();
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn f26_a_json_answer_that_breaks_off_is_an_error_and_the_tool_is_not_run_again() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let cuts: Vec<_> = (0..240).step_by(24).collect();
    let mut broken = 0;
    for &cut in &cuts {
        world.kit.fault(to_calls(Fault::cut(Endpoint::McpPost, cut)));
        let answer =
            client.call("count", &format!(r#"{{"nonce":"n{cut}","pad":"{}"}}"#, "x".repeat(99))).await;
        assert_eq!(world.kit.counts().tool_calls[&format!("n{cut}")], 1, "at byte {cut}");
        if answer.json().get("error").is_some() {
            assert!(answer.error().1.contains("may have been carried out"), "at byte {cut}: {}", answer.0);
            assert_eq!(answer.disposition(), "temporary");
            broken += 1;
        }
    }
    assert!(broken >= 6, "{broken} answers broke off");
    assert_eq!(world.posts("POST tools/call"), cuts.len() as u64);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn f26_a_connection_reset_before_any_byte_is_an_error_and_the_tool_is_not_run_again() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let mut reset = to_calls(Fault::cut(Endpoint::McpPost, 0));
    reset.action = linchpin_testkit::Action::Cut { after: 0, reset: true };
    world.kit.fault(reset);
    let answer = client.call("count", r#"{"nonce":"a"}"#).await;
    assert!(answer.error().1.contains("may have been carried out"), "{}", answer.0);
    assert_eq!((world.posts("POST tools/call"), world.kit.counts().tool_calls["a"]), (1, 1));
    client.call("echo", "{}").await.text();
    client.close(&world).await;
}

#[tokio::test]
async fn f26_a_server_that_is_down_is_an_error_that_does_not_say_that_it_ran() {
    let world = World::new().await;
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = server(&format!("http://{closed}/mcp"));
    let mut client =
        Client::over(Mcp::new(url, Authorization::Configured, HeaderMap::new()).expect("set up"));
    let answer = client.call("count", r#"{"nonce":"a"}"#).await;
    let (code, message) = answer.error();
    assert_eq!(code, -32000);
    assert!(message.contains("could not be connected to") && !message.contains("carried out"), "{message}");
    assert_eq!(answer.disposition(), "temporary");
    client.close(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f25_a_large_answer_passes_and_one_beyond_64_mib_is_an_error() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let large = 12 << 20;
    let answer = client.call("big", &format!(r#"{{"bytes":{large},"nonce":"a"}}"#)).await;
    assert!(answer.0.len() > large);
    let (code, message) =
        client.call("big", &format!(r#"{{"bytes":{},"nonce":"b"}}"#, 64 << 20)).await.error();
    assert_eq!(code, -32000);
    assert!(message.contains("longer than 67108864 bytes"), "{message}");
    assert_eq!((world.kit.counts().calls_run(), world.posts("POST tools/call")), (2, 2));
    client.call("echo", "{}").await.text();
    client.close(&world).await;
}
