//! The request headers of revision 2026-07-28, derived from the body (its "Request Metadata").

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::message::Message;

/// Revisions from here on carry their version in every request and have no sessions.
const FIRST_MODERN: &str = "2026-07-28";
/// The member of `params` that carries the version.
const META: &[u8] = b"\"_meta\"";

/// What the bridge has to know of a request's `params`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Params<'a> {
    #[serde(rename = "_meta", borrow)]
    meta: Option<Meta<'a>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uri: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl Params<'_> {
    fn modern_version(&self) -> Option<&str> {
        self.meta.as_ref()?.version.as_deref().filter(|version| *version >= FIRST_MODERN)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta<'a> {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion", borrow)]
    version: Option<Cow<'a, str>>,
}

/// Which arguments of which tools are mirrored into headers, as learnt from `tools/list` answers.
#[derive(Debug, Default)]
pub(crate) struct ToolHeaders(HashMap<String, Vec<(Vec<String>, HeaderName)>>);

/// Whether `params` name revision 2026-07-28 or later.
pub(crate) fn is_modern(params: &[u8]) -> bool {
    // Without an escape the name stands there as it is, so most calls of older revisions need no parsing.
    let perhaps = params.contains(&b'\\') || params.windows(META.len()).any(|part| part == META);
    perhaps
        && serde_json::from_slice::<Params<'_>>(params).is_ok_and(|params| params.modern_version().is_some())
}

/// The headers of a request or notification of revision 2026-07-28 or later; `None` when it is none.
pub(crate) fn headers(message: &Message, tools: &ToolHeaders) -> Option<HeaderMap> {
    if !message.is_modern {
        return None;
    }
    let params: Params<'_> = serde_json::from_slice(message.params.as_deref()?).ok()?;
    let version = params.modern_version()?;
    let method = message.method()?;
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", encoded(version));
    headers.insert("mcp-method", encoded(method));
    let name = match method {
        "tools/call" | "prompts/get" => params.name.as_deref(),
        "resources/read" => params.uri.as_deref(),
        _ => None,
    };
    if let Some(name) = name {
        headers.insert("mcp-name", encoded(name));
    }
    if let ("tools/call", Some(name), Some(arguments)) = (method, name, params.arguments) {
        tools.mirror(name, arguments, &mut headers);
    }
    Some(headers)
}

/// The id of the request that a `notifications/cancelled` names, as the JSON text.
pub(crate) fn cancelled(message: &Message) -> Option<String> {
    #[derive(Deserialize)]
    struct Cancelled<'a> {
        #[serde(rename = "requestId", borrow)]
        request_id: &'a RawValue,
    }
    if message.method() != Some("notifications/cancelled") {
        return None;
    }
    let cancelled: Cancelled<'_> = serde_json::from_slice(message.params.as_deref()?).ok()?;
    Some(cancelled.request_id.get().to_owned())
}

impl ToolHeaders {
    /// Learns from the result of a `tools/list`. A tool with an invalid annotation mirrors nothing: clients have to
    /// leave such a tool out.
    pub(crate) fn learn(&mut self, result: &RawValue) {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            tools: Vec<Tool>,
        }
        #[derive(Deserialize)]
        struct Tool {
            name: String,
            #[serde(default, rename = "inputSchema")]
            input_schema: Value,
        }
        let Ok(list) = serde_json::from_str::<List>(result.get()) else { return };
        for tool in list.tools {
            let mut found = Vec::new();
            annotations(&tool.input_schema, &mut Vec::new(), &mut found);
            if found.is_empty() {
                self.0.remove(&tool.name);
            } else {
                self.0.insert(tool.name, found);
            }
        }
    }

    fn mirror(&self, tool: &str, arguments: &RawValue, headers: &mut HeaderMap) {
        let Some(mirrored) = self.0.get(tool) else { return };
        let Ok(arguments) = serde_json::from_str::<Value>(arguments.get()) else { return };
        for (path, header) in mirrored {
            let value = path.iter().try_fold(&arguments, |value, name| value.get(name));
            let text = match value {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Number(number)) => number.to_string(),
                _ => continue,
            };
            headers.insert(header.clone(), encoded(&text));
        }
    }
}

/// Annotations that are reachable through `properties` alone, of primitive types.
fn annotations(schema: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, HeaderName)>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        path.push(name.clone());
        let primitive =
            matches!(property.get("type").and_then(Value::as_str), Some("string" | "integer" | "boolean"));
        let annotation = property.get("x-mcp-header").and_then(Value::as_str).filter(|_| primitive);
        if let Some(header) = annotation
            && !header.is_empty()
            && let Ok(header) = HeaderName::try_from(format!("mcp-param-{header}"))
        {
            found.push((path.clone(), header));
        }
        annotations(property, path, found);
        path.pop();
    }
}

