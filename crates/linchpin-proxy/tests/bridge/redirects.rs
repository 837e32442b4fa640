//! Nothing reaches another origin (F21, P20).

use http::{HeaderMap, HeaderValue};
use linchpin_testkit::{Endpoint, Fault};
use linchpin_transport::{Authorization, Endpoint as Mcp};

use crate::harness::{Client, World};
use crate::raw::{Raw, http};

#[tokio::test]
async fn f21_no_redirect_carries_anything_to_another_origin() {
    let other = Raw::scripted(|_| http(200, &[("content-type", "application/json")], "{}")).await;
    let world = World::new().await;
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("planted-custom"));
    let authorization = Authorization::SignIn(world.credential());
    let endpoint = Mcp::new(world.key.server.clone(), authorization, headers).expect("set up");
    let mut client = Client::over(endpoint);
    client.initialize().await;
    world.until("it listens", || world.posts("GET") == 1).await;
    let port = other.origin.rsplit_once(':').expect("a port").1;
    let places = [
        format!("{}/mcp", other.origin),
        format!("//127.0.0.1:{port}/mcp"),
        format!("http://localhost:{port}/mcp"),
        format!("http://user:password@127.0.0.1:{port}/mcp"),
    ];
    let mut sent = 0;
    for status in [301, 302, 303, 307, 308] {
        for place in &places {
            let to = [("location", place.as_str())];
            world
                .kit
                .fault(Fault::replace(Endpoint::McpPost, status, &to, "").of_method("tools/call").times(1));
            let (code, message) = client.call("count", r#"{"nonce":"planted-body"}"#).await.error();
            assert_eq!(code, -32000);
            if status >= 307 {
                assert!(message.contains("another site") && message.contains(port), "{message}");
            } else {
                assert!(message.contains(&status.to_string()), "{message}");
            }
            sent += 1;
        }
    }
    // The stream of the session, its resumption and its end.
    world.kit.fault(Fault::replace(Endpoint::McpGet, 307, &[("location", &places[0])], ""));
    world.kit.fault(Fault::replace(Endpoint::McpDelete, 308, &[("location", &places[0])], ""));
    world.kit.drop_sessions();
    client.call("count", r#"{"nonce":"planted-body"}"#).await.text();
    world.until("the stream was asked for", || world.posts("GET") >= 2).await;
    client.close(&world).await;
    assert_eq!(world.posts("DELETE"), 1);
    assert_eq!(other.received(), Vec::<String>::new(), "not one byte");
    assert_eq!((world.posts("POST tools/call"), world.kit.counts().calls_run()), (sent + 2, 1));
    assert_eq!(world.kit.counts().exchanges, 0);
}

#[tokio::test]
async fn f21_within_the_origin_only_what_repeats_the_request_is_followed() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    for (status, place) in [(307, "/mcp"), (308, "mcp"), (307, world.kit.mcp_url().as_str())] {
        let to = [("location", place)];
        world.kit.fault(Fault::replace(Endpoint::McpPost, status, &to, "").of_method("tools/call").times(1));
        assert_eq!(client.call("count", r#"{"nonce":"a"}"#).await.text(), "a");
    }
    assert_eq!((world.posts("POST tools/call"), world.kit.counts().tool_calls["a"]), (6, 3));
    for status in [301, 302, 303] {
        let to = [("location", "/mcp")];
        world.kit.fault(Fault::replace(Endpoint::McpPost, status, &to, "").of_method("tools/call").times(1));
        let (_, message) = client.call("count", r#"{"nonce":"a"}"#).await.error();
        assert!(message.contains(&status.to_string()), "{message}");
    }
    assert_eq!((world.posts("POST tools/call"), world.posts("GET")), (9, 1), "no POST became a GET");
    client.close(&world).await;
}

#[tokio::test]
async fn f21_a_redirect_in_a_circle_ends() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world
        .kit
        .fault(Fault::replace(Endpoint::McpPost, 307, &[("location", "/mcp")], "").of_method("tools/call"));
    let (_, message) = client.call("count", r#"{"nonce":"a"}"#).await.error();
    assert!(message.contains("redirects more than 10 times"), "{message}");
    assert_eq!((world.posts("POST tools/call"), world.kit.counts().calls_run()), (11, 0));
    client.close(&world).await;
}

#[tokio::test]
async fn f21_a_refused_request_that_is_redirected_goes_nowhere_either() {
    let other = Raw::scripted(|_| http(200, &[], "")).await;
    let world = World::new().await;
    let mut client = world.initialized().await;
    let place = format!("{}/token", other.origin);
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::replace(Endpoint::Token, 307, &[("location", &place)], ""));
    client.call("count", r#"{"nonce":"a"}"#).await.error();
    assert_eq!(other.received(), Vec::<String>::new());
    assert_eq!(world.kit.counts().calls_run(), 0);
    client.close(&world).await;
}
