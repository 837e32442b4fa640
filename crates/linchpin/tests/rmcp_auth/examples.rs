//! The examples, run against the kit with a token that has ended.

use std::time::Duration;

use linchpin::McpClient;
use linchpin::rmcp::model::{CallToolResult, JsonObject};
use linchpin_testkit::{Endpoint as At, Fault};
use serde_json::{Value, json};

use crate::world::World;

/// What is `main` of an example is nobody's here.
macro_rules! example {
    ($name:ident, $path:literal) => {
        #[allow(dead_code, unreachable_pub, missing_docs)]
        #[path = $path]
        mod $name;
    };
}

example!(agent, "../../examples/agent.rs");
example!(call, "../../examples/call.rs");
example!(deadline, "../../examples/deadline.rs");
example!(rmcp_manager, "../../examples/rmcp_manager.rs");

fn text(result: &CallToolResult) -> &str {
    result.content.first().and_then(|content| content.as_text()).map_or("", |text| text.text.as_str())
}

fn object(given: Value) -> JsonObject {
    serde_json::from_value(given).expect("an object")
}

#[tokio::test]
async fn a_program_connects_and_calls_in_fifteen_lines() {
    let world = World::new(|_| {}).await;
    world.plant(true).await;
    let result = call::call(&world.linchpin(), &world.kit.mcp_url(), "echo").await.expect("called");
    assert_eq!((text(&result), world.kit.counts().exchanges), ("{}", 1));
    world.finish(&[]);
}

#[tokio::test]
async fn p18_a_call_waits_no_longer_than_it_may_and_the_next_finds_the_refresh_done() {
    let world = World::new(|_| {}).await;
    world.plant(false).await;
    let client = McpClient::connect(&world.server().await).await.expect("connected");
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::hold(At::Token).times(1));
    let limit = Duration::from_millis(200);
    assert!(deadline::call_within(&client, "echo", limit).await.expect("timed out").is_none());
    world.until("the exchange is under way", || world.kit.held() == 1).await;
    world.kit.release();
    let result = deadline::call_within(&client, "echo", Duration::from_secs(20)).await.expect("called");
    assert_eq!(result.as_ref().map(text), Some("{}"));
    assert_eq!(world.kit.counts().exchanges, 1);
    client.close().await;
    world.finish(&[]);
}

#[tokio::test]
async fn an_agent_answers_for_a_person_and_a_model_and_sees_progress() {
    // Servers ask in sessions; without them they have what they need sent along.
    let world = World::new(|config| (config.modern, config.record) = (false, true)).await;
    world.plant(true).await;
    let server = world.server().await;
    let agent = agent::Agent::default();
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
    let question = json!({ "mode": "form", "message": "Who?", "requestedSchema": schema });
    let given = object(json!({ "method": "elicitation/create", "params": question, "sse": true }));
    let result = agent::run(&agent, &server, "ask", given).await.expect("called");
    assert!(text(&result).starts_with("answered"), "{result:?}");
    let message = json!({ "role": "user", "content": { "type": "text", "text": "Say a word." } });
    let prompt = json!({ "messages": [message], "maxTokens": 5 });
    let given = object(json!({ "method": "sampling/createMessage", "params": prompt, "sse": true }));
    let result = agent::run(&agent, &server, "ask", given).await.expect("called");
    assert!(text(&result).starts_with("answered"), "{result:?}");
    let answered = |with: &[u8]| {
        world.kit.seen().iter().any(|seen| seen.body.windows(with.len()).any(|part| part == with))
    };
    assert!(answered(b"Ada") && answered(b"parrot"), "the answers arrived");
    let result =
        agent::run(&agent, &server, "progress", object(json!({ "steps": 2 }))).await.expect("called");
    assert_eq!(text(&result), "2 steps");
    assert_eq!(agent.seen(), ["asked: Who?", "prompted with 1 messages", "progress 1", "progress 2"]);
    assert_eq!((world.kit.counts().exchanges, world.kit.counts().client_answers), (1, 2));
    world.finish(&[]);
}

#[tokio::test]
async fn a_program_on_rmcp_needs_one_line() {
    let world = World::new(|_| {}).await;
    world.plant(true).await;
    let result = rmcp_manager::call(&world.server().await, "echo").await.expect("called");
    assert_eq!((text(&result), world.kit.counts().exchanges), ("{}", 1));
    world.finish(&[]);
}
