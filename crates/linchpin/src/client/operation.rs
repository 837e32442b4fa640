//! One operation: what bounds it, what cancels it, and its requests on their way.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use linchpin_authority::moment_in;
use linchpin_transport::Allowance;
use linchpin_transport::rmcp::ProgressSink;
use rmcp::model::{
    CancelledNotificationParam, ClientRequest, GetExtensions as _, ProgressNotificationParam, RequestId,
    RequestMetaObject, ServerResult,
};
use rmcp::service::{Peer, PeerRequestOptions, RequestHandle, RoleClient};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::builder::Wanted;
use super::error::{Failure, Reading};
use super::repeat::Repeat;
use super::{ClientError, McpClient, lock};

type BoxFuture<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;
type Start<'c, T> = Box<dyn FnOnce(Running<'c>) -> BoxFuture<'c, Result<T, ClientError>> + Send + 'c>;
type OnProgress<'c> = Box<dyn FnMut(ProgressNotificationParam) + Send + 'c>;

/// An operation of an [`McpClient`], which begins when it is awaited.
///
/// Dropping the future cancels it: nothing is sent for it any more, and the server is told
/// (`notifications/cancelled`, or the end of the stream from 2026-07-28 on). A refresh that it waited for goes on.
#[must_use = "an operation begins when it is awaited"]
pub struct Operation<'c, T> {
    client: &'c McpClient,
    limit: Option<Duration>,
    cancel: Option<Cancel>,
    on_progress: Option<OnProgress<'c>>,
    meta: Option<RequestMetaObject>,
    start: Start<'c, T>,
}

impl<T> fmt::Debug for Operation<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Cancels the operations that were given it. Cheap to clone; clones are the same handle.
#[derive(Debug, Clone, Default)]
pub struct Cancel(CancellationToken);

impl Cancel {
    /// A handle that has not cancelled anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every operation that was given this handle, now and later.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl<'c, T: 'c> Operation<'c, T> {
    pub(super) fn new<F>(client: &'c McpClient, start: impl FnOnce(Running<'c>) -> F + Send + 'c) -> Self
    where
        F: Future<Output = Result<T, ClientError>> + Send + 'c,
    {
        let start: Start<'c, T> = Box::new(move |running| Box::pin(start(running)));
        Self { client, limit: client.deadline, cancel: None, on_progress: None, meta: None, start }
    }

    /// Waits at most `limit` from when it is awaited, for everything that it takes: a token, the session, the answer.
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Waits for as long as it takes.
    pub fn without_deadline(self) -> Self {
        Self { limit: None, ..self }
    }

    /// Lets `cancel` cancel it.
    pub fn cancelled_by(self, cancel: &Cancel) -> Self {
        Self { cancel: Some(cancel.clone()), ..self }
    }

    /// Hands over what the server reports of its progress, in order, and all of it before the answer. It does not
    /// reach the handler then.
    pub fn on_progress(self, on_progress: impl FnMut(ProgressNotificationParam) + Send + 'c) -> Self {
        Self { on_progress: Some(Box::new(on_progress)), ..self }
    }

    /// Puts these entries into the `_meta` of its requests.
    pub fn meta(self, meta: RequestMetaObject) -> Self {
        Self { meta: Some(meta), ..self }
    }

    async fn run(self) -> Result<T, ClientError> {
        let deadline = self.limit.map(moment_in);
        let allowance = Allowance::until(deadline);
        let _wanted = Wanted(&allowance);
        let running = Running {
            client: self.client,
            allowance: allowance.clone(),
            limit: self.limit,
            on_progress: self.on_progress,
            meta: self.meta,
        };
        let work = (self.start)(running);
        let bounded = async {
            match deadline.zip(self.limit) {
                Some((deadline, limit)) => {
                    tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(ClientError::TimedOut(limit)))
                }
                None => work.await,
            }
        };
        match self.cancel {
            Some(cancel) => tokio::select! {
                biased;
                () = cancel.0.cancelled() => Err(ClientError::Cancelled),
                outcome = bounded => outcome,
            },
            None => bounded.await,
        }
    }
}

