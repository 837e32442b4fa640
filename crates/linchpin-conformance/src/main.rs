//! The client that the MCP conformance suite runs (`cargo xtask conformance`): what a program with the library does,
//! and a person who signs in without a browser.
//!
//! The suite starts it once per scenario, `linchpin-conformance URL`, and says in the environment which scenario it
//! is, which revision of the protocol the server speaks, and what the person was given beforehand. It exits 0 when
//! the scenario's work was done; what the work was worth is for the suite to judge.

mod answers;
mod browser;
mod person;
mod scenario;
mod session;
mod task;

use std::process::ExitCode;

use crate::task::Task;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "a program of its own, whose output the suite keeps")]
async fn main() -> ExitCode {
    let done = async { scenario::run(Task::read()?).await };
    match done.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("linchpin-conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}
