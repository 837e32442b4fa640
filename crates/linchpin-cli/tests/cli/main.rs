//! The built command in real processes, against the strict provider. Every test asserts what a user sees and what
//! the provider counted, and ends with a search of everything that was printed for every secret that was issued.
#![expect(
    clippy::disallowed_methods,
    reason = "tests are part of the world that the command is shielded from"
)]

mod storms;
mod world;
