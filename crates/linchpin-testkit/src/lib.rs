//! A strict OAuth provider and MCP server on loopback, with faults and counters.
//!
//! The provider rotates a refresh token the moment it arrives, whatever becomes of the answer, and revokes the whole
//! grant when a spent one comes back (RFC 9700 section 4.14.2), unless within a configured grace. The server speaks
//! Streamable HTTP of 2025-06-18 and 2025-11-25 (sessions, SSE, resumption) and of 2026-07-28 (stateless). Everything
//! is counted, and every answer can be delayed, held, lost after it took effect, cut at a byte, stalled or replaced.
//!
//! It uses no other Linchpin crate, so that it cannot share their mistakes.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use linchpin_testkit::{Endpoint, Fault, Kit, Options};
//!
//! let kit = Kit::start(Options::default()).await.unwrap();
//! kit.fault(Fault::lose(Endpoint::Token).times(1));
//! let signed_in = kit.sign_in().unwrap();
//! assert!(signed_in.access_token.starts_with("planted-"));
//! assert_eq!(kit.counts().exchanges, 0);
//! # });
//! ```
//!
//! # Limitations
//! Plain http on loopback only. Every token, code and secret begins with `planted-`, so that a search of captured
//! output finds any that leaked.

mod admin;
mod browse;
mod config;
#[cfg(feature = "contrast")]
pub mod contrast;
mod counts;
mod fault;
mod grants;
mod kit;
mod log;
mod mcp;
pub mod process;
mod provider;
mod respond;
mod serve;
#[cfg(unix)]
pub mod session;
mod stream;

pub use browse::{Page, browse};
pub use config::{AuthMode, Config, ConfigChange, Consent, Lifetime, Options, Rotation};
pub use counts::Counts;
pub use fault::{Action, Endpoint, Fault};
pub use kit::{Kit, KitThread, Seen, SignedIn};
pub use log::{CapturedLog, captured_log};
