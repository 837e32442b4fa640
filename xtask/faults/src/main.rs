//! `cargo xtask faults`; see the library.

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    linchpin_faults::main()
}

#[cfg(not(unix))]
#[expect(clippy::print_stderr, reason = "a program for developers")]
fn main() -> ExitCode {
    eprintln!("faults: processes are killed, stopped and continued here, which takes a Unix");
    ExitCode::FAILURE
}
