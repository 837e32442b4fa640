//! An MCP client over a server's sign-in.

use std::error::Error as StdError;
use std::time::Duration;

use linchpin_authority::login_command;
use linchpin_oauth::http::HttpSetupError;
use linchpin_store::Disposition;
use linchpin_transport::SendError;
use linchpin_transport::rmcp::transport;
use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, Implementation, InitializeRequestParams,
    JsonObject, PaginatedRequestParams, ProtocolVersion, Tool,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, RunningService, ServiceError, serve_client_with_lifecycle,
};
use rmcp::transport::streamable_http_client::StreamableHttpError;
use thiserror::Error;

use crate::Server;

/// A server that lists more tools than this, or on more pages, lists them without end (F25).
const MOST_TOOLS: usize = 20_000;
const MOST_PAGES: usize = 1_000;

/// A connected client. Speaks 2026-07-28 where the server does, else the revisions before it.
#[derive(Debug)]
pub struct McpClient {
    service: RunningService<RoleClient, InitializeRequestParams>,
    login: String,
}

/// Why an operation failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server answered with an error.
    #[error("the server answered with error {code}: {message}")]
    Answered {
        /// The JSON-RPC error code.
        code: i32,
        /// The server's message.
        message: String,
    },
    /// A person has to sign in, or the sign-in lacks scopes.
    #[error("{message}")]
    AuthenticationRequired {
        /// Why, and what to run.
        message: String,
        /// The command that signs in.
        command: String,
        /// The challenge, if there was one.
        challenge: Option<String>,
    },
    /// The request could not be sent, or no token was to be had.
    #[error("{message}")]
    Send {
        /// What happened.
        message: String,
        /// What can be done about it.
        disposition: Disposition,
    },
    /// The deadline passed.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The server does not speak the protocol.
    #[error("the server does not speak MCP as expected ({0}); check the URL")]
    Protocol(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Setup(#[from] HttpSetupError),
}

impl ClientError {
    /// What can be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Answered { .. } | Self::Protocol(_) => Disposition::Answered,
            Self::AuthenticationRequired { .. } => Disposition::SignIn,
            Self::Send { disposition, .. } => *disposition,
            Self::TimedOut(_) => Disposition::TimedOut,
            Self::Setup(_) => Disposition::Configuration,
        }
    }
}

impl McpClient {
    /// Connects to `server`, renewing the sign-in first if it must, within `within`.
    ///
    /// # Errors
    /// Every [`ClientError`]. A timeout ends the wait, not a refresh that is running.
    pub async fn connect(server: &Server, within: Duration) -> Result<Self, ClientError> {
        let login = login_command(server.key());
        let endpoint = server.endpoint(http::HeaderMap::new())?;
        let info = InitializeRequestParams::new(
            ClientCapabilities::default(),
            Implementation::new("linchpin", env!("CARGO_PKG_VERSION")),
        );
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        };
        let connecting = serve_client_with_lifecycle(info, transport(endpoint), lifecycle);
        match tokio::time::timeout(within, connecting).await {
            Ok(Ok(service)) => Ok(Self { service, login }),
            Ok(Err(error)) => Err(initialize_error(error, &login)),
            Err(_) => Err(ClientError::TimedOut(within)),
        }
    }

    /// All tools, whatever the number of pages, up to 20,000.
    ///
    /// # Errors
    /// Every [`ClientError`]; [`ClientError::Protocol`] when there is no end of them.
    pub async fn list_tools(&self, within: Duration) -> Result<Vec<Tool>, ClientError> {
        let end = tokio::time::Instant::now() + within;
        let (mut tools, mut cursor) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let page = PaginatedRequestParams::default().with_cursor(cursor.take());
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let page = match self.within(left, self.service.list_tools(Some(page))).await {
                Err(ClientError::TimedOut(_)) => return Err(ClientError::TimedOut(within)),
                page => page?,
            };
            tools.extend(page.tools);
            cursor = page.next_cursor;
            if tools.len() > MOST_TOOLS || cursor.is_none() {
                break;
            }
        }
        if cursor.is_some() || tools.len() > MOST_TOOLS {
            return Err(ClientError::Protocol(format!("it lists tools without end, {} so far", tools.len())));
        }
        Ok(tools)
    }

    /// Calls a tool. An error that the tool reports about itself is a result.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn call_tool(
        &self,
        name: impl Into<String>,
        arguments: JsonObject,
        within: Duration,
    ) -> Result<CallToolResult, ClientError> {
        let params = CallToolRequestParams::new(name.into()).with_arguments(arguments);
        self.within(within, self.service.call_tool(params)).await
    }

    /// Ends the session.
    pub async fn close(self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.service.cancel()).await;
    }

    async fn within<T>(
        &self,
        within: Duration,
        operation: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(within, operation).await {
            Ok(outcome) => outcome.map_err(|error| service_error(error, &self.login)),
            Err(_) => Err(ClientError::TimedOut(within)),
        }
    }
}

