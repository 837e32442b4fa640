//! How a client is made.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use linchpin_authority::{CredentialError, SignInReason, login_command, moment_in};
use linchpin_store::{CredentialKey, Profile, ServerUrl};
use linchpin_transport::rmcp::channel;
use linchpin_transport::{Allowance, Authorization, Endpoint};
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, DynService, RoleClient, Service, serve_client_with_lifecycle};

use super::error::Reading;
use super::handler::Handler;
use super::{ClientError, McpClient};
use crate::Server;

/// For how long connecting and every operation wait unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a client is made of. Every part has a default.
#[must_use = "a builder does nothing until it connects"]
pub struct McpClientBuilder {
    implementation: Option<Implementation>,
    capabilities: Option<ClientCapabilities>,
    handler: Option<Arc<dyn DynService<RoleClient>>>,
    about: ClientConfig,
    deadline: Option<Duration>,
    connect_within: Duration,
    revision: Option<ProtocolVersion>,
    headers: HeaderMap,
}

impl std::fmt::Debug for McpClientBuilder {
    /// Without the values of headers, which may be keys (P20).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpClientBuilder")
            .field("deadline", &self.deadline)
            .field("revision", &self.revision)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Default for McpClientBuilder {
    fn default() -> Self {
        Self {
            implementation: None,
            capabilities: None,
            handler: None,
            about: ClientConfig::new(
                ClientCapabilities::default(),
                Implementation::new("linchpin", env!("CARGO_PKG_VERSION")),
            ),
            deadline: Some(DEADLINE),
            connect_within: DEADLINE,
            revision: None,
            headers: HeaderMap::new(),
        }
    }
}

impl McpClientBuilder {
    /// The program's name and version, as the server gets to see them; the handler's unless given.
    pub fn client_info(self, implementation: Implementation) -> Self {
        Self { implementation: Some(implementation), ..self }
    }

    /// What the client can be asked for: elicitation, sampling, roots, extensions. The handler's `get_info` says it
    /// unless it is given here; without a handler, nothing.
    pub fn capabilities(self, capabilities: ClientCapabilities) -> Self {
        Self { capabilities: Some(capabilities), ..self }
    }

    /// Who answers the server's requests (elicitation, sampling, roots) and hears its notifications: any
    /// [`ClientHandler`](crate::rmcp::ClientHandler). The `input_required` results of 2026-07-28 go to it too.
    pub fn handler(self, handler: impl Service<RoleClient>) -> Self {
        Self { about: handler.get_info(), handler: Some(Arc::new(handler)), ..self }
    }

    /// How long every operation of the connected client waits that is not told otherwise by
    /// [`Operation::within`](super::Operation::within); 60 s unless given, `None` for as long as it takes.
    pub fn deadline(self, deadline: impl Into<Option<Duration>>) -> Self {
        Self { deadline: deadline.into(), ..self }
    }

    /// How long connecting may take, as [`McpClientBuilder::deadline`] says it of what comes after; 60 s unless given.
    pub fn within(self, limit: Duration) -> Self {
        Self { connect_within: limit, ..self }
    }

    /// Speaks this revision of the protocol and no other era: 2026-07-28 or later without sessions, an earlier one
    /// after `initialize` (where the server may answer with a still earlier one). Unless given, 2026-07-28 where the
    /// server speaks it, else 2025-11-25.
    pub fn revision(self, revision: ProtocolVersion) -> Self {
        Self { revision: Some(revision), ..self }
    }

    /// A header of every request to the MCP server. With one named `Authorization`, that is the authorization: no
    /// sign-in is used, nothing is recovered, and a challenge is handed to the caller as it came (P19).
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Several of them.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Connects with the server's sign-in: an ended access token is renewed before anything is sent, a refused one is
    /// recovered once. The client keeps to the store that `server` is pinned to, however often its connections are
    /// made anew (P4).
    ///
    /// # Errors
    /// Every [`ClientError`]. Running out of time ends the wait, not a refresh that is running (P18).
    pub async fn connect(self, server: &Server) -> Result<McpClient, ClientError> {
        if self.headers.contains_key(AUTHORIZATION) {
            return self.connect_configured(server.key().clone()).await;
        }
        let endpoint = server.endpoint(self.headers.clone())?;
        self.connect_to(endpoint, login_command(server.key())).await
    }

    /// Connects with the builder's headers only: no sign-in is looked at, and no store (P19).
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn connect_without_sign_in(self, url: ServerUrl) -> Result<McpClient, ClientError> {
        self.connect_configured(CredentialKey::new(Profile::default(), url)).await
    }

    async fn connect_configured(self, key: CredentialKey) -> Result<McpClient, ClientError> {
        let endpoint = Endpoint::new(key.server.clone(), Authorization::Configured, self.headers.clone())?;
        self.connect_to(endpoint, login_command(&key)).await
    }

    async fn connect_to(self, endpoint: Endpoint, login: String) -> Result<McpClient, ClientError> {
        let deadline = moment_in(self.connect_within);
        let allowance = Allowance::until(Some(deadline));
        let _wanted = Wanted(&allowance);
        let reading =
            Reading { login: &login, allowance: &allowance, limit: Some(self.connect_within), closed: false };
        if let Authorization::SignIn(credential) = endpoint.authorization() {
            // Before rmcp's own clocks run, and with an error of its own.
            match credential.access_token(allowance.wait()).await {
                // Some servers need no sign-in.
                Ok(_) | Err(CredentialError::SignInRequired { reason: SignInReason::NotSignedIn, .. }) => {}
                Err(error) => return Err(reading.credential_error(&error, "")),
            }
        }
        let handler = self.assembled();
        let (channel, connecting) = channel(endpoint, allowance.clone());
        let lifecycle = lifecycle(self.revision);
        let served = Box::pin(serve_client_with_lifecycle(handler.clone(), channel, lifecycle));
        let service = match tokio::time::timeout_at(deadline, served).await {
            Ok(Ok(service)) => service,
            Ok(Err(error)) => return Err(reading.initialize_error(error)),
            Err(_) => return Err(ClientError::TimedOut(self.connect_within)),
        };
        drop(connecting);
        Ok(McpClient::new(service, handler, login.clone(), self.deadline))
    }

    fn assembled(&self) -> Handler {
        let mut about = self.about.clone();
        if let Some(implementation) = &self.implementation {
            about.client_info = implementation.clone();
        }
        if let Some(capabilities) = &self.capabilities {
            about.capabilities = capabilities.clone();
        }
        if let Some(revision) = &self.revision {
            about.protocol_version = revision.clone();
        }
        let handler = self.handler.clone().unwrap_or_else(|| Arc::new(about.clone()));
        Handler::new(handler, about)
    }
}

fn lifecycle(revision: Option<ProtocolVersion>) -> ClientLifecycleMode {
    match revision {
        Some(revision) if revision.has_initialize() => ClientLifecycleMode::Initialize,
        Some(revision) => ClientLifecycleMode::Discover { preferred_versions: vec![revision] },
        None => ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        },
    }
}

/// While it is there, somebody waits.
#[derive(Debug)]
pub(super) struct Wanted<'a>(pub(super) &'a Allowance);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
