//! The tools of the test server.

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Message, error, result};
use crate::kit::Shared;
use crate::stream::EventLog;

/// Who listens while a tool runs.
pub(super) enum Peer {
    /// Nobody: the answer is all.
    Nobody,
    /// A client with a session, which answers requests.
    Stream { session: String, log: EventLog },
    /// A client without a session, which only listens.
    Listener { log: EventLog },
}

impl Peer {
    fn log(&self) -> Option<&EventLog> {
        match self {
            Self::Nobody => None,
            Self::Stream { log, .. } | Self::Listener { log } => Some(log),
        }
    }
}

/// One call.
pub(super) struct Call {
    name: String,
    arguments: Value,
    arguments_text: String,
    progress_token: Option<Box<RawValue>>,
    input_responses: Value,
    request_state: Option<String>,
}

/// What a tool gives back.
pub(super) enum Outcome {
    Result(Value),
    /// What the client is to say first (2026-07-28).
    InputRequired(Value),
    Error(i64, String),
}

impl Outcome {
    pub(super) fn into_message(self, id: &str) -> String {
        match self {
            Self::Result(value) | Self::InputRequired(value) => result(id, &value),
            Self::Error(code, message) => error(id, code, &message, None),
        }
    }

    /// With the `resultType` of 2026-07-28.
    pub(super) fn complete(mut self) -> Self {
        match &mut self {
            Self::Result(value) => value["resultType"] = json!("complete"),
            Self::InputRequired(value) => value["resultType"] = json!("input_required"),
            Self::Error(..) => {}
        }
        self
    }
}

impl Call {
    pub(super) fn parse(message: &Message) -> Self {
        #[derive(serde::Deserialize, Default)]
        struct Params {
            #[serde(default)]
            name: String,
            #[serde(default)]
            arguments: Option<Box<RawValue>>,
            #[serde(default, rename = "_meta")]
            meta: Meta,
            #[serde(default, rename = "inputResponses")]
            input_responses: Value,
            #[serde(default, rename = "requestState")]
            request_state: Option<String>,
        }
        #[derive(serde::Deserialize, Default)]
        struct Meta {
            #[serde(default, rename = "progressToken")]
            progress_token: Option<Box<RawValue>>,
        }
        let params: Params =
            message.params.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let arguments_text = params.arguments.map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned());
        Self {
            name: params.name,
            arguments: serde_json::from_str(&arguments_text).unwrap_or_default(),
            arguments_text,
            progress_token: params.meta.progress_token,
            input_responses: params.input_responses,
            request_state: params.request_state,
        }
    }

    /// Whether this tool needs a stream.
    pub(super) fn streams(&self) -> bool {
        matches!(self.name.as_str(), "ask" | "progress")
    }

    pub(super) fn asks_for_sse(&self) -> bool {
        self.arguments["sse"].as_bool().unwrap_or(false)
    }

    fn number(&self, name: &str) -> u64 {
        self.arguments[name].as_u64().unwrap_or(0)
    }
}

/// The result of `tools/list`, but for what revisions put beside it.
pub(super) fn page(shared: &Shared) -> Value {
    let mut page = json!({ "tools": list(shared) });
    if shared.config().endless_tools {
        page["nextCursor"] = json!("more");
    }
    page
}

/// The tools, as `tools/list` describes them.
fn list(shared: &Shared) -> Value {
    let tool = |name: &str, description: &str, properties: Value| {
        json!({ "name": name, "description": description,
            "inputSchema": { "type": "object", "properties": properties } })
    };
    let mut tools = vec![
        tool("echo", "Gives its arguments back, to the letter", json!({})),
        tool("count", "Counts a call by its nonce", json!({ "nonce": { "type": "string" } })),
        tool("slow", "Answers after some milliseconds", json!({ "ms": { "type": "integer" } })),
        tool("ask", "Asks the client something first", json!({ "method": { "type": "string" } })),
        tool("big", "Answers with so many bytes", json!({ "bytes": { "type": "integer" } })),
        tool("fail", "Fails", json!({})),
        tool("progress", "Reports progress first", json!({ "steps": { "type": "integer" } })),
        tool("greet", "Asks for a name first", json!({})),
        tool("region", "Has a header", json!({ "region": { "type": "string", "x-mcp-header": "Region" } })),
    ];
    tools.extend(shared.config().more_tools.iter().cloned());
    Value::Array(tools)
}

fn text(text: impl Into<String>) -> Outcome {
    Outcome::Result(json!({ "content": [{ "type": "text", "text": text.into() }] }))
}

pub(super) async fn run(shared: &Shared, call: &Call, peer: &Peer) -> Outcome {
    if let Some(nonce) = call.arguments["nonce"].as_str() {
        *shared.counts().tool_calls.entry(nonce.to_owned()).or_default() += 1;
    }
    let pause = Duration::from_millis(call.number("ms"));
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    match call.name.as_str() {
        "echo" | "region" => text(&call.arguments_text),
        "count" | "slow" => text(call.arguments["nonce"].as_str().unwrap_or("done")),
        "big" => text("x".repeat(usize::try_from(call.number("bytes")).unwrap_or(0).min(64 << 20))),
        "fail" => {
            Outcome::Result(json!({ "content": [{ "type": "text", "text": "it failed" }], "isError": true }))
        }
        "progress" => progress(call, peer).await,
        "ask" => ask(shared, call, peer).await,
        "greet" => greet(call),
        other => Outcome::Error(-32602, format!("unknown tool {other}")),
    }
}

async fn progress(call: &Call, peer: &Peer) -> Outcome {
    let steps = call.number("steps").max(1);
    if let (Some(log), Some(token)) = (peer.log(), &call.progress_token) {
        for step in 1..=steps {
            log.push(format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":\
                 {{\"progressToken\":{},\"progress\":{step},\"total\":{steps}}}}}",
                token.get()
            ));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    text(format!("{steps} steps"))
}

/// The rounds of 2026-07-28: once for the name, once for nothing but the state, and then the greeting.
fn greet(call: &Call) -> Outcome {
    match (call.request_state.as_deref(), call.input_responses["who"]["content"]["name"].as_str()) {
        (None, _) => Outcome::InputRequired(json!({ "requestState": "asked", "inputRequests": { "who": {
            "method": "elicitation/create", "params": { "mode": "form", "message": "Who?",
                "requestedSchema": { "type": "object", "properties": { "name": { "type": "string" } } } } } } })),
        (Some("asked"), Some(name)) => Outcome::InputRequired(json!({ "requestState": name })),
        (Some("asked"), None) => Outcome::Error(-32602, "no name".to_owned()),
        (Some(name), _) => text(format!("Hello, {name}!")),
    }
}

async fn ask(shared: &Shared, call: &Call, peer: &Peer) -> Outcome {
    let Peer::Stream { session, log } = peer else { return text("nobody to ask") };
    let asked = shared.sessions().ask(session);
    let Some((id, answered)) = asked else { return Outcome::Error(-32603, "the session is gone".to_owned()) };
    let method = call.arguments["method"].as_str().unwrap_or("ping");
    log.push(
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": call.arguments["params"] })
            .to_string(),
    );
    match tokio::time::timeout(Duration::from_secs(20), answered).await {
        Ok(Ok(answer)) => text(format!("answered {}", answer.as_str().unwrap_or_default())),
        _ => Outcome::Error(-32603, "the client did not answer".to_owned()),
    }
}
