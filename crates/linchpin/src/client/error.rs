//! Why an operation failed, and what can be done about it.

use std::error::Error as StdError;
use std::time::Duration;

use linchpin_authority::{CredentialError, SignInReason};
use linchpin_oauth::http::HttpSetupError;
use linchpin_store::Disposition;
use linchpin_transport::{Allowance, SendError, Sent};
use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpError;
use serde_json::Value;
use thiserror::Error;

/// Why an operation failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server answered with a JSON-RPC error.
    #[error("the server answered with error {code}: {message}")]
    Answered {
        /// The JSON-RPC error code.
        code: i32,
        /// The server's message.
        message: String,
        /// What the server put beside it.
        data: Option<Value>,
    },
    /// The client's own handler refused what the server needs to know before it answers. The server was not told.
    #[error("the client's handler answered the server's question with error {code}: {message}")]
    Handler {
        /// The handler's JSON-RPC error code.
        code: i32,
        /// Its message.
        message: String,
        /// What it put beside it.
        data: Option<Value>,
    },
    /// A person has to sign in: nobody has, the sign-in has ended, or the server refuses it even after the one
    /// recovery that an operation has (P17).
    #[error("{problem}; run `{command}`")]
    AuthenticationRequired {
        /// What happened.
        problem: String,
        /// The command that signs in.
        command: String,
        /// The challenge of the server's last 401 (RFC 9110 section 11.6.1), all lines joined by commas; `None` when
        /// there was none.
        challenge: Option<String>,
    },
    /// The access token has ended, and the provider gave nothing to renew it with. A person has to sign in.
    #[error("{problem}; run `{command}`")]
    TokenExpired {
        /// What happened.
        problem: String,
        /// The command that signs in.
        command: String,
    },
    /// The sign-in lacks scopes for this request (RFC 6750 section 3.1). A person has to grant them.
    #[error("{problem}; run `{command}`")]
    InsufficientScope {
        /// What happened.
        problem: String,
        /// The scopes that the server asks for; empty when it did not say which.
        scopes: Vec<String>,
        /// The command that signs in with them, besides those granted before.
        command: String,
        /// The challenge.
        challenge: String,
    },
    /// The request could not be sent, or no token was to be had.
    #[error("{message}")]
    Send {
        /// What happened.
        message: String,
        /// What can be done about it.
        disposition: Disposition,
    },
    /// The deadline passed. What was sent may have been processed; a refresh that is running goes on, and the next
    /// operation finds its result (P18).
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The caller cancelled it. What was sent may have been processed; nothing is wrong, so its disposition is
    /// [`Disposition::Retry`]: it may be asked for again.
    #[error("cancelled")]
    Cancelled,
    /// The revision of the protocol that is spoken has no such operation.
    #[error("{operation} is not part of MCP {revision}{instead}")]
    NotInThisRevision {
        /// What was asked for.
        operation: &'static str,
        /// The revision.
        revision: ProtocolVersion,
        /// What there is instead, ready to be read on.
        instead: &'static str,
    },
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
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
            Self::AuthenticationRequired { .. }
            | Self::TokenExpired { .. }
            | Self::InsufficientScope { .. } => Disposition::SignIn,
            Self::Send { disposition, .. } => *disposition,
            Self::TimedOut(_) => Disposition::TimedOut,
            Self::Cancelled | Self::Closed => Disposition::Retry,
            Self::Handler { .. } | Self::NotInThisRevision { .. } => Disposition::Usage,
            Self::Setup(_) => Disposition::Configuration,
        }
    }

    /// The challenge of the server's 401 or 403, if that is what it failed with.
    pub fn challenge(&self) -> Option<&str> {
        match self {
            Self::AuthenticationRequired { challenge, .. } => challenge.as_deref(),
            Self::InsufficientScope { challenge, .. } => Some(challenge),
            _ => None,
        }
    }

    pub(super) fn handler(error: rmcp::ErrorData) -> Self {
        Self::Handler { code: error.code.0, message: error.message.into_owned(), data: error.data }
    }

    pub(super) fn answered(error: rmcp::ErrorData) -> Self {
        Self::Answered { code: error.code.0, message: error.message.into_owned(), data: error.data }
    }
}

/// A failed attempt, and whether the request may have arrived.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: ClientError,
    /// The connection broke before there was an answer.
    pub(super) broken: Option<Sent>,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self { error, broken: None }
    }
}

/// What turns rmcp's errors into this crate's: whose operation it was, and what would sign in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) login: &'a str,
    pub(super) allowance: &'a Allowance,
    /// What the caller gave, for the text.
    pub(super) limit: Option<Duration>,
    /// Whether the client itself has ended.
    pub(super) closed: bool,
}

