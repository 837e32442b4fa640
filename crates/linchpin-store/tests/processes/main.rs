//! The local stores between real processes: writers that interleave, writers that are killed, and locks.
//!
//! A child is this binary again, with its role in the environment; see [`child`].
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test reads the environment and the clock; `--nocapture` shows its figures"
)]

mod child;
mod kills;
mod locks;
mod machine;
mod writers;