fn service_error(error: ServiceError, login: &str) -> ClientError {
    match error {
        ServiceError::McpError(error) => answered(&error),
        ServiceError::TransportSend(error) => sent(error.error.as_ref(), login),
        ServiceError::Timeout { timeout } => ClientError::TimedOut(timeout),
        other => ClientError::Protocol(other.to_string()),
    }
}

fn initialize_error(error: ClientInitializeError, login: &str) -> ClientError {
    match error {
        ClientInitializeError::JsonRpcError(error) => answered(&error),
        ClientInitializeError::TransportError { error, .. } => sent(error.error.as_ref(), login),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => initialize_error(*fallback, login),
        other => ClientError::Protocol(other.to_string()),
    }
}

fn answered(error: &rmcp::ErrorData) -> ClientError {
    ClientError::Answered { code: error.code.0, message: error.message.to_string() }
}

/// An answer that is neither MCP nor about the sign-in: out of order for now, or a refusal.
fn http_status(status: u16, retry_after: Option<&str>) -> ClientError {
    let later = retry_after.filter(|text| text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit()));
    let later = later.map(|seconds| format!(" in {seconds} s")).unwrap_or_default();
    match status {
        408 | 429 | 500.. => ClientError::Send {
            message: format!("the server answered {status}; try again{later}"),
            disposition: Disposition::Retry,
        },
        _ => ClientError::Send {
            message: format!("the server answered {status} to an MCP request; check the URL"),
            disposition: Disposition::Answered,
        },
    }
}

fn authentication_required(message: String, login: &str, challenge: &str) -> ClientError {
    let challenge = Some(challenge.to_owned()).filter(|challenge| !challenge.is_empty());
    ClientError::AuthenticationRequired { message, command: login.to_owned(), challenge }
}

/// What the transport failed with, found where rmcp put it.
fn sent(error: &(dyn StdError + 'static), login: &str) -> ClientError {
    let mut source = Some(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<StreamableHttpError<SendError>>() {
            return match error {
                StreamableHttpError::Client(error @ SendError::SignInRequired { challenge, .. }) => {
                    authentication_required(error.to_string(), login, challenge)
                }
                StreamableHttpError::Client(error) => {
                    ClientError::Send { message: error.to_string(), disposition: error.disposition() }
                }
                StreamableHttpError::HttpStatus(error) => {
                    http_status(error.status, error.retry_after.as_deref())
                }
                // How the transport tells of any other status.
                StreamableHttpError::UnexpectedServerResponse(text)
                    if text.strip_prefix("HTTP ").is_some_and(|status| status.parse::<u16>().is_ok()) =>
                {
                    http_status(text[5..].parse().unwrap_or_default(), None)
                }
                other => match other.auth_challenge() {
                    Some(challenge) => {
                        let message = format!("the server refuses the sign-in; run `{login}`");
                        authentication_required(message, login, challenge)
                    }
                    None => ClientError::Protocol(other.to_string()),
                },
            };
        }
        source = cause.source();
    }
    ClientError::Protocol(error.to_string())
}
