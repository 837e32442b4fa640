//! What a provider says: discovery, registration, authorization, typed exchanges, revocation, challenges.
//!
//! A sign-in is a [`PendingSignIn`](sign_in::PendingSignIn) that turns into a record; a record is renewed and given
//! up at a [`TokenEndpoint`]. Every outcome is typed: what was surely not sent can be told from what nobody knows,
//! and a dead token from a provider that is out of order. Nothing here changes a store.
//!
//! # Limitations
//! Only the authorization code grant with PKCE signs a person in, and only the client credentials grant a program; the
//! device grant is not here yet. URLs that metadata supplied are checked and resolved through a filter; behind an HTTP proxy the proxy
//! resolves names, and only literal addresses can be checked.

mod assertion;
pub mod challenge;
mod exchange;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod http;
mod provider;
pub mod sign_in;

pub use exchange::{Exchange, Revocation, TokenAnswer, TokenEndpoint};
pub use provider::Provider;
