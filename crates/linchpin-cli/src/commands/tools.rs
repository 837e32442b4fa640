//! `linchpin tools`: what a server offers.

use linchpin::McpClient;

use super::CLOSING;
use super::login::spinner;
use crate::app::App;
use crate::args::Tools;
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(app: &App, args: Tools) -> Result<u8, Failure> {
    let server = app.server(&args.target).await?;
    let waiting = spinner(&format!("asking {}", server.url()));
    let client = McpClient::builder().within(args.timeout).connect(&server).await;
    let tools = match &client {
        Ok(client) => Some(client.list_tools().within(args.timeout).await),
        Err(_) => None,
    };
    waiting.finish_and_clear();
    let client = client?;
    client.close_within(CLOSING).await;
    let tools = tools.unwrap_or_else(|| Ok(Vec::new()))?;
    if args.output.json {
        output::json(&tools)?;
        return Ok(0);
    }
    let rows = tools.iter().map(|tool| {
        let description = tool.description.as_deref().unwrap_or_default();
        vec![tool.name.to_string(), description.lines().next().unwrap_or_default().to_owned()]
    });
    output::table(&["TOOL", "DESCRIPTION"], rows.collect())?;
    Ok(0)
}
