//! A program that uses rmcp's `AuthorizationManager`, over the shared sign-in: `cargo run --example rmcp_manager -- URL TOOL`.

use std::error::Error;
use std::time::Duration;

use linchpin::rmcp::model::{CallToolRequestParams, CallToolResult};
use linchpin::rmcp::service::serve_client;
use linchpin::rmcp::transport::StreamableHttpClientTransport;
use linchpin::rmcp::transport::auth::AuthClient;
use linchpin::rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use linchpin::{Linchpin, PlainHttp, Profile, Server, ServerUrl};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, tool] = arguments.as_slice() else { return Err("usage: rmcp_manager URL TOOL".into()) };
    // reqwest's own client leaves the choice of cryptography to the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let linchpin = Linchpin::from_env()?;
    let server = linchpin.server(ServerUrl::parse(url, PlainHttp::LoopbackOnly)?, Profile::default()).await;
    println!("{:?}", call(&server, tool).await?.content);
    linchpin.drain(Duration::from_secs(60)).await;
    Ok(())
}

/// All but the first line is rmcp as it was before.
pub async fn call(server: &Server, tool: &str) -> Result<CallToolResult, Box<dyn Error>> {
    let manager = server.rmcp_auth().manager().await?;
    let client = AuthClient::new(reqwest::Client::default(), manager);
    let config = StreamableHttpClientTransportConfig::with_uri(server.url().url().as_str());
    let service = serve_client((), StreamableHttpClientTransport::with_client(client, config)).await?;
    let result = service.call_tool(CallToolRequestParams::new(tool.to_owned())).await?;
    service.cancel().await?;
    Ok(result)
}
