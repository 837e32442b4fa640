//! An agent with handlers of its own: it answers what servers ask a person and a model for, and shows progress.
//! `cargo run --example agent -- URL TOOL [ARGUMENTS]`

#![expect(deprecated, reason = "sampling is on its way out of the protocol, but servers of today have it")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linchpin::rmcp::model::{
    CallToolResult, ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability, Implementation, JsonObject,
    Role, SamplingCapability, SamplingMessage, SamplingMessageContentBlock,
};
use linchpin::rmcp::service::{RequestContext, RoleClient};
use linchpin::rmcp::{ClientHandler, ErrorData};
use linchpin::{ClientError, Linchpin, McpClient, PlainHttp, Profile, Server, ServerUrl};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(tool)) = (arguments.next(), arguments.next()) else {
        return Err("usage: agent URL TOOL [ARGUMENTS]".into());
    };
    let given = arguments.next().map_or(Ok(JsonObject::new()), |text| serde_json::from_str(&text))?;
    let linchpin = Linchpin::from_env()?;
    let server = linchpin.server(ServerUrl::parse(&url, PlainHttp::LoopbackOnly)?, Profile::default()).await;
    let agent = Agent::default();
    println!("{:?}", run(&agent, &server, &tool, given).await?.content);
    println!("{:#?}", agent.seen());
    linchpin.drain(Duration::from_secs(60)).await;
    Ok(())
}

/// What an agent knows beside its tools. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Agent(Arc<Mutex<Vec<String>>>);

impl Agent {
    /// What came to it, in order.
    pub fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn see(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

/// One call, with all that the server may want meanwhile.
pub async fn run(
    agent: &Agent,
    server: &Server,
    tool: &str,
    given: JsonObject,
) -> Result<CallToolResult, ClientError> {
    let client = McpClient::builder().handler(agent.clone()).connect(server).await?;
    let result = client
        .call_tool(tool, given)
        .on_progress(|step| agent.see(format!("progress {}", step.progress)))
        .within(Duration::from_secs(30))
        .await;
    client.close().await;
    result
}

impl ClientHandler for Agent {
    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = Some(ElicitationCapability::default());
        capabilities.sampling = Some(SamplingCapability::default());
        ClientConfig::new(capabilities, Implementation::new("agent", "1.0.0"))
    }

    /// A person would be asked here.
    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { message, .. } = request else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        self.see(format!("asked: {message}"));
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "Ada" })))
    }

    /// A model would be asked here.
    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.see(format!("prompted with {} messages", params.messages.len()));
        let word = SamplingMessage::new(Role::Assistant, SamplingMessageContentBlock::text("word"));
        Ok(CreateMessageResult::new(word, "parrot".to_owned()))
    }
}
