//! How a bridge ends: in time, with the session ended, and with the last answers delivered.

use linchpin_proxy::Ended;
use linchpin_testkit::{Endpoint, Fault};

use crate::harness::{Client, World};

#[tokio::test]
async fn f26_closing_the_input_ends_the_session() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    client.call("echo", "{}").await.text();
    assert!(client.close(&world).await.is_empty());
    let counts = world.kit.counts();
    assert_eq!((counts.sessions_deleted, world.posts("DELETE")), (1, 1));
}

#[tokio::test]
async fn f26_nothing_is_deleted_where_there_is_no_session() {
    let world = World::new().await;
    let client = world.client();
    client.close(&world).await;
    assert!(world.kit.seen().is_empty());
}

#[tokio::test]
async fn f26_requests_under_way_are_still_answered_when_the_input_closes() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    client.send("1", "tools/call", r#"{"name":"slow","arguments":{"ms":700,"nonce":"a"}}"#).await;
    client.send("2", "tools/call", r#"{"name":"slow","arguments":{"ms":500,"nonce":"b","sse":true}}"#).await;
    client.close_input();
    assert_eq!(client.answer("2").await.text(), "b");
    assert_eq!(client.answer("1").await.text(), "a");
    assert!(client.close(&world).await.is_empty());
    assert_eq!(world.kit.counts().sessions_deleted, 1);
}

#[tokio::test]
async fn f26_a_call_that_hangs_does_not_keep_the_bridge() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(Fault::hold(Endpoint::McpPost).of_method("tools/call"));
    client.send("1", "tools/call", r#"{"name":"count","arguments":{"nonce":"a"}}"#).await;
    world.until("it hangs", || world.kit.held() == 1).await;
    client.forgive("1");
    client.close(&world).await;
    let counts = world.kit.counts();
    assert_eq!((counts.sessions_deleted, counts.calls_run()), (1, 1));
}

#[tokio::test]
async fn f26_neither_does_a_goodbye_that_hangs() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(Fault::hold(Endpoint::McpPost).of_method("tools/call"));
    world.kit.fault(Fault::hold(Endpoint::McpDelete));
    client.send("1", "tools/call", r#"{"name":"count","arguments":{"nonce":"a"}}"#).await;
    world.until("it hangs", || world.kit.held() == 1).await;
    client.forgive("1");
    client.close(&world).await;
    assert_eq!(world.posts("DELETE"), 1);
}

#[tokio::test]
async fn f26_neither_does_a_client_that_does_not_read() {
    let world = World::new().await;
    let mut client = Client::with_pipe(world.endpoint(), 256);
    client.initialize().await;
    for call in 0..100 {
        let params = format!(r#"{{"name":"big","arguments":{{"bytes":10000,"nonce":"{call}"}}}}"#);
        client.send(&format!("\"c{call}\""), "tools/call", &params).await;
    }
    world.until("all have run", || world.kit.counts().calls_run() == 100).await;
    assert_eq!(client.stop_without_reading(&world).await, Ended::InputClosed);
    assert_eq!(world.kit.counts().sessions_deleted, 1);
}

#[tokio::test]
async fn f26_a_client_that_is_gone_ends_the_bridge() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    client.send("1", "tools/call", r#"{"name":"slow","arguments":{"ms":100}}"#).await;
    world.until("it arrived", || world.posts("POST tools/call") == 1).await;
    assert_eq!(client.hang_up(&world).await, Ended::OutputClosed);
    assert_eq!(world.kit.counts().sessions_deleted, 1);
}

#[tokio::test]
async fn f26_the_bridge_ends_when_it_is_told_to() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(Fault::hold(Endpoint::McpPost).of_method("tools/call"));
    client.send("1", "tools/call", r#"{"name":"echo"}"#).await;
    world.until("it hangs", || world.kit.held() == 1).await;
    client.forgive("1");
    assert!(client.cancel(&world).await.is_empty());
    assert_eq!(world.kit.counts().sessions_deleted, 1);
}

#[tokio::test]
async fn f26_the_bridge_ends_when_it_is_told_to_while_more_hangs_than_it_takes() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(Fault::hold(Endpoint::McpPost).of_method("vendor/hangs"));
    for call in 0..1030 {
        let id = format!("\"h{call}\"");
        client.send(&id, "vendor/hangs", "{}").await;
        client.forgive(&id);
    }
    world.until("1024 hang", || world.kit.held() == 1024).await;
    assert!(client.cancel(&world).await.is_empty());
}

#[tokio::test]
async fn f26_answers_of_the_client_pass_while_as_many_requests_hang_as_the_bridge_takes() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.fault(Fault::hold(Endpoint::McpPost).of_method("vendor/hangs"));
    client.send("1", "tools/call", r#"{"name":"ask"}"#).await;
    let asked: serde_json::Value = serde_json::from_str(&client.next_line().await).expect("JSON");
    for call in 0..1023 {
        let id = format!("\"h{call}\"");
        client.send(&id, "vendor/hangs", "{}").await;
        client.forgive(&id);
    }
    world.until("1023 hang", || world.kit.held() == 1023).await;
    client.send_line(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, asked["id"])).await;
    client.answer("1").await.text();
    client.close(&world).await;
}
