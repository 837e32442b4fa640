//! Connects with the sign-in of this machine and calls a tool: `cargo run --example call -- URL TOOL`.

use std::error::Error;
use std::time::Duration;

use linchpin::rmcp::model::{CallToolResult, JsonObject};
use linchpin::{Linchpin, McpClient, PlainHttp, Profile, ServerUrl};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, tool] = arguments.as_slice() else { return Err("usage: call URL TOOL".into()) };
    let linchpin = Linchpin::from_env()?;
    println!("{:?}", call(&linchpin, url, tool).await?.content);
    // A refresh that is running is finished first.
    linchpin.drain(Duration::from_secs(60)).await;
    Ok(())
}

/// The whole of it.
pub async fn call(linchpin: &Linchpin, url: &str, tool: &str) -> Result<CallToolResult, Box<dyn Error>> {
    let url = ServerUrl::parse(url, PlainHttp::LoopbackOnly)?;
    let server = linchpin.server(url, Profile::default()).await;
    let client = McpClient::connect(&server).await?;
    let result = client.call_tool(tool, JsonObject::new()).await?;
    client.close().await;
    Ok(result)
}
