//! Drives an MCP server with `McpClient`: `linchpin-driver URL [REVISION]`. Says what it got as a line of JSON after each
//! part, and goes on when a line comes in: first every kind of message, then calls whatever has become of the token or
//! the session meanwhile, as often as it is asked, until its input ends.

#![expect(deprecated, reason = "sampling is on its way out of the protocol, but servers of today have it")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use linchpin::rmcp::model::{
    CallToolResult, ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability, Implementation, JsonObject,
    ProtocolVersion, Role, SamplingCapability, SamplingMessage, SamplingMessageContentBlock,
};
use linchpin::rmcp::service::{RequestContext, RoleClient};
use linchpin::rmcp::{ClientHandler, ErrorData};
use linchpin::{Linchpin, McpClient, PlainHttp, Profile, ServerUrl};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// How long a part may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("usage: linchpin-driver URL [REVISION]")?;
    let linchpin = Linchpin::from_env()?;
    let url = ServerUrl::parse(&url, PlainHttp::LoopbackOnly)?;
    let server = linchpin.server(url, Profile::default()).await;
    let mut client = McpClient::builder().handler(Person).within(PATIENCE).deadline(PATIENCE);
    if let Some(revision) = arguments.next() {
        client = client.revision(serde_json::from_value::<ProtocolVersion>(revision.into())?);
    }
    let client = client.connect(&server).await?;
    say(&every_message(&client).await?);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(nonce) = lines.next_line().await? {
        say(&calls(&client, &nonce).await?);
    }
    client.close().await;
    linchpin.drain(PATIENCE).await;
    Ok(())
}

/// One of everything that the server has a tool for.
async fn every_message(client: &McpClient) -> Result<Value> {
    let mut tools: Vec<_> =
        client.list_tools().await?.into_iter().map(|tool| tool.name.into_owned()).collect();
    tools.sort();
    let has = |name: &str| tools.iter().any(|tool| tool == name);
    let steps = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&steps);
    let progress = client
        .call_tool("progress", arguments(&json!({ "steps": 3 })))
        .on_progress(move |step| noted.lock().unwrap_or_else(PoisonError::into_inner).push(step.progress))
        .await?;
    let mut told = json!({
        "revision": client.revision(),
        "server": client.server_info().server_info.as_ref().map(|server| server.name.clone()),
        "echo": call(client, "echo", json!({ "text": "line\u{2028}\n\"ß\"" })).await?,
        "progress": text(&progress),
        "steps": *steps.lock().unwrap_or_else(PoisonError::into_inner),
    });
    for name in ["elicit", "sample"] {
        if has(name) {
            told[name] = call(client, name, json!({})).await.unwrap_or_else(|error| error.to_string()).into();
        }
    }
    // One call, however often its stream is taken up again: no other process has this nonce.
    let nonce = format!("interrupted-{}", std::process::id());
    told["interrupted"] =
        call(client, "interrupted", json!({ "nonce": nonce })).await?.replace(&nonce, "it").into();
    told["tools"] = json!(tools);
    Ok(told)
}

/// Five calls at once that count.
async fn calls(client: &McpClient, nonce: &str) -> Result<Value> {
    let calls = (0..5).map(|number| call(client, "count", json!({ "nonce": format!("{nonce}-{number}") })));
    let answers = futures::future::join_all(calls).await;
    Ok(json!(
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|error| error.to_string()))
            .collect::<Vec<_>>()
    ))
}

async fn call(client: &McpClient, name: &str, given: Value) -> Result<String> {
    let result =
        client.call_tool(name, arguments(&given)).await.with_context(|| format!("calling {name}"))?;
    Ok(text(&result))
}

fn arguments(given: &Value) -> JsonObject {
    given.as_object().cloned().unwrap_or_default()
}

/// The first text of a result.
fn text(result: &CallToolResult) -> String {
    let text = result.content.first().and_then(|content| content.as_text());
    text.map(|text| text.text.clone()).unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "what the checks read")]
fn say(told: &Value) {
    println!("{told}");
}

/// Answers what a server asks a person and a model for.
#[derive(Debug, Clone)]
struct Person;

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = Some(ElicitationCapability::default());
        capabilities.sampling = Some(SamplingCapability::default());
        ClientConfig::new(capabilities, Implementation::new("interop", "1.0.0"))
    }

    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "Ada" })))
    }

    async fn create_message(
        &self,
        _params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let word = SamplingMessage::new(Role::Assistant, SamplingMessageContentBlock::text("word"));
        Ok(CreateMessageResult::new(word, "parrot".to_owned()))
    }
}
