//! The built command in real processes, against the strict provider. Every test asserts what a user sees and what
//! the provider counted, and ends with a search of everything that was printed for every secret that was issued.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests are part of the world that the command is shielded from; `--nocapture` shows their figures"
)]

mod bad_input;
mod commands;
mod demo;
mod faults;
mod lock_faults;
mod long;
mod machine_faults;
mod running;
mod session;
mod sign_in;
mod store_faults;
mod stores;
mod storms;
mod world;
