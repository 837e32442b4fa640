//! How a token is used: one-shot recovery over HTTP, and the rmcp transport on top of it.
//!
//! An [`Endpoint`] sends requests to one MCP server. It asks the authority for an access token, charges a 401 to the
//! token that was sent, and sends a refused request once more with another (P16, P17). Whatever it is given to send,
//! it sends to the server's own origin and nowhere else (P20).
//!
//! # Limitations
//! A request is sent again only after a 401, which says that it was not processed. What a broken connection did is
//! for the caller to judge: [`SendError::Unreachable`] says whether the request surely was not sent.

mod allowance;
mod answer;
mod endpoint;
pub mod listening;
pub mod rmcp;
mod sse;

pub use allowance::Allowance;
pub use answer::{Answer, ReadError};
pub use endpoint::{Authorization, Endpoint, Outgoing, Recovery, SendError, Sent};
pub use sse::{Event, EventReader, EventTooLarge};
