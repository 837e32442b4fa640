//! What a client can ask of a server.

// Logging, roots and sampling are on their way out of the protocol, but servers of today have them.
#![expect(deprecated, reason = "the revisions before 2026-07-28 have them, and most servers speak those")]

use rmcp::model::{
    ArgumentInfo, CallToolRequest, CallToolRequestParams, CallToolResult, ClientNotification, ClientRequest,
    CompleteRequest, CompleteRequestParams, CompletionContext, CompletionInfo, GetPromptRequest,
    GetPromptRequestParams, GetPromptResult, InputResponses, JsonObject, ListPromptsRequest,
    ListResourceTemplatesRequest, ListResourcesRequest, ListToolsRequest, LoggingLevel,
    PaginatedRequestParams, PingRequest, ProgressNotificationParam, Prompt, ReadResourceRequest,
    ReadResourceRequestParams, ReadResourceResult, Reference, Resource, ResourceTemplate,
    RootsListChangedNotification, ServerResult, SetLevelRequest, SetLevelRequestParams, SubscribeRequest,
    SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequest, UnsubscribeRequestParams,
};
use rmcp::service::{ServiceError, Subscription};

use super::input::Asked;
use super::operation::{Operation, Running};
use super::{ClientError, McpClient, lock};

/// A server that lists more of anything than this, or on more pages, lists it without end (F25).
const MOST_ITEMS: usize = 20_000;
const MOST_PAGES: usize = 1_000;

/// Lists of everything, whatever the number of pages.
macro_rules! list {
    ($(#[$docs:meta])* $name:ident -> $item:ident, $request:ident, $result:ident, $field:ident, $what:literal) => {
        $(#[$docs])*
        pub fn $name(&self) -> Operation<'_, Vec<$item>> {
            Operation::new(self, async |mut running: Running<'_>| {
                running
                    .pages($what, |page| ClientRequest::$request($request::with_param(page)), |result| {
                        match result {
                            ServerResult::$result(page) => Some((page.$field, page.next_cursor)),
                            _ => None,
                        }
                    })
                    .await
            })
        }
    };
}

