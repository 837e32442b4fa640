//! The bridge itself: reads lines, keeps their order where it matters, and ends in time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use http::Method;
use linchpin_authority::Wait;
use linchpin_transport::{Endpoint, Outgoing, Recovery};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;

use crate::failure;
use crate::framing::{Line, Lines, MAX_LINE};
use crate::message::{Kind, Message, Unreadable, read};
use crate::modern::{self, ToolHeaders};
use crate::output::{Output, write};
use crate::session::Session;

/// Requests under way at once, and other messages likewise; beyond that the client's lines wait.
const MAX_UNDER_WAY: usize = 1024;
/// How long requests under way may still be answered after the client closed its side.
const LAST_ANSWERS: Duration = Duration::from_millis(1200);
/// How long ending the session may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// How long the last lines may take to be written.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long `notifications/initialized` holds later messages back.
const INITIALIZED: Duration = Duration::from_secs(5);

/// JSON-RPC lines on one side, one MCP server on the other.
#[derive(Debug)]
pub struct Bridge {
    endpoint: Endpoint,
}

/// How a bridge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The client closed its side.
    InputClosed,
    /// The client stopped reading.
    OutputClosed,
    /// The caller asked for it.
    Cancelled,
}

/// Why a bridge failed. What goes wrong with a request is told to the client instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// Standard input cannot be read.
    #[error("cannot read the client's messages: {0}")]
    Input(#[source] std::io::Error),
}

impl Bridge {
    /// A bridge to `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Runs until the client closes its side, stops reading, or `cancel` is cancelled; then ends the session with a
    /// DELETE. Takes at most 2 s from then on. A refresh that is running goes on in its own task; the caller drains
    /// the authority (P7).
    ///
    /// # Errors
    /// [`BridgeError`].
    pub async fn run(
        self,
        stdin: impl AsyncRead + Unpin,
        stdout: impl AsyncWrite + Unpin + Send + 'static,
        cancel: CancellationToken,
    ) -> Result<Ended, BridgeError> {
        let (output, queue) = Output::new();
        let mut writer = tokio::spawn(write(queue, stdout));
        let shared = Arc::new(Shared {
            endpoint: self.endpoint,
            session: Session::new(),
            initialized: Initialized::default(),
            healthy: Notify::new(),
            tools: Mutex::default(),
            output,
            closing: CancellationToken::new(),
        });
        let listener = tokio::spawn(Arc::clone(&shared).keep_listening());
        let mut messages = Messages::new(Arc::clone(&shared));
        let mut lines = FramedRead::with_capacity(stdin, Lines::new(MAX_LINE), 16 << 10);
        let ended = loop {
            tokio::select! {
                line = lines.next() => match line {
                    // A line may have to wait for the client or the server; its end is noticed all the same.
                    Some(Ok(line)) => tokio::select! {
                        () = messages.take(line) => {}
                        _ = &mut writer => break Ok(Ended::OutputClosed),
                        () = cancel.cancelled() => break Ok(Ended::Cancelled),
                    },
                    Some(Err(error)) => break Err(BridgeError::Input(error)),
                    None => break Ok(Ended::InputClosed),
                },
                () = messages.tidy() => {}
                _ = &mut writer => break Ok(Ended::OutputClosed),
                () = cancel.cancelled() => break Ok(Ended::Cancelled),
            }
        };
        let patience = if matches!(ended, Ok(Ended::InputClosed)) { LAST_ANSWERS } else { Duration::ZERO };
        shared.closing.cancel();
        messages.finish(patience).await;
        listener.abort();
        let _ = tokio::time::timeout(GOODBYE, shared.goodbye()).await;
        // The last sender goes, so the writer ends once the queue is empty.
        drop(shared);
        let _ = listener.await;
        if !writer.is_finished() && tokio::time::timeout(LAST_WORDS, &mut writer).await.is_err() {
            writer.abort();
        }
        ended
    }
}

/// What all messages share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) session: Session,
    pub(crate) initialized: Initialized,
    /// Told whenever a message went through: the sign-in works.
    pub(crate) healthy: Notify,
    pub(crate) tools: Mutex<ToolHeaders>,
    pub(crate) output: Output,
    /// Cancelled when the bridge is about to end.
    pub(crate) closing: CancellationToken,
}

impl Shared {
    /// Ends the session (2025-11-25, "Session Management"). Best effort.
    async fn goodbye(&self) {
        let sitting = self.session.sitting();
        if !sitting.has_id {
            return;
        }
        let outgoing = Outgoing {
            method: Method::DELETE,
            headers: sitting.headers,
            body: bytes::Bytes::new(),
            wait: Wait::within(GOODBYE),
            recovery: Recovery::Once,
        };
        if let Err(error) = self.endpoint.send(&outgoing).await {
            tracing::debug!("the session was not ended: {error}");
        }
    }
}

/// Whether the client has confirmed with `notifications/initialized` that it is ready for messages.
#[derive(Debug, Default)]
pub(crate) struct Initialized(watch::Sender<bool>);

