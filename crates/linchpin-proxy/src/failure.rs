//! What a client is told when its request has no answer.

use bytes::Bytes;
use linchpin_store::Disposition;
use linchpin_transport::SendError;
use serde_json::json;
use serde_json::value::RawValue;

/// Server errors of JSON-RPC (-32000 to -32099) that the bridge answers with.
const FAILED: i64 = -32000;
/// A person has to sign in.
const SIGN_IN_REQUIRED: i64 = -32001;

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be sent, or was refused.
    Send(SendError),
    /// The connection ended before the answer.
    Lost,
    /// The session was lost again right after it was opened anew.
    SessionLost,
    /// The server's answer cannot be passed on.
    Answer(String),
}

impl Failure {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Send(error) => error.disposition(),
            Self::Lost | Self::SessionLost => Disposition::Retry,
            Self::Answer(_) => Disposition::Answered,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Send(error) => error.fmt(f),
            Self::Lost => f.write_str(
                "the connection to the server was lost before the answer came; the request was not sent again, \
                 since it may have been carried out",
            ),
            Self::SessionLost => f.write_str("the server forgot the session again right after it was opened anew"),
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