impl McpClient {
    /// All tools. Those that say of themselves that they only read, or do no more when run twice, are remembered:
    /// calls of them may be repeated after a broken connection.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] when there is no end of them (20,000).
    pub fn list_tools(&self) -> Operation<'_, Vec<Tool>> {
        Operation::new(self, async |mut running: Running<'_>| {
            let tools = running
                .pages(
                    "tools",
                    |page| ClientRequest::ListToolsRequest(ListToolsRequest::with_param(page)),
                    |result| match result {
                        ServerResult::ListToolsResult(page) => Some((page.tools, page.next_cursor)),
                        _ => None,
                    },
                )
                .await?;
            running.client.learn(&tools);
            Ok(tools)
        })
    }

    list! {
        /// All resources.
        ///
        /// # Errors
        /// [`ClientError::Protocol`] when there is no end of them (20,000).
        list_resources -> Resource, ListResourcesRequest, ListResourcesResult, resources, "resources"
    }

    list! {
        /// All templates of resources.
        ///
        /// # Errors
        /// [`ClientError::Protocol`] when there is no end of them (20,000).
        list_resource_templates -> ResourceTemplate, ListResourceTemplatesRequest,
        ListResourceTemplatesResult, resource_templates, "resource templates"
    }

    list! {
        /// All prompts.
        ///
        /// # Errors
        /// [`ClientError::Protocol`] when there is no end of them (20,000).
        list_prompts -> Prompt, ListPromptsRequest, ListPromptsResult, prompts, "prompts"
    }

    /// Calls a tool. An error that the tool reports about itself is a result. What the server asks on the way goes to
    /// the client's handler.
    pub fn call_tool(&self, name: impl Into<String>, arguments: JsonObject) -> Operation<'_, CallToolResult> {
        self.call_tool_with(CallToolRequestParams::new(name.into()).with_arguments(arguments))
    }

    /// The same, with every parameter.
    pub fn call_tool_with(&self, params: CallToolRequestParams) -> Operation<'_, CallToolResult> {
        Operation::new(self, async move |mut running: Running<'_>| {
            match running.with_input(&params).await? {
                ServerResult::CallToolResult(result) => Ok(result),
                // A result without content looks like one of nothing.
                ServerResult::EmptyResult(_) => Ok(CallToolResult::default()),
                _ => Err(unexpected("a tool call")),
            }
        })
    }

    /// The contents of a resource.
    pub fn read_resource(&self, uri: impl Into<String>) -> Operation<'_, ReadResourceResult> {
        let params = ReadResourceRequestParams::new(uri);
        Operation::new(self, async move |mut running: Running<'_>| {
            match running.with_input(&params).await? {
                ServerResult::ReadResourceResult(result) => Ok(result),
                _ => Err(unexpected("the reading of a resource")),
            }
        })
    }

    /// A prompt with its arguments filled in.
    pub fn get_prompt(
        &self,
        name: impl Into<String>,
        arguments: impl Into<Option<JsonObject>>,
    ) -> Operation<'_, GetPromptResult> {
        let mut params = GetPromptRequestParams::new(name);
        params.arguments = arguments.into();
        Operation::new(self, async move |mut running: Running<'_>| {
            match running.with_input(&params).await? {
                ServerResult::GetPromptResult(result) => Ok(result),
                _ => Err(unexpected("a prompt")),
            }
        })
    }

    /// How an argument of a prompt or of a resource template may go on after `value`, given those in `context`.
    pub fn complete(
        &self,
        reference: Reference,
        argument: impl Into<String>,
        value: impl Into<String>,
        context: Option<CompletionContext>,
    ) -> Operation<'_, CompletionInfo> {
        let mut params = CompleteRequestParams::new(reference, ArgumentInfo::new(argument, value));
        params.context = context;
        let request = ClientRequest::CompleteRequest(CompleteRequest::new(params));
        Operation::new(self, async move |mut running: Running<'_>| match running.request(request).await? {
            ServerResult::CompleteResult(result) => Ok(result.completion),
            _ => Err(unexpected("a completion")),
        })
    }

    /// Asks to be told (`on_resource_updated` of the handler) when a resource changes. Up to 2025-11-25; a session
    /// that is opened anew does not remember it.
    ///
    /// # Errors
    /// [`ClientError::NotInThisRevision`] from 2026-07-28 on, which has [`McpClient::listen`].
    pub fn subscribe(&self, uri: impl Into<String>) -> Operation<'_, ()> {
        let request =
            ClientRequest::SubscribeRequest(SubscribeRequest::new(SubscribeRequestParams::new(uri)));
        self.legacy("resources/subscribe", "; use `listen`", request)
    }

    /// Takes that back.
    ///
    /// # Errors
    /// As [`McpClient::subscribe`].
    pub fn unsubscribe(&self, uri: impl Into<String>) -> Operation<'_, ()> {
        let params = UnsubscribeRequestParams::new(uri);
        let request = ClientRequest::UnsubscribeRequest(UnsubscribeRequest::new(params));
        self.legacy("resources/unsubscribe", "; drop the subscription instead", request)
    }

    /// Opens a stream of notifications (`subscriptions/listen` of 2026-07-28): changed lists, changed resources. The
    /// deadline bounds the opening; the stream lasts until it is dropped or breaks, and is then to be opened again.
    ///
    /// # Errors
    /// [`ClientError::NotInThisRevision`] before 2026-07-28, where the handler hears all of it unasked.
    pub fn listen(&self, filter: SubscriptionFilter) -> Operation<'_, Subscription> {
        Operation::new(self, async move |running: Running<'_>| {
            let client = running.client;
            if client.revision().has_initialize() {
                return Err(client.not_here("subscriptions/listen", "; the handler is told unasked"));
            }
            let opened = client.peer().listen(filter).await;
            opened.map_err(|error| running.reading().service_error(error).error)
        })
    }

    /// From which level on the server shall report what it does (`on_logging_message` of the handler). From
    /// 2026-07-28 on nothing is sent now: every later request says it.
    pub fn set_logging_level(&self, level: LoggingLevel) -> Operation<'_, ()> {
        if !self.revision().has_initialize() {
            return Operation::new(self, async move |running: Running<'_>| {
                *lock(&running.client.log_level) = Some(level);
                Ok(())
            });
        }
        let request = ClientRequest::SetLevelRequest(SetLevelRequest::new(SetLevelRequestParams::new(level)));
        self.legacy("logging/setLevel", "", request)
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// [`ClientError::NotInThisRevision`] from 2026-07-28 on.
    pub fn ping(&self) -> Operation<'_, ()> {
        self.legacy("ping", "", ClientRequest::PingRequest(PingRequest::default()))
    }

    /// Any request, and whatever the server makes of it. What a second run of it does is unknown, unless rmcp knows
    /// the method as one that only reads.
    pub fn request(&self, request: ClientRequest) -> Operation<'_, ServerResult> {
        Operation::new(self, async move |mut running: Running<'_>| running.request(request).await)
    }

    /// Tells the server that the roots of the client's handler have changed. Without a deadline; see
    /// [`McpClient::notify`].
    ///
    /// # Errors
    /// [`ClientError::NotInThisRevision`] from 2026-07-28 on, where the server asks when it needs them.
    pub async fn notify_roots_changed(&self) -> Result<(), ClientError> {
        if !self.revision().has_initialize() {
            return Err(self.not_here("notifications/roots/list_changed", ""));
        }
        self.notify(ClientNotification::RootsListChangedNotification(RootsListChangedNotification::default()))
            .await
    }

    /// Reports the progress of something that the server asked for. Without a deadline; see [`McpClient::notify`].
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn notify_progress(&self, progress: ProgressNotificationParam) -> Result<(), ClientError> {
        let notification = rmcp::model::ProgressNotification::new(progress);
        self.notify(ClientNotification::ProgressNotification(notification)).await
    }

    /// Any notification. It has no deadline, as nothing answers it: the wait is for the server to take it, and, where
    /// the access token has ended, for a new one. Dropping the future ends the wait.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn notify(&self, notification: ClientNotification) -> Result<(), ClientError> {
        let allowance = linchpin_transport::Allowance::until(None);
        let reading = super::error::Reading {
            login: &self.login,
            allowance: &allowance,
            limit: None,
            closed: self.is_closed(),
        };
        let sent = self.peer().send_notification(notification).await;
        sent.map_err(|error: ServiceError| reading.service_error(error).error)
    }

    /// A request of the revisions before 2026-07-28 with nothing in its answer.
    fn legacy(
        &self,
        operation: &'static str,
        instead: &'static str,
        request: ClientRequest,
    ) -> Operation<'_, ()> {
        Operation::new(self, async move |mut running: Running<'_>| {
            if !running.client.revision().has_initialize() {
                return Err(running.client.not_here(operation, instead));
            }
            match running.request(request).await? {
                ServerResult::EmptyResult(_) => Ok(()),
                _ => Err(unexpected(operation)),
            }
        })
    }

    fn not_here(&self, operation: &'static str, instead: &'static str) -> ClientError {
        ClientError::NotInThisRevision { operation, revision: self.revision(), instead }
    }
}

