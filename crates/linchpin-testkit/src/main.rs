//! The kit on its own: prints where it is as one line of JSON, and runs until standard input closes.
//!
//! `linchpin-testkit [CONFIG]`, CONFIG being a JSON object with the fields of the configuration to change.

use std::process::ExitCode;

use linchpin_testkit::{Config, Kit, Options};
use tokio::io::AsyncReadExt as _;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own")]
async fn main() -> ExitCode {
    let config = match std::env::args().nth(1) {
        None => Config::default(),
        Some(text) => match serde_json::from_str(&text) {
            Ok(config) => config,
            Err(error) => {
                eprintln!("linchpin-testkit: the configuration is not valid: {error}");
                return ExitCode::from(2);
            }
        },
    };
    let kit = match Kit::start(Options { config, ..Options::default() }).await {
        Ok(kit) => kit,
        Err(error) => {
            eprintln!("linchpin-testkit: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "{}",
        serde_json::json!({ "issuer": kit.issuer(), "mcp_url": kit.mcp_url(), "admin_url": kit.admin_url() })
    );
    let mut rest = Vec::new();
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
    ExitCode::SUCCESS
}
