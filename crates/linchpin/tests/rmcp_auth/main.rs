//! Programs that use rmcp's `AuthorizationManager`, over the shared sign-in; and the examples.

mod examples;
mod sharing;
mod sign_in;
mod world;
