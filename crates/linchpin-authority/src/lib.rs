//! Who may change a sign-in: refresh, sign-in and sign-out as transactions under one lock.
//!
//! A [`Credential`] answers two questions: "give me a token" ([`Credential::access_token`]) and "this one got a 401"
//! ([`Credential::recover`]). A good token is read without a lock. Everything else is a transaction: it runs in a
//! task of its own, so that no caller can cancel it (P7); it holds the credential lock across processes, so that one
//! exchange runs at a time (P6); and what it does is decided by the record read under that lock, never by what the
//! waiter knew.
//!
//! The rooms: `freshness` and `decide` are pure and say what to do; `exchange` spends a refresh token; `refresh`,
//! `sign` are the transactions, which `tell` puts into the history; `credential` is the handle that callers hold, `authority` the owner of them all.
//!
//! # Limitations
//! When the answer to an exchange is lost and the provider honours no repeat, the sign-in is lost; what is promised
//! is two presentations at most, no loop and a message that says what happened.

mod authority;
mod credential;
mod decide;
mod error;
mod exchange;
mod freshness;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod model;
mod refresh;
mod remedy;
#[cfg(test)]
mod schedules;
mod sign;
mod snapshot;
mod tasks;
mod tell;
mod token;

pub use authority::{Authority, Copies};
pub use credential::Credential;
pub use error::{CredentialError, SignInReason};
pub use remedy::{ClientRemedy, Refused, login_command};
pub use sign::{Imported, Leftover, Moved, Replace, SignOut, Turn};
pub use token::{AccessToken, Wait, moment_in};
