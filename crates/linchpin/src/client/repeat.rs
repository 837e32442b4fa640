//! What may be sent again. After a 401 or an unknown session, anything: the server has not looked at it. After a
//! broken connection, only what surely did not arrive, or does no harm twice.

use linchpin_transport::Sent;
use rmcp::model::{ClientRequest, Tool};

/// What a second run of a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing that the first has not done: a list, a read, a tool that says so of itself.
    Harmless,
    /// Perhaps something more.
    Unknown,
}

impl Repeat {
    /// Of a request, and of the tool that it calls as it was last listed.
    pub(super) fn of(request: &ClientRequest, tool: Option<Hints>) -> Self {
        match request {
            ClientRequest::CallToolRequest(_) => tool.map_or(Self::Unknown, Hints::repeat),
            ClientRequest::PingRequest(_)
            | ClientRequest::DiscoverRequest(_)
            | ClientRequest::CompleteRequest(_)
            | ClientRequest::SetLevelRequest(_)
            | ClientRequest::GetPromptRequest(_)
            | ClientRequest::ListPromptsRequest(_)
            | ClientRequest::ListResourcesRequest(_)
            | ClientRequest::ListResourceTemplatesRequest(_)
            | ClientRequest::ReadResourceRequest(_)
            | ClientRequest::SubscribeRequest(_)
            | ClientRequest::UnsubscribeRequest(_)
            | ClientRequest::ListToolsRequest(_)
            | ClientRequest::GetTaskRequest(_)
            | ClientRequest::ListSkillsRequest(_)
            | ClientRequest::GetSkillRequest(_)
            | ClientRequest::ReadResourceDirectoryRequest(_) => Self::Harmless,
            _ => Self::Unknown,
        }
    }

    /// Whether it may be sent again after the connection broke.
    pub(super) fn after_broken(self, sent: Sent) -> bool {
        match (self, sent) {
            (_, Sent::No) | (Self::Harmless, Sent::Perhaps) => true,
            (Self::Unknown, Sent::Perhaps) => false,
        }
    }
}

/// What a tool says of itself in its annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hints {
    read_only: bool,
    idempotent: bool,
}

impl Hints {
    pub(super) fn of(tool: &Tool) -> Self {
        let annotations = tool.annotations.as_ref();
        let says = |hint: Option<bool>| hint == Some(true);
        Self {
            read_only: says(annotations.and_then(|annotations| annotations.read_only_hint)),
            idempotent: says(annotations.and_then(|annotations| annotations.idempotent_hint)),
        }
    }

    fn repeat(self) -> Repeat {
        if self.read_only || self.idempotent { Repeat::Harmless } else { Repeat::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{
        CallToolRequest, CallToolRequestParams, CustomRequest, ListToolsRequest, ReadResourceRequest,
        ReadResourceRequestParams, ToolAnnotations,
    };

    use super::*;

    fn call() -> ClientRequest {
        ClientRequest::CallToolRequest(CallToolRequest::new(CallToolRequestParams::new("t")))
    }

    fn hints(read_only: Option<bool>, idempotent: Option<bool>) -> Hints {
        let annotations = ToolAnnotations::from_raw(None, read_only, None, idempotent, None);
        Hints::of(&Tool::new("t", "t", serde_json::Map::new()).with_annotations(annotations))
    }

    #[test]
    fn p17_only_what_is_harmless_twice_is_sent_again_after_a_broken_connection() {
        let list = ClientRequest::ListToolsRequest(ListToolsRequest::default());
        let read =
            ClientRequest::ReadResourceRequest(ReadResourceRequest::new(ReadResourceRequestParams::new("u")));
        let custom = ClientRequest::CustomRequest(CustomRequest::new("x/y", None));
        for (what, request, tool, perhaps) in [
            ("a list", &list, None, true),
            ("a read", &read, None, true),
            ("an unknown method", &custom, None, false),
            ("a tool never listed", &call(), None, false),
            ("a tool that says nothing", &call(), Some(hints(None, None)), false),
            ("a tool that writes", &call(), Some(hints(Some(false), Some(false))), false),
            ("a tool that only reads", &call(), Some(hints(Some(true), None)), true),
            ("an idempotent tool", &call(), Some(hints(Some(false), Some(true))), true),
        ] {
            let repeat = Repeat::of(request, tool);
            assert_eq!(repeat.after_broken(Sent::Perhaps), perhaps, "{what}, perhaps processed");
            assert!(repeat.after_broken(Sent::No), "{what}, surely not sent");
        }
    }
}
