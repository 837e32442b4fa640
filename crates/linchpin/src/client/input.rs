//! What a server needs to know before it answers: the `input_required` results of 2026-07-28, whose questions go to
//! the client's handler as those of a session do.

use std::time::Duration;

use rmcp::model::{
    ClientRequest, ClientResult, GetExtensions as _, GetMeta as _, InputRequest, InputRequiredResult,
    InputResponses, NumberOrString, ServerRequest, ServerResult,
};
use rmcp::service::{RequestContext, Service as _};
use serde_json::Value;

use super::operation::Running;
use super::{ClientError, McpClient};

/// A server that asks more often than this asks without end.
const MOST_ROUNDS: u32 = 10;
/// The first pause before a server that only wants to be asked again is; it doubles, up to half a minute.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a request carries the answers.
pub(super) trait Asked {
    /// The request with these answers, and the state that the server gave.
    fn answered(&self, responses: Option<InputResponses>, state: Option<String>) -> ClientRequest;
}

impl Running<'_> {
    /// One request, with as many rounds as the server needs, up to ten.
    pub(super) async fn with_input(&mut self, asked: &impl Asked) -> Result<ServerResult, ClientError> {
        let mut request = asked.answered(None, None);
        let mut idle_rounds = 0;
        for _ in 0..MOST_ROUNDS {
            let required = match self.request(request).await? {
                ServerResult::InputRequiredResult(required) => required,
                result => return Ok(result),
            };
            let InputRequiredResult { input_requests, request_state, .. } = required;
            let mut responses = InputResponses::new();
            for (key, question) in input_requests.unwrap_or_default() {
                let answer = self.client.ask(&key, question).await?;
                responses.insert(key, answer);
            }
            if responses.is_empty() {
                tokio::time::sleep(FIRST_PAUSE.saturating_mul(1 << idle_rounds).min(LONGEST_PAUSE)).await;
                idle_rounds += 1;
            } else {
                idle_rounds = 0;
            }
            request =
                asked.answered(Some(responses).filter(|responses| !responses.is_empty()), request_state);
        }
        Err(ClientError::Protocol(format!("it asked for input {MOST_ROUNDS} times without an answer")))
    }
}

impl McpClient {
    /// The handler's answer to one question.
    async fn ask(&self, key: &str, question: InputRequest) -> Result<Value, ClientError> {
        let mut request = match question {
            InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
            InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
            InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
            _ => return Err(ClientError::Protocol("it asks for input of an unknown kind".to_owned())),
        };
        let id = NumberOrString::String(key.into());
        let mut context = RequestContext::new(id, self.peer().clone());
        std::mem::swap(&mut context.meta, request.get_meta_mut());
        std::mem::swap(&mut context.extensions, request.extensions_mut());
        let result = self.handler.handle_request(request, context).await;
        let result = result.map_err(ClientError::handler)?;
        let value = match &result {
            ClientResult::CreateMessageResult(result) => serde_json::to_value(result),
            ClientResult::ElicitResult(result) => serde_json::to_value(result),
            ClientResult::ListRootsResult(result) => serde_json::to_value(result),
            other => serde_json::to_value(other),
        };
        value.map_err(|error| ClientError::Protocol(format!("the handler's answer cannot be sent: {error}")))
    }
}