impl<'c, T: 'c> IntoFuture for Operation<'c, T> {
    type Output = Result<T, ClientError>;
    type IntoFuture = BoxFuture<'c, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// An operation that has begun.
pub(super) struct Running<'c> {
    pub(super) client: &'c McpClient,
    allowance: Allowance,
    limit: Option<Duration>,
    on_progress: Option<OnProgress<'c>>,
    meta: Option<RequestMetaObject>,
}

impl Running<'_> {
    /// One request of the operation, once more if its connection broke and that does no harm.
    pub(super) async fn request(&mut self, request: ClientRequest) -> Result<ServerResult, ClientError> {
        let tool = match &request {
            ClientRequest::CallToolRequest(call) => self.client.hints(&call.params.name),
            _ => None,
        };
        let repeat = Repeat::of(&request, tool);
        loop {
            let failure = match self.attempt(request.clone()).await {
                Ok(result) => return Ok(result),
                Err(failure) => failure,
            };
            let again = failure.broken.is_some_and(|sent| repeat.after_broken(sent));
            if !(again && !self.allowance.is_over() && self.allowance.take_repeat()) {
                return Err(failure.error);
            }
        }
    }

    async fn attempt(&mut self, mut request: ClientRequest) -> Result<ServerResult, Failure> {
        let extensions = request.extensions_mut();
        extensions.insert(self.allowance.clone());
        let progress = self.on_progress.is_some().then(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            extensions.insert(ProgressSink(sender));
            receiver
        });
        let mut options = PeerRequestOptions::no_options();
        options.meta = self.meta();
        let peer = self.client.service.peer();
        let sent = peer.send_request_with_option(request, options).await;
        let handle = sent.map_err(|error| self.reading().service_error(error))?;
        let mut abandoned =
            Abandoned { peer, id: Some(handle.id.clone()), allowance: self.allowance.clone() };
        let outcome = self.answer(handle, progress).await;
        abandoned.id = None;
        outcome.map_err(|error| self.reading().service_error(error))
    }

    /// Waits for the answer, handing over progress as it comes.
    async fn answer(
        &mut self,
        handle: RequestHandle<RoleClient>,
        progress: Option<mpsc::UnboundedReceiver<ProgressNotificationParam>>,
    ) -> Result<ServerResult, rmcp::ServiceError> {
        let (Some(mut progress), Some(on_progress)) = (progress, self.on_progress.as_mut()) else {
            return handle.await_response().await;
        };
        let response = handle.await_response();
        tokio::pin!(response);
        let mut open = true;
        let outcome = loop {
            tokio::select! {
                biased;
                report = progress.recv(), if open => match report {
                    Some(report) => on_progress(report),
                    None => open = false,
                },
                outcome = &mut response => break outcome,
            }
        };
        while let Ok(report) = progress.try_recv() {
            on_progress(report);
        }
        outcome
    }

    fn meta(&self) -> Option<RequestMetaObject> {
        let level = *lock(&self.client.log_level);
        let mut meta = self.meta.clone();
        if let Some(level) = level {
            meta.get_or_insert_default().set_log_level(level);
        }
        meta
    }

    pub(super) fn reading(&self) -> Reading<'_> {
        Reading {
            login: &self.client.login,
            allowance: &self.allowance,
            limit: self.limit,
            closed: self.client.is_closed(),
        }
    }
}

/// Tells the server about a request whose caller has gone, if the server may be at work on it.
struct Abandoned<'c> {
    peer: &'c Peer<RoleClient>,
    id: Option<RequestId>,
    allowance: Allowance,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        self.allowance.abandon();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.allowance.may_be_running() {
            let peer = self.peer.clone();
            let reason = Some("nobody waits for the answer any more".to_owned());
            runtime.spawn(async move {
                let _ = peer.notify_cancelled(CancelledNotificationParam::new(Some(id), reason)).await;
            });
        }
    }
}
