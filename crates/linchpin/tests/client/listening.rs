//! The event stream while nobody is signed in, and after a new sign-in (P18).

use std::time::Duration;

use linchpin_testkit::{Endpoint as At, Fault};

use crate::world::{World, call};

#[tokio::test]
async fn p18_nothing_is_sent_while_signed_out_and_the_stream_opens_after_a_sign_in_elsewhere() {
    let world = World::new().await;
    let client = world.legacy().await;
    // The session stays; its stream breaks, and no token is good any more.
    world.kit.revoke_grants();
    let error = call(&client, "a").await.expect_err("ended");
    assert_eq!(error.disposition(), linchpin::Disposition::SignIn, "{error:?}");
    world.kit.end_streams();
    world.until("the stream is gone", || world.kit.streams() == 0).await;
    let before = world.kit.counts();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let then = world.kit.counts();
    assert_eq!(then.mcp_requests, before.mcp_requests, "something was sent while signed out");
    assert_eq!(then.token_requests, before.token_requests);
    world.sign_in().await;
    world.until("it listens again", || world.kit.streams() > 0).await;
    assert_eq!(world.requests("GET"), before.mcp_requests["GET"] + 1);
    call(&client, "b").await.expect("called");
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn p18_a_server_that_is_busy_for_a_while_is_asked_again_after_a_pause() {
    let world = World::new().await;
    world.kit.fault(Fault::status(At::McpGet, 503).times(1));
    let client = world.legacy().await;
    assert_eq!(world.requests("GET"), 2);
    call(&client, "a").await.expect("called");
    world.finish(&[]);
}
