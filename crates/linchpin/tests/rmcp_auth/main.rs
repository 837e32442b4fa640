//! Programs that use rmcp's `AuthorizationManager`, over the shared sign-in; and the examples.

mod bench;
mod examples;
mod sharing;
mod sign_in;
