//! How the provider and the server behave.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a kit is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The behaviour at the start; it can be changed while it runs.
    pub config: Config,
    /// Ports for the provider, the server and the admin interface; any free ones unless given.
    pub ports: [u16; 3],
}

/// The behaviour of provider and server. Durations are milliseconds in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, named in JSON")]
pub struct Config {
    /// How long an access token lives.
    pub access_lifetime_ms: u64,
    /// What the provider says about that in `expires_in`.
    pub expires_in: Lifetime,
    /// For how long a spent refresh token that comes back gets the same successor again.
    pub grace_ms: u64,
    /// What a refresh does to the refresh token.
    pub rotation: Rotation,
    /// What the authorization endpoint does.
    pub consent: Consent,
    /// How clients registered from now on authenticate: `none`, `client_secret_basic` or `client_secret_post`.
    pub client_auth: String,
    /// Whether the server needs a sign-in.
    pub auth: AuthMode,
    /// Whether a 401 carries a challenge.
    pub challenge: bool,
    /// Whether tool calls are answered by SSE.
    pub sse: bool,
    /// Whether the server speaks revisions before 2026-07-28.
    pub legacy: bool,
    /// Whether the server speaks 2026-07-28.
    pub modern: bool,
    /// Whether the provider offers revocation.
    pub revocation: bool,
    /// The scopes of the server.
    pub scopes: Vec<String>,
    /// Overrides in the provider's metadata document, merged in as they are; `null` removes a field.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Overrides in the protected resource metadata, likewise.
    pub resource_metadata: serde_json::Map<String, serde_json::Value>,
    /// Overrides in a registration's answer, likewise.
    pub registration: serde_json::Map<String, serde_json::Value>,
    /// What the authorization answer says in `iss`; the issuer unless given; empty leaves it out.
    pub iss: Option<String>,
    /// Tools to list besides the server's own, as they are; they can be listed, not called.
    pub more_tools: Vec<serde_json::Value>,
    /// Whether every page of tools is followed by another.
    pub endless_tools: bool,
    /// Whether requests to the MCP endpoint are kept as they came, for [`crate::Kit::seen`].
    pub record: bool,
}

/// A change of the configuration: the fields that it names.
pub type ConfigChange = serde_json::Map<String, serde_json::Value>;

/// What the provider says in `expires_in`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// The truth, in whole seconds.
    True,
    /// Nothing.
    Missing,
    /// This, whatever it is.
    Raw(serde_json::Value),
}

/// What a refresh does to the refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// Spends it at receipt and issues another.
    Rotate,
    /// Leaves it and issues none.
    Keep,
    /// Leaves it and sends it again.
    Resend,
}

/// What the authorization endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Approves at once.
    Approve,
    /// Shows a page with a button.
    Ask,
    /// Answers `access_denied`.
    Deny,
}

/// Whether the MCP server needs a sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// A token of the provider.
    Provider,
    /// A token of the provider, but not yet for opening a session.
    Tools,
    /// Nothing.
    Open,
    /// This very token.
    Static(String),
    /// It is no MCP server at all: every path answers 200 with HTML.
    NotMcp,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            access_lifetime_ms: 3_600_000,
            expires_in: Lifetime::True,
            grace_ms: 0,
            rotation: Rotation::Rotate,
            consent: Consent::Approve,
            client_auth: "none".to_owned(),
            auth: AuthMode::Provider,
            challenge: true,
            sse: false,
            legacy: true,
            modern: true,
            revocation: true,
            scopes: vec!["tools".to_owned()],
            metadata: serde_json::Map::new(),
            resource_metadata: serde_json::Map::new(),
            registration: serde_json::Map::new(),
            iss: None,
            more_tools: Vec::new(),
            endless_tools: false,
            record: false,
        }
    }
}

impl Config {
    pub(crate) fn access_lifetime(&self) -> Duration {
        Duration::from_millis(self.access_lifetime_ms)
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}
