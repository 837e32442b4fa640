//! What a client can ask of a server, in either era of the protocol.

#![expect(deprecated, reason = "logging is on its way out of the protocol, but servers of today have it")]

use linchpin::rmcp::ClientHandler;
use linchpin::rmcp::model::{
    ClientConfig, ElicitRequestParams, ElicitResult, ErrorCode, ErrorData, LoggingLevel, ProtocolVersion,
    Reference, SubscriptionFilter,
};
use linchpin::rmcp::service::{RequestContext, RoleClient};
use linchpin::{ClientError, Disposition, McpClient};
use serde_json::{Map, json};

use crate::world::{Accepting, LEGACY, World, arguments, call, text};

async fn lists_reads_and_completes(client: &McpClient) {
    let tools = client.list_tools().await.expect("tools");
    assert!(tools.iter().any(|tool| tool.name == "echo"));
    let resources = client.list_resources().await.expect("resources");
    let uris: Vec<_> = resources.iter().map(|resource| resource.uri.as_str()).collect();
    assert_eq!(uris, ["test:///one", "test:///two"], "both pages");
    assert_eq!(client.list_resource_templates().await.expect("templates").len(), 1);
    let read = client.read_resource("test:///two").await.expect("read");
    assert!(serde_json::to_string(&read).expect("JSON").contains("this is test:///two"));
    assert_eq!(client.list_prompts().await.expect("prompts")[0].name, "greet");
    let prompt = client.get_prompt("greet", arguments(json!({ "who": "Ada" }))).await.expect("a prompt");
    assert!(serde_json::to_string(&prompt).expect("JSON").contains("Hello, Ada!"));
    let completed =
        client.complete(Reference::for_prompt("greet"), "who", "A", None).await.expect("completed");
    assert_eq!(completed.values, ["A!"]);
    let echoed = client.call_tool("echo", arguments(json!({ "a": 1 }))).await.expect("called");
    assert_eq!(text(&echoed), "{\"a\":1}");
    let failed = client.call_tool("fail", Map::new()).await.expect("a result");
    assert_eq!(failed.is_error, Some(true));
    let unknown = client.call_tool("no-such-tool", Map::new()).await.expect_err("an error");
    assert!(matches!(unknown, ClientError::Answered { code: -32602, .. }), "{unknown:?}");
    assert_eq!(unknown.disposition(), Disposition::Answered);
    let mut steps = Vec::new();
    let called = client
        .call_tool("progress", arguments(json!({ "steps": 20 })))
        .on_progress(|report| steps.push(report.progress))
        .await;
    assert_eq!(text(&called.expect("called")), "20 steps");
    let expected: Vec<f64> = (1..=20).map(f64::from).collect();
    assert_eq!(steps, expected, "all of it, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_sessions_has_every_operation_of_its_revision() {
    let world = World::new().await;
    let client = world.legacy().await;
    assert_eq!(client.revision(), LEGACY);
    let info = client.server_info();
    assert_eq!(info.server_info.as_ref().expect("named").name, "linchpin-testkit");
    lists_reads_and_completes(&client).await;
    client.ping().await.expect("pinged");
    client.subscribe("test:///one").await.expect("subscribed");
    client.unsubscribe("test:///one").await.expect("unsubscribed");
    client.set_logging_level(LoggingLevel::Warning).await.expect("set");
    client.notify_roots_changed().await.expect("sent");
    assert_eq!(world.requests("POST notifications/roots/list_changed"), 1);
    let error = client.listen(SubscriptionFilter::new()).await.expect_err("not in this revision");
    assert!(matches!(error, ClientError::NotInThisRevision { .. }), "{error:?}");
    client.close().await;
    assert_eq!(world.kit.counts().sessions_deleted, 1);
    world.finish(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_sessions_has_every_operation_of_its_revision() {
    let world = World::new().await;
    let client = world.modern().await;
    assert_eq!(client.revision(), ProtocolVersion::V_2026_07_28);
    lists_reads_and_completes(&client).await;
    for error in
        [client.ping().await, client.subscribe("test:///one").await, client.notify_roots_changed().await]
    {
        assert!(matches!(error, Err(ClientError::NotInThisRevision { .. })), "{error:?}");
    }
    client.set_logging_level(LoggingLevel::Warning).await.expect("noted");
    call(&client, "a").await.expect("called");
    let last = world.kit.seen().pop().expect("a request");
    assert!(String::from_utf8_lossy(&last.body).contains("io.modelcontextprotocol/logLevel\":\"warning\""));
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    let subscription = client.listen(filter).await.expect("listens");
    drop(subscription);
    client.close().await;
    assert_eq!((world.requests("GET"), world.requests("DELETE")), (0, 0));
    world.finish(&[]);
}

#[tokio::test]
async fn what_a_server_of_2026_07_28_needs_to_know_goes_to_the_handler() {
    let world = World::new().await;
    let handler = Accepting::default();
    let client = world.connect(McpClient::builder().handler(handler.clone())).await;
    let greeted = client.call_tool("greet", Map::new()).await.expect("called");
    assert_eq!(text(&greeted), "Hello, Ada!");
    assert_eq!(
        (world.sent(), handler.heard.lock().expect("whole").as_slice()),
        (3, ["Who?".to_owned()].as_slice())
    );
    world.finish(&[]);
}

#[tokio::test]
async fn f25_a_server_that_lists_without_end_is_left() {
    let world = World::signed_out(|config| config.endless_tools = true).await;
    world.sign_in().await;
    let client = world.modern().await;
    let error = client.list_tools().await.expect_err("endless");
    assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
    assert_eq!(world.requests("POST tools/list"), 1000);
    world.finish(&[]);
}

/// Asked, it fails.
#[derive(Debug, Clone)]
struct Refusing;

impl ClientHandler for Refusing {
    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Err(ErrorData::new(ErrorCode(-32099), "nobody is here", None))
    }

    fn get_info(&self) -> ClientConfig {
        Accepting::default().get_info()
    }
}

#[tokio::test]
async fn an_error_of_the_clients_own_handler_is_not_taken_for_the_servers() {
    let world = World::new().await;
    let client = world.connect(McpClient::builder().handler(Refusing)).await;
    let error = client.call_tool("greet", Map::new()).await.expect_err("refused");
    assert!(matches!(error, ClientError::Handler { code: -32099, .. }), "{error:?}");
    assert!(!error.to_string().contains("the server answered"), "{error}");
    assert_eq!((error.disposition(), world.sent()), (Disposition::Usage, 1));
    world.finish(&[]);
}
