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
pub mod rmcp_auth;
mod server;

pub use client::{Cancel, ClientError, McpClient, McpClientBuilder, Operation};
pub use installation::{Builder, Environment, Linchpin, Listed, SetupError};
pub use linchpin_authority::{
    AccessToken, Authority, Copies, Credential, CredentialError, Imported, Leftover, Moved, Replace,
    SignInReason, SignOut, Wait, login_command,
};
pub use linchpin_oauth::challenge::{Challenge, Challenges};
pub use linchpin_oauth::http::{HttpOptions, HttpSetupError};
pub use linchpin_oauth::sign_in::{
    Callback, ClientCredentials, ClientProof, KeyError, PendingSignIn, PreregisteredClient, SignInError,
    SignInOptions,
};
pub use linchpin_oauth::{Provider, Revocation};
pub use linchpin_proxy::{Bridge, BridgeError, Ended};
pub use linchpin_store::{
    Client, ClientAuthMethod, Clock, CredentialKey, Directories, DirectoriesError, Disposition, FileStore,
    IdentityError, KeyringError, KeyringStore, LockError, LockHolder, MemoryStore, PlainHttp, PolicyError,
    Profile, ProfileError, Record, Registration, Secret, SecretsStore, ServerUrl, ServerUrlError, SignInTurn,
    Store, StoreError, StoreKind, StorePolicy, StoredRecord, Stores, SystemClock, UnixMs, UserFile,
    UserFileGuard, Why, doctor, history,
};
pub use linchpin_transport::{Authorization, Endpoint, SendError};
pub use rmcp;
pub use server::{Server, SignInFailed, SignedIn, Turn};
