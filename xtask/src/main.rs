//! What developers run: `cargo xtask test`, `interop`, `conformance`, `bench`, `faults`, `contrast`, `storms`.

mod bench;
mod conformance;
mod faults;
mod figures;
mod interop;
mod node;
mod run;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What developers of Linchpin run
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that has to pass: format, clippy, docs, tests, interop, conformance
    Test(test::Options),
    /// Against parts that nobody here wrote: the official SDKs and oidc-provider
    Interop(interop::Options),
    /// The MCP conformance suite against the library
    Conformance(conformance::Options),
    /// Measure the bridge beside a forwarder without logic and the peers that are installed
    Bench(bench::Options),
    /// Kill real processes at each step of a transaction, order them by barriers, and let them soak
    Faults(faults::Options),
    /// Faults of a refresh, beside rmcp's own client with a correct guard; writes bench/CONTRAST.md
    Contrast,
    /// Storms of 2, 8 and 32 processes on every store; writes bench/STORMS.md
    Storms,
}

#[expect(clippy::print_stderr, reason = "a program for developers")]
fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Interop(options) => interop::run(&options),
        Task::Conformance(options) => conformance::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Faults(options) => faults::run(&options),
        Task::Contrast => figures::run(&figures::CONTRAST),
        Task::Storms => figures::run(&figures::STORMS),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
