//! What is said of a request that failed, and what is read of an answer.

use linchpin_store::Disposition;
use linchpin_testkit::{Endpoint as At, Fault};
use linchpin_transport::{Authorization, Endpoint, ReadError, SendError, Sent};

use crate::world::{World, call, server};

#[tokio::test]
async fn f26_a_request_that_may_have_arrived_is_told_from_one_that_has_not() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    world.kit.fault(Fault::cut(At::McpPost, 0).times(1));
    let error = endpoint.send(&call("a")).await.expect_err("cut");
    assert!(matches!(error, SendError::Unreachable { sent: Sent::Perhaps, .. }), "{error:?}");
    assert_eq!(error.disposition(), Disposition::Retry);
    world.kit.fault(Fault::cut(At::McpPost, 20).times(1));
    let error = endpoint.send(&call("a")).await.expect_err("cut in the head");
    assert!(matches!(error, SendError::Unreachable { sent: Sent::Perhaps, .. }), "{error:?}");
    assert_eq!((world.sent(), world.kit.counts().tool_calls["a"]), (2, 2), "nothing was sent twice");

    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = server(&format!("http://{closed}/mcp"));
    let nobody = Endpoint::new(url, Authorization::Configured, http::HeaderMap::new()).expect("an endpoint");
    let error = nobody.send(&call("a")).await.expect_err("nobody is there");
    assert!(matches!(error, SendError::Unreachable { sent: Sent::No, .. }), "{error:?}");
    world.finish(&[]);
}

#[tokio::test]
async fn f25_a_body_is_read_up_to_its_bound_and_a_broken_one_told_apart() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    let text = |length| Fault::falsify(At::McpPost, 200, &[], &"x".repeat(length)).times(1);
    world.kit.fault(text(1000));
    let body = endpoint.send(&call("a")).await.expect("an answer").body(1000).await.expect("a body");
    assert_eq!(body.len(), 1000);
    world.kit.fault(text(1001));
    let error = endpoint.send(&call("a")).await.expect("an answer").body(1000).await.expect_err("too long");
    assert!(matches!(error, ReadError::TooLong(1000)), "{error:?}");
    world.kit.fault(Fault::cut(At::McpPost, 150).times(1));
    let error = endpoint.send(&call("a")).await.expect("a head").body(1000).await.expect_err("broken");
    assert!(matches!(error, ReadError::Broken), "{error:?}");
    world.finish(&[]);
}

#[tokio::test]
async fn p20_nothing_that_can_be_printed_holds_a_secret() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    let mut outgoing = call("planted-in-the-body");
    outgoing.headers.insert("mcp-session-id", http::HeaderValue::from_static("planted-session"));
    let headers = [("mcp-session-id", "planted-session"), ("set-cookie", "planted-cookie")];
    world.kit.fault(Fault::falsify(At::McpPost, 200, &headers, "planted-answer").times(1));
    let answer = endpoint.send(&outgoing).await.expect("an answer");
    world.kit.revoke_grants();
    let error = endpoint.send(&outgoing).await.expect_err("revoked");
    assert!(matches!(error, SendError::SignInRequired { .. }), "{error:?}");
    let shown = format!("{outgoing:?} {answer:?} {endpoint:?} {error:?} {error}");
    assert!(!shown.contains("planted"), "{shown}");
    world.finish(&[shown]);
}
