//! One sign-in per MCP server, shared by every process on the machine, that nothing rotates away.
//!
//! A [`Linchpin`] resolves the store once and is the owner of the sign-ins in it. A [`Server`] is one MCP server with
//! one person's sign-in: it signs in and out, gives access tokens to any HTTP client, and takes their refusals. An
//! [`McpClient`] speaks the protocol over it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use linchpin::{Linchpin, McpClient, PlainHttp, Profile, ServerUrl};
//!
//! let linchpin = Linchpin::from_env()?;
//! let url = ServerUrl::parse("https://mcp.example.com/mcp", PlainHttp::LoopbackOnly)?;
//! let server = linchpin.server(url, Profile::default()).await;
//! let client = McpClient::connect(&server).await?;
//! for tool in client.list_tools().within(Duration::from_secs(10)).await? {
//!     println!("{}", tool.name);
//! }
//! client.close().await;
//! linchpin.drain(Duration::from_secs(60)).await;
//! # Ok(()) }
//! ```
//!
//! # Limitations
//! A process that exits while a refresh is running costs that token its one repeat: call [`Linchpin::drain`] first.

mod client;
mod installation;
mod pins;
pub mod rmcp_auth;
mod server;

/// What a [`Store`] is written with, and what the stores of an installation say of themselves.
///
/// A store is one `impl` with [`async_trait`](crate::async_trait): its [`lock`](store::Store::lock) answers with a
/// [`CredentialGuard`](store::CredentialGuard) over whatever is [`Held`](store::Held), and everything that changes a
/// record is given that guard. [`Builder::store`] takes it.
pub mod store {
    pub use linchpin_store::{
        Client, ClientAuthMethod, Clock, CredentialGuard, CredentialKey, DeadToken, Directories,
        DirectoriesError, Disposition, Drift, DriftReason, ExchangeMark, FileStore, Fingerprint, Held, Hold,
        IdentityError, IdentityPlace, KeyringError, KeyringStore, LockError, LockHolder, LockRequest,
        LockWatch, MemoryStore, Pin, PolicyError, RECORD_VERSION, Record, RecordError, RefusedClient,
        RefusedToken, Registration, Secret, SecretsStore, SignInTurn, Store, StoreError, StoreKind,
        StorePolicy, StoredRecord, Stores, SystemClock, UnixMs, UserFile, UserFileGuard, Why,
    };
}

/// Where tokens are spent: what a [`TokenEndpoint`] of one's own is written with, for
/// [`Builder::token_endpoint`].
pub mod provider {
    pub use linchpin_oauth::http::{HttpOptions, HttpSetupError};
    pub use linchpin_oauth::{Exchange, Provider, Revocation, TokenAnswer, TokenEndpoint};
}

/// Requests with a sign-in: what a [`Server::endpoint`] sends and answers, and rmcp's transport over it
/// ([`rmcp::transport`](transport::rmcp::transport)).
pub mod transport {
    pub use linchpin_transport::{
        Allowance, Answer, Authorization, Endpoint, Event, EventReader, EventTooLarge, Outgoing, ReadError,
        Recovery, SendError, Sent, listening, rmcp,
    };
}

pub use async_trait::async_trait;
pub use client::{Cancel, ClientError, McpClient, McpClientBuilder, Operation};
pub use http;
pub use installation::{Builder, Environment, Linchpin, Listed, SetupError};
pub use linchpin_authority::{
    AccessToken, Authority, ClientRemedy, Copies, Credential, CredentialError, Imported, Leftover, Moved,
    Refused, Replace, SignInReason, SignOut, Wait, login_command, moment_in,
};
pub use linchpin_oauth::challenge::{Challenge, Challenges};
pub use linchpin_oauth::http::{HttpOptions, HttpSetupError};
pub use linchpin_oauth::sign_in::{
    Callback, ClientCredentials, ClientProof, KeyError, PendingSignIn, PreregisteredClient, SignInError,
    SignInOptions,
};
pub use linchpin_oauth::{Exchange, Provider, Revocation, TokenAnswer, TokenEndpoint};
pub use linchpin_proxy::{Bridge, BridgeError, Ended};
pub use linchpin_store::{
    Client, ClientAuthMethod, Clock, CredentialKey, Directories, DirectoriesError, Disposition, FileStore,
    Fingerprint, IdentityError, KeyringError, KeyringStore, LockError, LockHolder, MemoryStore, PlainHttp,
    PolicyError, Profile, ProfileError, Record, Registration, Secret, SecretsStore, ServerUrl,
    ServerUrlError, SignInTurn, Store, StoreError, StoreKind, StorePolicy, StoredRecord, Stores, SystemClock,
    UnixMs, UserFile, UserFileGuard, Why, doctor, history, plain_json,
};
pub use linchpin_transport::{Authorization, Endpoint, SendError};
pub use rmcp;
pub use server::{Server, SignInBegun, SignInFailed, SignedIn, Turn};

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
