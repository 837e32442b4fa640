//! What is sent again after its connection broke: only what does no harm twice.

use std::time::Duration;

use linchpin::Disposition;
use linchpin_testkit::{Endpoint as At, Fault};
use serde_json::json;

use crate::world::{World, call};

#[tokio::test]
async fn f26_a_call_whose_answer_is_lost_is_not_sent_again_unless_the_tool_only_reads() {
    let world = World::new().await;
    let client = world.modern().await;
    let lose = || Fault::lose(At::McpPost).of_method("tools/call").times(1);
    world.kit.fault(lose());
    let error = call(&client, "a").await.expect_err("lost");
    assert_eq!(error.disposition(), Disposition::Retry, "{error:?}");
    assert_eq!((world.sent(), world.kit.counts().tool_calls["a"]), (1, 1));
    // Listed as one that only reads, it is.
    let reading = json!({ "name": "count", "inputSchema": { "type": "object" },
        "annotations": { "readOnlyHint": true } });
    world.kit.configure(|config| config.more_tools = vec![reading]);
    client.list_tools().await.expect("listed");
    world.kit.fault(lose());
    call(&client, "b").await.expect("sent again");
    assert_eq!((world.sent(), world.kit.counts().tool_calls["b"]), (3, 2));
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn a_list_whose_answer_is_lost_is_asked_for_once_more_and_no_oftener() {
    let world = World::new().await;
    let client = world.modern().await;
    world.kit.fault(Fault::cut(At::McpPost, 200).of_method("resources/list").times(1));
    assert_eq!(client.list_resources().await.expect("listed").len(), 2);
    assert_eq!(world.requests("POST resources/list"), 3);
    world.kit.fault(Fault::lose(At::McpPost).of_method("prompts/list"));
    let error = client.list_prompts().await.expect_err("lost twice");
    assert_eq!(error.disposition(), Disposition::Retry, "{error:?}");
    assert_eq!(world.requests("POST prompts/list"), 2);
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_answer_is_resumed_in_a_session_and_the_tool_runs_once() {
    let world = World::signed_out(|config| config.sse = true).await;
    world.sign_in().await;
    let client = world.legacy().await;
    // Broken after its first event, refused on resumption, and then resumed.
    world.kit.fault(Fault::cut(At::McpPost, 300).of_method("tools/call").times(1));
    world.kit.fault(Fault::status(At::McpGet, 401).times(1));
    let long = "n".repeat(400);
    client
        .call_tool("count", crate::world::arguments(json!({ "nonce": long })))
        .within(Duration::from_secs(20))
        .await
        .expect("resumed");
    let counts = world.kit.counts();
    assert_eq!((world.sent(), counts.tool_calls[&long], counts.resumes, counts.exchanges), (1, 1, 1, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn f26_a_stream_that_breaks_without_a_way_to_resume_is_not_called_again_and_said_to_have_broken() {
    let world = World::signed_out(|config| config.sse = true).await;
    world.sign_in().await;
    let client = world.modern().await;
    world.kit.fault(Fault::cut(At::McpPost, 300).of_method("tools/call").times(1));
    let long = "n".repeat(400);
    let error = call(&client, &long).await.expect_err("broken");
    assert_eq!(error.disposition(), Disposition::Retry, "{error:?}");
    assert!(error.to_string().contains("broke off"), "{error}");
    assert_eq!((world.sent(), world.kit.counts().tool_calls[&long]), (1, 1));
    assert!(!client.is_closed());
    call(&client, "b").await.expect("called");
    world.finish(&[format!("{error} {error:?}")]);
}
