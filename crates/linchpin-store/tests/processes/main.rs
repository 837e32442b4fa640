//! The local stores between real processes: writers that interleave, and writers that are killed.
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
mod machine;
mod writers;
