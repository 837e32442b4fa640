//! An MCP client over a server's sign-in: rmcp speaks the protocol, Linchpin sends.

#![expect(deprecated, reason = "logging is on its way out of the protocol, but servers of today have it")]

mod builder;
mod error;
mod handler;
mod input;
mod operation;
mod operations;
mod repeat;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{LoggingLevel, ProtocolVersion, ServerPeerInfo, Tool};
use rmcp::service::{Peer, RoleClient, RunningService};

use crate::Server;
use handler::Handler;
use repeat::Hints;

pub use builder::McpClientBuilder;
pub use error::ClientError;
pub use operation::{Cancel, Operation};

/// rmcp ends a session for at most 5 s.
const CLOSING: Duration = Duration::from_millis(5500);

/// A connected client. Speaks 2026-07-28 where the server does, else the revisions before it.
///
/// Every operation is a value that is awaited, with its deadline before that if need be:
///
/// ```no_run
/// # async fn example(client: linchpin::McpClient) -> Result<(), linchpin::ClientError> {
/// use std::time::Duration;
///
/// let tools = client.list_tools().await?;
/// let resources = client.list_resources().within(Duration::from_secs(5)).await?;
/// # Ok(()) }
/// ```
///
/// An operation is recovered once when the server refuses its token, and once when the server has forgotten the
/// session, in whichever order (P17); it is sent again after its connection broke only if a second run does no harm.
/// Its deadline bounds every wait (P18). Dropping its future, or a [`Cancel`], cancels it.
///
/// Share a client by reference or in an `Arc`. Dropping it ends its connections in the background;
/// [`McpClient::close`] also waits until the server was told.
#[derive(Debug)]
pub struct McpClient {
    service: RunningService<RoleClient, Handler>,
    handler: Handler,
    login: String,
    deadline: Option<Duration>,
    /// What tools said of themselves when they were last listed.
    hints: Mutex<HashMap<String, Hints>>,
    /// What 2026-07-28 says with every request.
    log_level: Mutex<Option<LoggingLevel>>,
}

impl McpClient {
    /// A builder, for a client with handlers, headers or deadlines of its own.
    pub fn builder() -> McpClientBuilder {
        McpClientBuilder::default()
    }

    /// Connects to `server` with what the builder has by default.
    ///
    /// # Errors
    /// Every [`ClientError`]. Running out of time ends the wait, not a refresh that is running (P18).
    pub async fn connect(server: &Server) -> Result<Self, ClientError> {
        Self::builder().connect(server).await
    }

    fn new(
        service: RunningService<RoleClient, Handler>,
        handler: Handler,
        login: String,
        deadline: Option<Duration>,
    ) -> Self {
        Self { service, handler, login, deadline, hints: Mutex::default(), log_level: Mutex::default() }
    }

    /// What the server said about itself.
    pub fn server_info(&self) -> Arc<ServerPeerInfo> {
        self.service.peer_info().unwrap_or_else(|| {
            Arc::new(ServerPeerInfo::new(
                ProtocolVersion::default(),
                rmcp::model::ServerCapabilities::default(),
            ))
        })
    }

    /// The revision of the protocol that is spoken.
    pub fn revision(&self) -> ProtocolVersion {
        self.server_info().protocol_version.clone()
    }

    /// rmcp's own handle, for what this type has no operation for. What is sent through it is background traffic: one
    /// recovery per message, no deadline, and rmcp's errors.
    pub fn peer(&self) -> &Peer<RoleClient> {
        self.service.peer()
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.service.is_closed() || self.service.is_transport_closed()
    }

    /// Ends the session at the server (DELETE, where there is one) and closes, within 5.5 s.
    pub async fn close(self) {
        self.close_within(CLOSING).await;
    }

    /// Like [`McpClient::close`], within `limit`; what is not done by then goes on in the background.
    pub async fn close_within(self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.service.cancel()).await;
    }

    fn learn(&self, tools: &[Tool]) {
        let mut known = lock(&self.hints);
        *known = tools.iter().map(|tool| (tool.name.to_string(), Hints::of(tool))).collect();
    }

    fn hints(&self, tool: &str) -> Option<Hints> {
        lock(&self.hints).get(tool).copied()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