impl Running<'_> {
    async fn pages<T>(
        &mut self,
        what: &str,
        request: impl Fn(PaginatedRequestParams) -> ClientRequest,
        page: impl Fn(ServerResult) -> Option<(Vec<T>, Option<String>)>,
    ) -> Result<Vec<T>, ClientError> {
        let (mut items, mut cursor) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let params = PaginatedRequestParams::default().with_cursor(cursor.take());
            let result = self.request(request(params)).await?;
            let (more, next) = page(result).ok_or_else(|| unexpected(what))?;
            items.extend(more);
            cursor = next;
            if items.len() > MOST_ITEMS || cursor.is_none() {
                break;
            }
        }
        if cursor.is_some() || items.len() > MOST_ITEMS {
            return Err(ClientError::Protocol(format!(
                "it lists {what} without end, {} so far",
                items.len()
            )));
        }
        Ok(items)
    }
}

fn unexpected(what: &str) -> ClientError {
    ClientError::Protocol(format!("its answer to {what} is of another kind"))
}

impl Asked for CallToolRequestParams {
    fn answered(&self, responses: Option<InputResponses>, state: Option<String>) -> ClientRequest {
        let mut params = self.clone();
        (params.input_responses, params.request_state) = (responses, state);
        ClientRequest::CallToolRequest(CallToolRequest::new(params))
    }
}

impl Asked for ReadResourceRequestParams {
    fn answered(&self, responses: Option<InputResponses>, state: Option<String>) -> ClientRequest {
        let mut params = self.clone();
        (params.input_responses, params.request_state) = (responses, state);
        ClientRequest::ReadResourceRequest(ReadResourceRequest::new(params))
    }
}

impl Asked for GetPromptRequestParams {
    fn answered(&self, responses: Option<InputResponses>, state: Option<String>) -> ClientRequest {
        let mut params = self.clone();
        (params.input_responses, params.request_state) = (responses, state);
        ClientRequest::GetPromptRequest(GetPromptRequest::new(params))
    }
}
