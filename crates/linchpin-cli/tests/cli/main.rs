//! The built command in real processes, against the strict provider. Every test asserts what a user sees and what
//! the provider counted, and its world, when it goes, searches everything that was printed for every secret issued.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests are part of the world that the command is shielded from; `--nocapture` shows their figures"
)]

mod addresses;
mod answers;
mod bad_input;
mod bad_store;
mod binding;
mod browser;
mod commands;
mod configuration;
mod contrast;
mod cut_short;
mod demo;
mod echoes;
mod endless;
mod faults;
mod hostile_provider;
mod hostile_server;
mod lock_faults;
mod log;
mod long;
mod machine_faults;
mod outages;
mod raw;
mod redirects;
mod running;
mod secrets;
mod sign_in;
mod sign_out;
mod store_faults;
mod stores;
mod storm_sizes;
mod storms;
mod turns;
mod usage;
mod world;
