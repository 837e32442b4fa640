//! A call that waits no longer than it may: `cargo run --example deadline -- URL TOOL MILLISECONDS`.
//!
//! The deadline covers all that the call takes: a token, the session, the answer. What it waited for goes on without it: a
//! refresh that was too slow for one call is there for the next (P18).

use std::error::Error;
use std::time::Duration;

use linchpin::rmcp::model::{CallToolResult, JsonObject};
use linchpin::{ClientError, Linchpin, McpClient, PlainHttp, Profile, ServerUrl};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, tool, limit] = arguments.as_slice() else { return Err("usage: deadline URL TOOL MS".into()) };
    let limit = Duration::from_millis(limit.parse()?);
    let linchpin = Linchpin::from_env()?;
    let server = linchpin.server(ServerUrl::parse(url, PlainHttp::LoopbackOnly)?, Profile::default()).await;
    let client = McpClient::connect(&server).await?;
    match call_within(&client, tool, limit).await? {
        Some(result) => println!("{:?}", result.content),
        None => println!("no answer within {} ms", limit.as_millis()),
    }
    client.close().await;
    linchpin.drain(Duration::from_secs(60)).await;
    Ok(())
}

/// The result, or `None` when there was none in time; any other failure is one.
pub async fn call_within(
    client: &McpClient,
    tool: &str,
    limit: Duration,
) -> Result<Option<CallToolResult>, ClientError> {
    match client.call_tool(tool, JsonObject::new()).within(limit).await {
        Ok(result) => Ok(Some(result)),
        Err(ClientError::TimedOut(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
