//! `linchpin call`: one call of a tool.

use linchpin::{Disposition, McpClient};
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt as _;

use super::CLOSING;
use super::login::spinner;
use crate::app::App;
use crate::args::Call;
use crate::failure::Failure;
use crate::output;

/// The longest arguments that are read from standard input, in bytes.
const MAX_ARGUMENTS: u64 = 64 << 20;

pub(super) async fn run(app: &App, args: Call) -> Result<u8, Failure> {
    let arguments = arguments(&args.arguments).await?;
    let server = app.server(&args.target).await?;
    let waiting = spinner(&format!("calling {}", output::shown(&args.tool)));
    let outcome = async {
        let client = McpClient::builder().within(args.timeout).connect(&server).await?;
        let outcome = client.call_tool(&args.tool, arguments).within(args.timeout).await;
        client.close_within(CLOSING).await;
        outcome
    }
    .await;
    waiting.finish_and_clear();
    let result = outcome?;
    let failed = result.is_error.unwrap_or(false);
    let result = serde_json::to_value(&result).map_err(|error| {
        Failure::new(Disposition::Answered, format!("the result cannot be shown: {error}"))
    })?;
    if args.output.json {
        output::json(&result)?;
    } else {
        show(&result)?;
    }
    Ok(if failed { Disposition::Answered.exit_code() } else { 0 })
}

async fn arguments(text: &str) -> Result<Map<String, Value>, Failure> {
    let mut input = String::new();
    let text = if text == "-" {
        tokio::io::stdin().take(MAX_ARGUMENTS).read_to_string(&mut input).await.map_err(|error| {
            Failure::usage(format!("cannot read the arguments from standard input: {error}"))
        })?;
        &input
    } else {
        text
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(Failure::usage(
            "the arguments are not a JSON object; write them like '{\"name\": \"value\"}'",
        )),
        Err(error) => Err(Failure::usage(format!(
            "the arguments are not JSON (line {}, column {}); write them like '{{\"name\": \"value\"}}'",
            error.line(),
            error.column()
        ))),
    }
}

/// Text as text; anything else by its kind, since it is of no use on a terminal.
fn show(result: &Value) -> Result<(), Failure> {
    for block in result["content"].as_array().into_iter().flatten() {
        match block["type"].as_str() {
            Some("text") => output::line(output::shown_lines(block["text"].as_str().unwrap_or_default()))?,
            Some(kind) => output::line(format!("[{}; --json shows it]", output::shown(kind)))?,
            None => {}
        }
    }
    let has_text = result["content"].as_array().is_some_and(|blocks| !blocks.is_empty());
    if let Some(structured) = result.get("structuredContent").filter(|_| !has_text) {
        output::json(structured)?;
    }
    Ok(())
}