impl Reading<'_> {
    pub(super) fn service_error(self, error: ServiceError) -> Failure {
        match error {
            ServiceError::McpError(error) if is_broken(&error) => {
                Failure { error: ClientError::answered(error), broken: Some(Sent::Perhaps) }
            }
            ServiceError::McpError(error) => ClientError::answered(error).into(),
            ServiceError::TransportSend(error) => self.sent(error.error.as_ref()),
            ServiceError::Timeout { timeout } => ClientError::TimedOut(timeout).into(),
            ServiceError::Cancelled { .. } => ClientError::Cancelled.into(),
            // rmcp says the same of a client that has ended and of an answer whose stream broke.
            ServiceError::TransportClosed => match self.allowance.failure() {
                Some(failure) => self.send_error(&failure),
                None if self.closed => ClientError::Closed.into(),
                None => Failure {
                    error: ClientError::Send {
                        message: "the server broke off in the middle of its answer".to_owned(),
                        disposition: Disposition::Retry,
                    },
                    broken: Some(Sent::Perhaps),
                },
            },
            other => ClientError::Protocol(other.to_string()).into(),
        }
    }

    pub(super) fn initialize_error(self, error: ClientInitializeError) -> ClientError {
        match error {
            ClientInitializeError::JsonRpcError(error) => ClientError::answered(error),
            ClientInitializeError::TransportError { error, .. } => self.sent(error.error.as_ref()).error,
            ClientInitializeError::LegacyFallbackFailed { fallback, .. } => self.initialize_error(*fallback),
            other => ClientError::Protocol(other.to_string()),
        }
    }

    /// What the transport failed with, found where rmcp put it.
    fn sent(self, error: &(dyn StdError + 'static)) -> Failure {
        let mut source = Some(error);
        while let Some(cause) = source {
            if let Some(error) = cause.downcast_ref::<StreamableHttpError<SendError>>() {
                return self.transport_error(error);
            }
            source = cause.source();
        }
        ClientError::Protocol(error.to_string()).into()
    }

    fn transport_error(self, error: &StreamableHttpError<SendError>) -> Failure {
        match error {
            StreamableHttpError::Client(error) => self.send_error(error),
            StreamableHttpError::HttpStatus(error) => {
                http_status(error.status, error.retry_after.as_deref()).into()
            }
            StreamableHttpError::AuthRequired(refused) => self
                .authentication_required("the server refuses the sign-in", &refused.www_authenticate_header),
            StreamableHttpError::InsufficientScope(missing) => {
                self.insufficient_scope(missing.required_scope.as_deref(), &missing.www_authenticate_header)
            }
            StreamableHttpError::SessionExpired
            | StreamableHttpError::ReinitializationFailed(_)
            | StreamableHttpError::MissingSessionIdInResponse => ClientError::Send {
                message: "the server has forgotten the session and does not open it again; try again later"
                    .to_owned(),
                disposition: Disposition::Retry,
            }
            .into(),
            StreamableHttpError::SessionRecoveryTimeout => Failure {
                error: ClientError::Send {
                    message: "the session was lost and could not be opened again in time; try again"
                        .to_owned(),
                    disposition: Disposition::Retry,
                },
                broken: Some(Sent::Perhaps),
            },
            StreamableHttpError::TransportChannelClosed => ClientError::Closed.into(),
            // How the transport tells of any other status.
            StreamableHttpError::UnexpectedServerResponse(text) => {
                match text.strip_prefix("HTTP ").and_then(|status| status.parse().ok()) {
                    Some(status) => http_status(status, None).into(),
                    None => ClientError::Protocol(error.to_string()).into(),
                }
            }
            other => ClientError::Protocol(other.to_string()).into(),
        }
    }

    fn send_error(self, error: &SendError) -> Failure {
        let broken = if let SendError::Unreachable { sent, .. } = error { Some(*sent) } else { None };
        let error = match error {
            SendError::Credential(error) => self.credential_error(error, ""),
            SendError::SignInRequired { error, challenge } => self.credential_error(error, challenge),
            SendError::AuthenticationRequired { challenge, .. } => {
                return self.authentication_required("the server refuses the sign-in", challenge);
            }
            SendError::InsufficientScope { scope, challenge, .. } => {
                return self.insufficient_scope(scope.as_deref(), challenge);
            }
            SendError::Over { .. } => self.timed_out(error),
            other => ClientError::Send { message: other.to_string(), disposition: other.disposition() },
        };
        Failure { error, broken }
    }

    /// Why there is no token.
    pub(super) fn credential_error(self, error: &CredentialError, challenge: &str) -> ClientError {
        let command = self.login.to_owned();
        match error {
            CredentialError::SignInRequired { key, reason } => {
                let problem = format!("sign-in required for {key}: {reason}");
                match reason {
                    SignInReason::NotRenewable if challenge.is_empty() => {
                        ClientError::TokenExpired { problem, command }
                    }
                    _ => ClientError::AuthenticationRequired { problem, command, challenge: some(challenge) },
                }
            }
            CredentialError::TimedOut { .. } => self.timed_out(error),
            other => ClientError::Send { message: other.to_string(), disposition: other.disposition() },
        }
    }

    fn timed_out(self, error: &dyn StdError) -> ClientError {
        match self.limit {
            Some(limit) if self.allowance.is_over() => ClientError::TimedOut(limit),
            // A shorter wait of a single message, or none that has an end.
            _ => ClientError::Send { message: error.to_string(), disposition: Disposition::TimedOut },
        }
    }

    fn authentication_required(self, problem: &str, challenge: &str) -> Failure {
        ClientError::AuthenticationRequired {
            problem: problem.to_owned(),
            command: self.login.to_owned(),
            challenge: some(challenge),
        }
        .into()
    }

    fn insufficient_scope(self, scope: Option<&str>, challenge: &str) -> Failure {
        let scopes: Vec<_> = scope.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        let plain = scopes.iter().all(|scope| scope.chars().all(is_plain));
        let (asked, wanted) = if plain && !scopes.is_empty() {
            let scopes = scopes.join(" ");
            (format!(" ({scopes})"), format!(" --scope '{scopes}'"))
        } else {
            (String::new(), String::new())
        };
        ClientError::InsufficientScope {
            problem: format!("the server asks for more rights{asked}"),
            scopes,
            command: format!("{}{wanted}", self.login),
            challenge: challenge.to_owned(),
        }
        .into()
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// What may stand between single quotes in a command to copy.
fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '\'' | '"' | '\\')
}

/// Whether rmcp says by this error that the answer was lost with its session.
fn is_broken(error: &rmcp::ErrorData) -> bool {
    let reopened = "streamable HTTP session was re-initialized before the response arrived";
    error.data.is_none() && error.message == reopened
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
