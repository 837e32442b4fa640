//! The kit on its own: prints where it is as one line of JSON, and runs until standard input closes.
//!
//! `linchpin-testkit [CONFIG]`, CONFIG being a JSON object with the fields of the configuration to change.

use std::process::ExitCode;

use linchpin_testkit::{Config, Kit, Options};
use tokio::io::AsyncReadExt as _;

const HELP: &str = "\
A strict OAuth provider and MCP server on loopback, with faults and counters.

Usage: linchpin-testkit [CONFIG]

CONFIG is a JSON object with the fields to change. Where the servers are is printed as one line of JSON; they run until
standard input closes. The controls, at `admin_url`, take and give JSON:
  GET    /info                  where the servers are
  GET    /counts                what was asked of them      POST /reset-counts
  GET    /secrets               every secret they gave out
  GET    /held                  how many requests a fault holds back
  POST   /release               lets those go on
  POST   /config                changes fields of the configuration
  POST   /faults                adds a fault                DELETE /faults
  POST   /sign-in               a sign-in without a person
  POST   /refuse-access-tokens, /revoke-grants, /forget-clients, /restore-clients, /drop-sessions
  POST   /push                  a message for every open event stream";

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own")]
async fn main() -> ExitCode {
    let config = match std::env::args().nth(1) {
        None => Config::default(),
        Some(text) if matches!(text.as_str(), "--help" | "-h") => {
            let config = serde_json::to_string_pretty(&Config::default()).unwrap_or_default();
            println!("{HELP}\n\nCONFIG, and what it is without one:\n{config}");
            return ExitCode::SUCCESS;
        }
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
