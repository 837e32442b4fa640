//! What a client is told when its request has no answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use linchpin_store::Disposition;
use linchpin_transport::{Answer, SendError, Sent};
use serde_json::json;
use serde_json::value::RawValue;

/// Server errors of JSON-RPC (-32000 to -32099) that the bridge answers with.
const FAILED: i64 = -32000;
/// A person has to sign in.
const SIGN_IN_REQUIRED: i64 = -32001;

/// What is said of a request that nobody knows the fate of.
const NOT_SENT_AGAIN: &str = "the request was not sent again, since it may have been carried out";

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be sent, or was refused.
    Send(SendError),
    /// The server answered with an HTTP error.
    Status {
        /// The status.
        status: StatusCode,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The connection ended before the answer.
    Lost,
    /// The session was lost, and the server could not be asked for another.
    Reopening(SendError),
    /// The session was lost again right after it was opened anew.
    SessionLost,
    /// The server's answer cannot be passed on.
    Answer(String),
}

impl Failure {
    /// The failure that an answer with an HTTP error is.
    pub(crate) fn of(answer: &Answer) -> Self {
        Self::Status { status: answer.status(), retry_after: answer.retry_after() }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Send(error) | Self::Reopening(error) => error.disposition(),
            Self::Status { status, .. } if is_temporary(*status) => Disposition::Retry,
            Self::Lost | Self::SessionLost => Disposition::Retry,
            Self::Status { .. } | Self::Answer(_) => Disposition::Answered,
        }
    }
}

/// Whether a status says that the same request may work later.
fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error @ SendError::Unreachable { sent: Sent::Perhaps, .. }) => {
                write!(f, "{error}; {NOT_SENT_AGAIN}")
            }
            Self::Send(error) | Self::Reopening(error) => error.fmt(f),
            Self::Status { status, retry_after } => {
                write!(f, "the server answered {}", status.as_u16())?;
                match (*status, retry_after) {
                    (StatusCode::NOT_FOUND, _) => f.write_str("; check the URL"),
                    (StatusCode::UNAUTHORIZED, _) => {
                        f.write_str("; check the Authorization header that is configured")
                    }
                    (status, Some(wait)) if is_temporary(status) => {
                        write!(f, "; try again in {} s", wait.as_secs().max(1))
                    }
                    (status, None) if is_temporary(status) => f.write_str("; try again"),
                    _ => Ok(()),
                }
            }
            Self::Lost => {
                write!(f, "the connection to the server was lost before the answer came; {NOT_SENT_AGAIN}")
            }
            Self::SessionLost => {
                f.write_str("the server forgot the session again right after it was opened anew")
            }
            Self::Answer(problem) => f.write_str(problem),
        }
    }
}

/// The error answer to the request `id`, as a line.
pub(crate) fn answer(id: &str, failure: &Failure) -> Bytes {
    let disposition = failure.disposition();
    let code = if disposition == Disposition::SignIn { SIGN_IN_REQUIRED } else { FAILED };
    error(id, code, &failure.to_string(), disposition)
}

/// The error answer to a line that is no message.
pub(crate) fn malformed(problem: &str, code: i64) -> Bytes {
    error("null", code, problem, Disposition::Usage)
}

/// The error answer to the request `id` with an error object that the server wrote for no request in particular.
pub(crate) fn passed_on(id: &str, error: &RawValue) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{}}}", error.get()).into()
}

fn error(id: &str, code: i64, message: &str, disposition: Disposition) -> Bytes {
    let data = json!({ "linchpin": { "disposition": disposition.word() } });
    let error = json!({ "code": code, "message": message, "data": data });
    // The id is the client's own text, which a JSON value could not hold to the letter.
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into()
}
