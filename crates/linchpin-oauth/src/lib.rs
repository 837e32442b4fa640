//! What a provider says: discovery, registration, authorization, typed exchanges, revocation, challenges.
mod exchange;
pub use exchange::{Exchange, Revocation, TokenAnswer, TokenEndpoint};
