//! Asking a server, as somebody it does not know, whether it wants a sign-in.

use std::fmt;

use http::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use linchpin_store::ServerUrl;
use serde_json::Value;

use super::SignInError;
use super::discover::{MAX_METADATA, TIMEOUT};
use crate::challenge::{Challenge, Challenges};
use crate::http::{Reach, credential_client, read_body};

/// How the server meets somebody it does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Met {
    /// What it answered; unknown when only its challenge was told.
    status: Option<StatusCode>,
    /// The Bearer challenge in a form that cannot be misread.
    challenge: Option<String>,
    /// Whether it spoke MCP with them.
    open: bool,
}

impl Met {
    /// Met elsewhere: all that is known is the `WWW-Authenticate` of a refusal, its lines joined by commas.
    pub(super) fn challenged(text: &str) -> Self {
        let challenges = Challenges::parse_text(text);
        Self { status: None, challenge: challenges.bearer().map(Challenge::to_plain), open: false }
    }

    pub(super) fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "answered {}", status.as_u16()),
            None => f.write_str("asks for a sign-in"),
        }
    }
}

/// Begins a session without a token, and sees whether the server lets it.
pub(super) async fn probe(server: &ServerUrl) -> Result<Met, SignInError> {
    const INITIALIZE: &str = concat!(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"#,
        r#""clientInfo":{"name":"linchpin","version":""#,
        env!("CARGO_PKG_VERSION"),
        r#""}}}"#
    );
    let unreachable =
        |problem: &str| SignInError::Unreachable { who: server.to_string(), problem: problem.to_owned() };
    // Where the server is was the user's choice; the filter is for what metadata says.
    let client = credential_client(server.url(), Reach::Private)?;
    let request = client
        .request(Method::POST, server.url().clone())
        .header(ACCEPT, "application/json, text/event-stream")
        .header(CONTENT_TYPE, "application/json")
        .timeout(TIMEOUT)
        .body(INITIALIZE);
    let response = request.send().await.map_err(|error| {
        unreachable(if error.is_timeout() {
            "did not answer in time"
        } else {
            "could not be connected to; check the URL and the network"
        })
    })?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(unreachable(&format!("answered {}", status.as_u16())));
    }
    let challenges = Challenges::parse(response.headers().get_all(WWW_AUTHENTICATE));
    let challenge = challenges.bearer().map(Challenge::to_plain);
    let mut open = false;
    if status.is_success() {
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let streamed = content_type.starts_with("text/event-stream");
        open = streamed || read_body(response, MAX_METADATA).await.is_ok_and(|body| is_json_rpc(&body));
    }
    Ok(Met { status: Some(status), challenge, open })
}

fn is_json_rpc(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|value| value.get("jsonrpc").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_that_was_met_elsewhere_is_read_like_one_met_here() {
        let met = Met::challenged(
            r#"Basic realm="scope=evil", Bearer error="insufficient_scope", scope="write", resource_metadata="https://mcp.example/meta""#,
        );
        let plain = r#"Bearer resource_metadata="https://mcp.example/meta", scope="write", error="insufficient_scope""#;
        assert_eq!((met.challenge(), met.is_open()), (Some(plain), false));
        assert_eq!(met.to_string(), "asks for a sign-in");
        for nothing in ["", "Basic realm=\"x\"", "\u{7f}"] {
            assert_eq!(Met::challenged(nothing).challenge(), None, "{nothing:?}");
        }
    }
}
