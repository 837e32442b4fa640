//! Programs that use rmcp's `AuthorizationManager`, over the shared sign-in.

mod bench;
mod sharing;
mod sign_in;