impl Initialized {
    fn set(&self, confirmed: bool) {
        self.0.send_replace(confirmed);
    }

    /// Waits until the client has confirmed. A session that the bridge opened again is confirmed by the bridge.
    pub(crate) async fn confirmed(&self) {
        let _ = self.0.subscribe().wait_for(|confirmed| *confirmed).await;
    }
}

/// The messages under way.
struct Messages {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    requests: Arc<Semaphore>,
    /// Notifications, and answers to the server's requests, which requests under way may be waiting for.
    others: Arc<Semaphore>,
    /// Requests of 2026-07-28 by id, which a cancellation ends by dropping their stream.
    cancellable: Arc<Mutex<HashMap<String, AbortHandle>>>,
    /// What later messages wait for.
    barrier: Option<CancellationToken>,
}

impl Messages {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            tasks: JoinSet::new(),
            requests: Arc::new(Semaphore::new(MAX_UNDER_WAY)),
            others: Arc::new(Semaphore::new(MAX_UNDER_WAY)),
            cancellable: Arc::default(),
            barrier: None,
        }
    }

    /// Takes a line and starts what it asks for.
    async fn take(&mut self, line: Line) {
        let refusal = match line {
            Line::TooLong => {
                Some(failure::malformed("the line is longer than 64 MiB and was passed over", -32600))
            }
            Line::Whole(bytes) if bytes.trim_ascii().is_empty() => None,
            Line::Whole(bytes) => match read(bytes) {
                Ok(message) => {
                    self.start(message).await;
                    None
                }
                Err(Unreadable::NotJson) => Some(failure::malformed("the line is not JSON", -32700)),
                Err(Unreadable::NotAMessage) => {
                    Some(failure::malformed("the line is not a JSON-RPC message", -32600))
                }
            },
        };
        if let Some(refusal) = refusal {
            let _ = self.shared.output.line(refusal).await;
        }
    }

    async fn start(&mut self, message: Message) {
        if let Some(id) = modern::cancelled(&message) {
            let running = self.cancellable.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            if let Some(running) = running {
                running.abort();
                return;
            }
        }
        let under_way = match message.kind {
            Kind::Request { .. } | Kind::Batch { .. } => &self.requests,
            Kind::Notification { .. } | Kind::Answer => &self.others,
        };
        let Ok(permit) = Arc::clone(under_way).acquire_owned().await else { return };
        let before = self.barrier.as_ref().filter(|barrier| !barrier.is_cancelled()).cloned();
        let barrier = Barrier::of(&message).map(|_| CancellationToken::new());
        if let Some(barrier) = &barrier {
            self.barrier = Some(barrier.clone());
        }
        if message.method() == Some("initialize")
            && let Some(id) = message.id()
        {
            self.shared.initialized.set(false);
            self.shared.session.begin(message.bytes.clone(), id);
        }
        let cancellable = message.id().filter(|_| message.is_modern).map(str::to_owned);
        let registry = Arc::clone(&self.cancellable);
        let registered = cancellable.clone();
        let shared = Arc::clone(&self.shared);
        // Boxed here: the runtime moves a task's future about ten times before and after it runs, and this one is
        // several KiB.
        let delivery = Box::pin(async move {
            if let Some(before) = before {
                before.cancelled().await;
            }
            // Dropped at the end, whatever the end is.
            let release = barrier.as_ref().map(|barrier| barrier.clone().drop_guard());
            let delivery = shared.deliver(&message);
            let rest = match Barrier::of(&message) {
                Some(Barrier::Initialized) => {
                    let held = async {
                        tokio::time::sleep(INITIALIZED).await;
                        if let Some(barrier) = &barrier {
                            barrier.cancel();
                        }
                        std::future::pending().await
                    };
                    let delivered = first(delivery, held).await;
                    shared.initialized.set(true);
                    delivered
                }
                _ => delivery.await,
            };
            drop((release, permit));
            if let Some(id) = registered {
                registry.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            }
            if let Ok(Some(rest)) = rest {
                shared.linger(rest).await;
            }
        });
        // Locked until the task is registered, so that it cannot have ended before.
        let mut registering = self.cancellable.lock().unwrap_or_else(PoisonError::into_inner);
        let task = self.tasks.spawn(delivery);
        if let Some(id) = cancellable {
            registering.insert(id, task);
        }
    }

    /// Forgets messages that are done. Pending while there are none.
    async fn tidy(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the messages under way, at most `patience`, and drops the others.
    async fn finish(mut self, patience: Duration) {
        let _ =
            tokio::time::timeout(patience, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
    }
}

/// Messages that no later one may overtake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Barrier {
    Initialize,
    Initialized,
}

impl Barrier {
    fn of(message: &Message) -> Option<Self> {
        match &message.kind {
            Kind::Request { method, .. } if method == "initialize" => Some(Self::Initialize),
            Kind::Notification { method } if method == "notifications/initialized" => Some(Self::Initialized),
            _ => None,
        }
    }
}

/// The first of two to end.
async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    tokio::select! {
        done = one => done,
        done = other => done,
    }
}
