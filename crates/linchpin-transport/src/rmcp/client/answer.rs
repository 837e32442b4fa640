//! What a server's answer, or the lack of one, is to rmcp.

use http::StatusCode;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
    ServerResult,
};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, InsufficientScopeError, StreamableHttpError,
    StreamableHttpPostResponse,
};

use super::Error;
use crate::{Answer, SendError};

/// Keeps the markers that rmcp's callers look for (P17).
pub(super) fn send_error(error: SendError) -> Error {
    match error {
        SendError::AuthenticationRequired { challenge, .. } => {
            StreamableHttpError::AuthRequired(AuthRequiredError::new(challenge))
        }
        SendError::InsufficientScope { challenge, scope, .. } => {
            StreamableHttpError::InsufficientScope(InsufficientScopeError::new(challenge, scope))
        }
        other => StreamableHttpError::Client(other),
    }
}

/// A 401 to what the user configured: the challenge passes as it is (P19).
pub(super) fn unauthorized(answer: &Answer) -> Error {
    StreamableHttpError::AuthRequired(AuthRequiredError::new(answer.challenge()))
}

/// An HTTP error: the JSON-RPC error in it if there is one.
pub(super) async fn error_answer(
    answer: Answer,
    session: Option<String>,
    asked: &ClientJsonRpcMessage,
    limit: usize,
) -> Result<StreamableHttpPostResponse, Error> {
    let status = answer.status();
    let retry_after = answer.header("retry-after").map(str::to_owned);
    if let Some(missing) = answer.insufficient_scope() {
        let missing = InsufficientScopeError::new(answer.challenge(), missing.scope().map(str::to_owned));
        return Err(StreamableHttpError::InsufficientScope(missing));
    }
    let request = match asked {
        JsonRpcMessage::Request(request) => Some(request),
        _ => None,
    };
    let is_json = answer.is_of_type("application/json");
    let body = if is_json { answer.body(limit).await.ok() } else { None };
    let body = body.and_then(|body| serde_json::from_slice::<ServerJsonRpcMessage>(&body).ok());
    if let Some(JsonRpcMessage::Error(error)) = body {
        let id = answered(error.id, request.map(|request| &request.id));
        return Ok(StreamableHttpPostResponse::Json(ServerJsonRpcMessage::error(error.error, id), session));
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(StreamableHttpError::HttpStatus(HttpStatusError::new(status.as_u16(), retry_after)));
    }
    if let Some(request) = request
        && matches!(request.request, ClientRequest::DiscoverRequest(_))
        && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    {
        // What stands before a server of an older revision turns an unknown method away in its own words.
        let error = ErrorData::invalid_request(format!("server/discover was answered {status}"), None);
        let error = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
        return Ok(StreamableHttpPostResponse::Json(error, session));
    }
    Err(StreamableHttpError::UnexpectedServerResponse(format!("HTTP {}", status.as_u16()).into()))
}

/// Some servers of an older revision answer every method with something, `server/discover` too. They do not know it, and
/// are asked to `initialize`.
pub(super) fn unless_undiscovered(
    asked: &ClientJsonRpcMessage,
    answer: ServerJsonRpcMessage,
) -> ServerJsonRpcMessage {
    match (asked, &answer) {
        (JsonRpcMessage::Request(request), JsonRpcMessage::Response(response))
            if matches!(request.request, ClientRequest::DiscoverRequest(_))
                && !matches!(response.result, ServerResult::DiscoverResult(_)) =>
        {
            let error = ErrorData::invalid_request("server/discover was answered with something else", None);
            ServerJsonRpcMessage::error(error, Some(response.id.clone()))
        }
        _ => answer,
    }
}

/// An HTTP error to a request is about that request, whatever id is in it: some servers put one of their own there.
fn answered(said: Option<RequestId>, asked: Option<&RequestId>) -> Option<RequestId> {
    asked.cloned().or(said)
}
