//! Who may change a sign-in: refresh, sign-in and sign-out as transactions under one lock.
mod credential;
mod error;
mod token;
pub use credential::{Authority, Credential};
pub use error::{CredentialError, SignInReason, login_command};
pub use token::{AccessToken, Wait};
