//! rmcp over an endpoint: it frames messages and keeps sessions, and gets no token.

use std::error::Error;
use std::time::Duration;

use linchpin_store::Disposition;
use linchpin_testkit::{Endpoint as At, Fault};
use linchpin_transport::rmcp::transport;
use linchpin_transport::{SendError, Sent};
use rmcp::RoleClient;
use rmcp::model::CallToolRequestParams;
use rmcp::service::{RunningService, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpError;

use crate::world::World;

type Client = RunningService<RoleClient, ()>;

async fn connect(world: &World) -> Client {
    let client = rmcp::serve_client((), transport(world.endpoint())).await.expect("connected");
    world.until("it listens", || world.kit.counts().mcp_requests.contains_key("GET")).await;
    client
}

async fn call(client: &Client, nonce: &str) -> Result<(), ServiceError> {
    let mut arguments = serde_json::Map::new();
    arguments.insert("nonce".to_owned(), nonce.into());
    client.call_tool(CallToolRequestParams::new("count").with_arguments(arguments)).await.map(|_| ())
}

/// The transport's error, where rmcp put it.
fn cause(error: &ServiceError) -> &StreamableHttpError<SendError> {
    let ServiceError::TransportSend(sent) = error else { panic!("{error:?}") };
    let mut source: Option<&(dyn Error + 'static)> = Some(sent.error.as_ref());
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return found;
        }
        source = cause.source();
    }
    panic!("{error:?}")
}

#[tokio::test]
async fn p15_rmcp_works_through_refused_tokens_and_lost_sessions() {
    let world = World::new().await;
    let client = connect(&world).await;
    call(&client, "a").await.expect("called");
    world.kit.refuse_access_tokens();
    let calls = (0..20).map(|number| {
        let client = &client;
        async move { call(client, &format!("n{number}")).await.expect("called") }
    });
    futures::future::join_all(calls).await;
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.calls_run(), counts.calls_doubled()), (1, 21, 0));
    world.kit.drop_sessions();
    call(&client, "b").await.expect("called");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.sessions_opened, counts.tool_calls["b"]), (1, 2, 1));
    client.cancel().await.expect("ended");
    assert_eq!(world.kit.counts().sessions_deleted, 1);
    world.finish(&[]);
}

#[tokio::test]
async fn p17_a_token_refused_again_keeps_the_marker_that_rmcp_has_for_it() {
    let world = World::new().await;
    let client = connect(&world).await;
    let challenge = [("www-authenticate", "Bearer error=\"invalid_token\"")];
    world.kit.fault(Fault::replace(At::McpPost, 401, &challenge, "").of_method("tools/call").times(2));
    let error = call(&client, "a").await.expect_err("refused");
    assert_eq!(cause(&error).auth_challenge(), Some(challenge[0].1));
    let rights = [("www-authenticate", "Bearer error=\"insufficient_scope\", scope=\"x\"")];
    world.kit.fault(Fault::replace(At::McpPost, 403, &rights, "").of_method("tools/call").times(1));
    let error = call(&client, "a").await.expect_err("refused");
    let StreamableHttpError::InsufficientScope(missing) = cause(&error) else { panic!("{error:?}") };
    assert!(format!("{missing:?}").contains("scope=\\\"x\\\""), "{missing:?}");
    assert_eq!((world.kit.counts().exchanges, world.sent(), world.kit.counts().calls_run()), (1, 3, 0));
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn p18_the_listener_of_rmcp_ends_with_the_sign_in() {
    let world = World::new().await;
    let client = connect(&world).await;
    world.kit.revoke_grants();
    world.kit.drop_sessions();
    let error = call(&client, "a").await.expect_err("ended");
    let StreamableHttpError::Client(ended) = cause(&error) else { panic!("{error:?}") };
    assert_eq!(ended.disposition(), Disposition::SignIn);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let then = world.kit.counts().mcp_requests["GET"];
    assert!(then <= 3, "{then} attempts");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let counts = world.kit.counts();
    assert_eq!((counts.mcp_requests["GET"], counts.token_requests["refresh_token"]), (then, 1));
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn f26_an_answer_that_breaks_off_is_not_called_too_long_and_the_tool_is_not_run_again() {
    let world = World::new().await;
    let client = connect(&world).await;
    world.kit.fault(Fault::cut(At::McpPost, 180).of_method("tools/call").times(1));
    let error = call(&client, "a").await.expect_err("cut");
    let StreamableHttpError::Client(broken) = cause(&error) else { panic!("{error:?}") };
    assert!(matches!(broken, SendError::Unreachable { sent: Sent::Perhaps, .. }), "{broken:?}");
    assert_eq!(broken.disposition(), Disposition::Retry);
    assert_eq!((world.sent(), world.kit.counts().tool_calls["a"]), (1, 1));
    call(&client, "b").await.expect("called");
    world.finish(&[]);
}
