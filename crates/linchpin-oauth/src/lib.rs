//! What a provider says: discovery, registration, authorization, typed exchanges, revocation, challenges.
pub mod challenge;
mod exchange;
pub mod http;
mod provider;
pub use exchange::{Exchange, Revocation, TokenAnswer, TokenEndpoint};
pub use provider::Provider;
