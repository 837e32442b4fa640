//! What the suite asks for: the server, the scenario, the revision, and what was agreed beforehand.

use anyhow::{Context as _, Result};
use linchpin::rmcp::model::ProtocolVersion;
use linchpin::{PlainHttp, Secret, ServerUrl};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One run of the client.
#[derive(Debug)]
pub(crate) struct Task {
    /// The scenario's name.
    pub(crate) scenario: String,
    /// The server to speak to.
    pub(crate) server: ServerUrl,
    /// The revision that the server speaks.
    pub(crate) revision: ProtocolVersion,
    /// What the person was given beforehand.
    pub(crate) given: Given,
}

/// What the person was given beforehand. Scenarios give different parts of it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Given {
    /// A client that is registered.
    pub(crate) client_id: Option<String>,
    /// Its secret.
    #[serde(default, deserialize_with = "secret")]
    pub(crate) client_secret: Option<Secret>,
    /// Its private key, PKCS #8 in PEM.
    #[serde(default, deserialize_with = "secret")]
    pub(crate) private_key_pem: Option<Secret>,
    /// Tools to call, in place of whatever the server lists.
    #[serde(default, rename = "toolCalls")]
    pub(crate) tool_calls: Vec<ToolCall>,
}

/// One call of a tool.
#[derive(Debug, Deserialize)]
pub(crate) struct ToolCall {
    /// The tool.
    pub(crate) name: String,
    /// Its arguments.
    #[serde(default)]
    pub(crate) arguments: Map<String, Value>,
}

impl Task {
    /// Reads the command line and the environment.
    pub(crate) fn read() -> Result<Self> {
        let url = std::env::args().nth(1).context("usage: linchpin-conformance URL")?;
        let scenario = variable("MCP_CONFORMANCE_SCENARIO").context("MCP_CONFORMANCE_SCENARIO is not set")?;
        let revision = variable("MCP_CONFORMANCE_PROTOCOL_VERSION");
        let revision = revision.context("MCP_CONFORMANCE_PROTOCOL_VERSION is not set")?;
        Self::new(&url, scenario, &revision, variable("MCP_CONFORMANCE_CONTEXT").as_deref())
    }

    fn new(url: &str, scenario: String, revision: &str, context: Option<&str>) -> Result<Self> {
        let server = ServerUrl::parse(url, PlainHttp::LoopbackOnly)?;
        let revision = serde_json::from_value(Value::from(revision)).context("no revision of MCP")?;
        let given = context.map_or_else(|| Ok(Given::default()), serde_json::from_str);
        Ok(Self { scenario, server, revision, given: given.context("MCP_CONFORMANCE_CONTEXT")? })
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

#[expect(clippy::disallowed_methods, reason = "the one home of this program's environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(context: Option<&str>) -> Result<Task> {
        Task::new("http://localhost:3000/mcp", "tools_call".to_owned(), "2025-11-25", context)
    }

    #[test]
    fn what_was_given_is_read_and_secrets_are_not_shown() {
        let context = r#"{"name":"x","client_id":"c","client_secret":"planted","issuer":"http://i",
            "toolCalls":[{"name":"t","arguments":{"a":1}},{"name":"u"}]}"#;
        let given = task(Some(context)).expect("a task").given;
        assert_eq!((given.client_id.as_deref(), given.tool_calls.len()), (Some("c"), 2));
        assert_eq!(given.tool_calls[0].arguments["a"], 1);
        assert!(given.client_secret.is_some() && !format!("{given:?}").contains("planted"), "{given:?}");
        let without = task(None).expect("a task");
        assert_eq!((without.revision.as_str(), without.given.tool_calls.len()), ("2025-11-25", 0));
        assert!(task(Some("no JSON")).is_err());
    }
}
