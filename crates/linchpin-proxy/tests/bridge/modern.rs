//! Revision 2026-07-28 through the bridge: every request for itself.

use std::time::Duration;

use linchpin_testkit::{Endpoint, Fault};

use crate::harness::{Client, Reply, World};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

async fn request(client: &mut Client, method: &str, rest: &str) -> Reply {
    client.request(method, &format!("{{{rest}{META}}}")).await
}

#[tokio::test]
async fn bridge_modern_requests_carry_the_headers_that_a_strict_server_wants() {
    let world = World::with(|config| config.legacy = false).await;
    let mut client = world.client();
    assert_eq!(request(&mut client, "server/discover", "").await.result()["resultType"], "complete");
    // Before the tools are listed, nobody knows which arguments go into headers.
    let early = request(&mut client, "tools/call", r#""name":"region","arguments":{"region":"eu"},"#).await;
    assert_eq!(early.error().0, -32020);
    request(&mut client, "tools/list", "").await.result();
    for region in [r#""eu""#, r#"" Zürich\r\nX-Evil: 1""#, r#""=?base64?x?=""#, "17", "true", "null", r#""""#]
    {
        let rest = format!(r#""name":"region","arguments":{{"region":{region},"nonce":"n"}},"#);
        assert!(request(&mut client, "tools/call", &rest).await.text().contains(region), "{region}");
    }
    request(&mut client, "tools/call", r#""name":"echo","arguments":{"ü":1.0},"#).await.text();
    let unknown = request(&mut client, "tools/call", r#""name":"größe\n","#).await;
    assert_eq!(unknown.error().0, -32602, "the name arrived: {}", unknown.0);
    let (code, _) = request(&mut client, "vendor/unknown", r#""x":1,"#).await.error();
    assert_eq!(code, -32601, "a 404 that says so is an answer");
    client.send_line(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{{META}}}}}"#)).await;
    world.until("the notification arrived", || world.posts("POST notifications/x") == 1).await;
    assert!(client.close(&world).await.is_empty());
    let seen = world.kit.seen();
    for seen in &seen {
        assert_eq!(seen.method, "POST", "no GET, no DELETE");
        assert_eq!(seen.header("mcp-session-id"), None);
        assert_eq!(seen.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(seen.header("x-evil"), None);
    }
    assert_eq!((seen.len(), world.kit.counts().tool_calls["n"]), (14, 7));
}

#[tokio::test]
async fn bridge_modern_requests_keep_out_of_a_session_that_is_open() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.drop_sessions();
    request(&mut client, "tools/call", r#""name":"echo","#).await.text();
    // An unknown method is a 404, which is no lost session.
    request(&mut client, "vendor/unknown", "").await.error();
    assert_eq!(world.kit.counts().sessions_opened, 1);
    let modern: Vec<_> =
        world.kit.seen().into_iter().filter(|seen| seen.header("mcp-method").is_some()).collect();
    assert_eq!(modern.len(), 2);
    assert!(modern.iter().all(|seen| seen.header("mcp-session-id").is_none()));
    client.close(&world).await;
}

#[tokio::test]
async fn p17_a_modern_request_is_recovered_from_a_401() {
    let world = World::with(|config| config.legacy = false).await;
    let mut client = world.client();
    world.kit.refuse_access_tokens();
    request(&mut client, "tools/call", r#""name":"count","arguments":{"nonce":"a"},"#).await.text();
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.tool_calls["a"], world.posts("POST tools/call")), (1, 1, 2));
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_a_modern_request_is_cancelled_by_dropping_its_stream() {
    let world = World::with(|config| config.legacy = false).await;
    let mut client = world.client();
    for id in ["1", "\"1\"", "\"\\u0031x\""] {
        client.send(id, "subscriptions/listen", &format!("{{{META}}}")).await;
        assert!(client.next_line().await.contains("acknowledged"), "the stream passes");
        assert_eq!(world.kit.streams(), 1, "it is open");
        client
            .send_line(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            ))
            .await;
        world.until("the stream is dropped", || world.kit.streams() == 0).await;
        client.forgive(id);
    }
    assert_eq!(world.posts("POST notifications/cancelled"), 0, "dropping is all it takes");
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_a_subscription_does_not_keep_the_bridge() {
    let world = World::with(|config| config.legacy = false).await;
    let mut client = world.client();
    client.send("1", "subscriptions/listen", &format!("{{{META}}}")).await;
    assert!(client.next_line().await.contains("acknowledged"));
    client.forgive("1");
    client.close(&world).await;
    assert_eq!((world.posts("GET"), world.posts("DELETE")), (0, 0));
}

#[tokio::test]
async fn bridge_a_cancellation_in_a_session_goes_to_the_server() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    client.send("1", "tools/call", r#"{"name":"slow","arguments":{"ms":200}}"#).await;
    client
        .send_line(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await;
    world.until("it arrived", || world.posts("POST notifications/cancelled") == 1).await;
    client.answer("1").await.text();
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_a_modern_stream_that_breaks_is_not_resumed() {
    let world = World::new().await;
    let mut client = world.client();
    let events = "retry: 1\nid: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n\n";
    let kind = [("content-type", "text/event-stream")];
    world.kit.fault(Fault::falsify(Endpoint::McpPost, 200, &kind, events).times(1));
    let answer = request(&mut client, "tools/call", r#""name":"count","arguments":{"nonce":"a"},"#).await;
    assert!(answer.error().1.contains("may have been carried out"), "{}", answer.0);
    assert_eq!((world.posts("POST tools/call"), world.posts("GET")), (1, 0));
    assert_eq!(client.take_passed().len(), 1);
    client.close(&world).await;
}

#[tokio::test]
async fn bridge_modern_progress_comes_before_its_answer() {
    let world = World::with(|config| config.legacy = false).await;
    let mut client = world.client();
    let meta = META.replace("\"_meta\":{", "\"_meta\":{\"progressToken\":1,");
    let params = format!(r#"{{"name":"progress","arguments":{{"steps":5}},{meta}}}"#);
    client.send("1", "tools/call", &params).await;
    for step in 1..=5 {
        assert!(client.next_line().await.contains(&format!("\"progress\":{step},")));
    }
    assert!(client.next_line().await.contains("5 steps"));
    assert_eq!(client.line_within(Duration::from_millis(50)).await, None);
    client.close(&world).await;
}
