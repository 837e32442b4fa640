//! `McpClient` against the strict kit: what its callers notice, and what the server and the provider counted.
//!
//! Where several processes are needed, a child is this binary again, with its role in the environment; see [`child`].
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "a child reads its role from the environment")]
#![expect(
    clippy::print_stdout,
    reason = "a child reports on standard output; `--nocapture` shows the figures"
)]

mod background;
mod bounds;
mod child;
mod configured;
mod listening;
mod operations;
mod own_sign_in;
mod parts;
mod recovery;
mod repeats;
mod startup;
mod step_up;
mod storm;
mod world;