/// A header value; what cannot stand in one as it is goes into the Base64 sentinel.
fn encoded(text: &str) -> HeaderValue {
    let looks_encoded = text.starts_with("=?base64?") && text.ends_with("?=");
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !looks_encoded;
    let text = if plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) };
    HeaderValue::try_from(text).expect("visible ASCII is a header value")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::read;

    fn derived(line: &str, tools: &ToolHeaders) -> Option<Vec<(String, String)>> {
        let message = read(Bytes::copy_from_slice(line.as_bytes())).expect("a message");
        let headers = headers(&message, tools)?;
        let mut pairs: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned()))
            .collect();
        pairs.sort();
        Some(pairs)
    }

    fn line(method: &str, version: &str, rest: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{rest}"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}}}}}"#
        )
    }

    #[test]
    fn headers_mirror_the_body() {
        let none = ToolHeaders::default();
        let expected = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>())
        };
        assert_eq!(
            derived(&line("tools/call", "2026-07-28", r#""name":"a b","#), &none),
            expected(&[
                ("mcp-method", "tools/call"),
                ("mcp-name", "a b"),
                ("mcp-protocol-version", "2026-07-28")
            ])
        );
        assert_eq!(
            derived(&line("resources/read", "2026-07-28", r#""uri":"file:///ü","#), &none),
            expected(&[
                ("mcp-method", "resources/read"),
                ("mcp-name", "=?base64?ZmlsZTovLy/DvA==?="),
                ("mcp-protocol-version", "2026-07-28")
            ])
        );
        assert_eq!(derived(&line("tools/list", "2025-11-25", ""), &none), None);
        assert_eq!(derived(r#"{"id":1,"method":"tools/list"}"#, &none), None);
        for odd in [" x", "x ", "=?base64?x?=", "a\tb"] {
            assert!(encoded(odd).to_str().expect("ASCII").starts_with("=?base64?"), "{odd:?}");
        }
    }

    #[test]
    fn a_modern_message_is_known_however_its_names_are_written() {
        let none = ToolHeaders::default();
        let is_modern = |params: &str| {
            let line = format!(r#"{{"id":1,"method":"tools/list","params":{params}}}"#);
            derived(&line, &none).is_some()
        };
        assert!(is_modern(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#));
        assert!(is_modern(r#"{"_met\u0061" : {"io.modelcontextprotocol\/protocolVersion":"2026-07-28"}}"#));
        assert!(!is_modern(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}"#));
        assert!(!is_modern(r#"{"_meta":{"progressToken":1}}"#));
        assert!(!is_modern(r#"{"x":"\\ \"_meta\""}"#) && !is_modern("[]") && !is_modern("{}"));
    }

    #[test]
    fn annotated_arguments_are_mirrored_where_the_schema_reaches_them() {
        let mut tools = ToolHeaders::default();
        let list = r#"{"tools":[{"name":"t","inputSchema":{"properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
            "ratio":{"type":"number","x-mcp-header":"Ratio"},
            "bad":{"type":"string","x-mcp-header":"a b"},
            "list":{"type":"array","items":{"properties":{"x":{"type":"string","x-mcp-header":"X"}}}}}}}]}"#;
        tools.learn(&RawValue::from_string(list.to_owned()).expect("JSON"));
        let call = line(
            "tools/call",
            "2026-07-28",
            r#""name":"t","arguments":{"region":"eu","deep":{"n":-7},"ratio":1.5,"bad":"x","list":[{"x":"y"}]},"#,
        );
        let headers = derived(&call, &tools).expect("modern");
        let mirrored: Vec<_> =
            headers.iter().filter(|(name, _)| name.starts_with("mcp-param-")).cloned().collect();
        assert_eq!(
            mirrored,
            [("mcp-param-n".to_owned(), "-7".to_owned()), ("mcp-param-region".to_owned(), "eu".to_owned())]
        );
    }

    #[test]
    fn a_cancellation_names_its_request_by_the_text_of_the_id() {
        let cancel = |id: &str| {
            let line = format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
            cancelled(&read(Bytes::from(line)).expect("a message"))
        };
        assert_eq!(cancel("7").as_deref(), Some("7"));
        assert_eq!(cancel("\"7\"").as_deref(), Some("\"7\""));
    }
}
