//! What a program does in each scenario: nearly always the same, list the tools and call them.

use anyhow::{Context as _, Result};
use linchpin::rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};

use crate::session::Session;
use crate::task::{Task, ToolCall};

/// Does the scenario's work.
pub(crate) async fn run(task: Task) -> Result<()> {
    let session = Session::open(&task).await?;
    let tools = session.attended(async |client| client.list_tools().await).await?;
    match task.scenario.as_str() {
        // Looking at them is all.
        "json-schema-ref-no-deref" => {}
        "json-schema-2020-12-preservation" => echo_schema(&session, &tools).await?,
        _ if !task.given.tool_calls.is_empty() => {
            for ToolCall { name, arguments } in &task.given.tool_calls {
                call(&session, name, arguments).await?;
            }
        }
        _ => {
            for tool in &tools {
                call(&session, &tool.name, &arguments(&tool.input_schema)).await?;
            }
        }
    }
    look_round(&session).await?;
    session.close().await;
    Ok(())
}

async fn call(session: &Session, tool: &str, arguments: &JsonObject) -> Result<()> {
    session.attended(async |client| client.call_tool(tool, arguments.clone()).await).await?;
    Ok(())
}

/// Reads what else the server has: resources and prompts.
async fn look_round(session: &Session) -> Result<()> {
    let has = session.client().server_info().capabilities.clone();
    if has.resources.is_some() {
        for resource in session.attended(async |client| client.list_resources().await).await? {
            session.attended(async |client| client.read_resource(resource.uri.clone()).await).await?;
        }
    }
    if has.prompts.is_some() {
        for prompt in session.attended(async |client| client.list_prompts().await).await? {
            session.attended(async |client| client.get_prompt(prompt.name.clone(), None).await).await?;
        }
    }
    Ok(())
}

/// Sends the schema of one tool to another, as it was received.
async fn echo_schema(session: &Session, tools: &[Tool]) -> Result<()> {
    let found = tools.iter().find(|tool| tool.name == "json_schema_2020_12_tool");
    let schema = &found.context("the tool with the schema is not listed")?.input_schema;
    let arguments = JsonObject::from_iter([("schema".to_owned(), json!(schema))]);
    call(session, "json_schema_echo", &arguments).await
}

/// Arguments that a tool's schema admits: its required properties, each with a value of its type.
fn arguments(schema: &JsonObject) -> JsonObject {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let properties = schema.get("properties").unwrap_or(&Value::Null);
    let names = required.filter_map(Value::as_str);
    names.map(|name| (name.to_owned(), sample(&properties[name]))).collect()
}

/// A value of the type that a schema asks for.
pub(crate) fn sample(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("number" | "integer") => json!(2),
        Some("boolean") => json!(true),
        Some("object") => json!({}),
        Some("array") => json!([]),
        Some("null") => Value::Null,
        _ => json!("text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_what_a_schema_requires() {
        let schema = json!({
            "type": "object",
            "properties": { "a": { "type": "number" }, "b": { "type": "string" }, "c": { "type": "boolean" } },
            "required": ["b", "a", "unknown"],
        });
        let arguments = arguments(schema.as_object().expect("an object"));
        assert_eq!(Value::Object(arguments), json!({ "a": 2, "b": "text", "unknown": "text" }));
    }
}
