//! Nothing reaches another origin (F21, P20).

use http::{HeaderMap, HeaderValue, StatusCode};
use linchpin_store::Disposition;
use linchpin_testkit::{Endpoint as At, Fault};
use linchpin_transport::SendError;
use tokio::net::TcpListener;

use crate::world::{World, call};

#[tokio::test]
async fn f21_no_redirect_leads_to_another_origin() {
    let world = World::new().await;
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = other.local_addr().expect("an address").port();
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("planted-key"));
    let endpoint = world.endpoint_with(headers);
    for status in [301, 302, 303, 307, 308] {
        for place in [
            format!("http://127.0.0.1:{port}/mcp"),
            format!("https://127.0.0.1:{port}/"),
            "data:,x".to_owned(),
        ] {
            let to = [("location", place.as_str())];
            world.kit.fault(Fault::replace(At::McpPost, status, &to, "").times(1));
            match endpoint.send(&call("a")).await {
                Ok(answer) => assert_eq!(answer.status().as_u16(), status.min(303)),
                Err(error @ SendError::Redirected { .. }) => {
                    assert!(status >= 307);
                    assert_eq!(error.disposition(), Disposition::Configuration);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    let connected = tokio::time::timeout(std::time::Duration::from_millis(50), other.accept()).await;
    assert!(connected.is_err(), "not even a connection");
    assert_eq!((world.sent(), world.kit.counts().calls_run()), (15, 0));
    world.finish(&[]);
}

#[tokio::test]
async fn f21_a_redirect_within_the_origin_repeats_the_request_with_its_token_and_headers() {
    let world = World::new().await;
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("planted-key"));
    let endpoint = world.endpoint_with(headers);
    for status in [307, 308] {
        world.kit.fault(Fault::replace(At::McpPost, status, &[("location", "/mcp?moved")], "").times(1));
        assert_eq!(endpoint.send(&call("a")).await.expect("an answer").status(), StatusCode::OK);
    }
    // A refused one is recovered wherever the redirect led.
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::replace(At::McpPost, 307, &[("location", "/mcp")], "").times(1));
    assert_eq!(endpoint.send(&call("a")).await.expect("an answer").status(), StatusCode::OK);
    let seen = world.kit.seen();
    assert_eq!(seen.len(), 7);
    for seen in seen {
        assert_eq!(seen.header("x-api-key"), Some("planted-key"));
        assert!(seen.header("authorization").is_some() && seen.body == call("a").body);
    }
    assert_eq!((world.kit.counts().exchanges, world.kit.counts().tool_calls["a"]), (1, 3));
    world.finish(&[]);
}
