//! rmcp's transport with an eye on progress: what the server reports about a call goes to whoever made it, in the
//! order in which it came, and before the answer. (rmcp's own handlers run in a task per notification, in any order.)

use std::borrow::Cow;
use std::collections::HashMap;

use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, GetExtensions as _, GetMeta as _, JsonRpcMessage,
    ProgressNotificationParam, ProgressToken, RequestId, ServerNotification,
};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::streamable_http_client::StreamableHttpError;
use rmcp::transport::{StreamableHttpClientTransport, Transport};
use tokio::sync::mpsc;

use super::LinchpinHttpClient;
use crate::SendError;

/// Where the progress of a request goes; put it into the request's extensions.
#[derive(Debug, Clone)]
pub struct ProgressSink(pub mpsc::UnboundedSender<ProgressNotificationParam>);

/// rmcp's transport to an endpoint, for `rmcp::service::serve_client_with_lifecycle`.
pub struct Channel {
    inner: StreamableHttpClientTransport<LinchpinHttpClient>,
    progress: HashMap<ProgressToken, (RequestId, ProgressSink)>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Channel {
    pub(super) fn new(inner: StreamableHttpClientTransport<LinchpinHttpClient>) -> Self {
        Self { inner, progress: HashMap::new() }
    }

    fn note(&mut self, message: &ClientJsonRpcMessage) {
        match message {
            JsonRpcMessage::Request(request) => {
                let Some(sink) = request.request.extensions().get::<ProgressSink>() else { return };
                let Some(token) = request.request.get_meta().get_progress_token() else { return };
                self.progress.retain(|_, (_, sink)| !sink.0.is_closed());
                self.progress.insert(token, (request.id.clone(), sink.clone()));
            }
            JsonRpcMessage::Notification(notification) if !self.progress.is_empty() => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    self.forget(id);
                }
            }
            _ => {}
        }
    }

    fn forget(&mut self, id: &RequestId) {
        self.progress.retain(|_, (known, _)| known != id);
    }

    /// What rmcp shall see of a message.
    fn sift(&mut self, message: RxJsonRpcMessage<RoleClient>) -> Option<RxJsonRpcMessage<RoleClient>> {
        if self.progress.is_empty() {
            return Some(message);
        }
        match &message {
            JsonRpcMessage::Notification(notification) => {
                if let ServerNotification::ProgressNotification(progress) = &notification.notification
                    && let Some((_, sink)) = self.progress.get(&progress.params.progress_token)
                {
                    let _ = sink.0.send(progress.params.clone());
                    return None;
                }
            }
            JsonRpcMessage::Response(response) => self.forget(&response.id),
            JsonRpcMessage::Error(error) => {
                if let Some(id) = &error.id {
                    self.forget(id);
                }
            }
            JsonRpcMessage::Request(_) => {}
        }
        Some(message)
    }
}

impl Transport<RoleClient> for Channel {
    type Error = StreamableHttpError<SendError>;

    fn name() -> Cow<'static, str> {
        "linchpin".into()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.note(&item);
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let message = self.inner.receive().await?;
            if let Some(message) = self.sift(message) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
