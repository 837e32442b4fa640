//! What the person answers when the server asks something in between.

use linchpin::rmcp::ClientHandler;
use linchpin::rmcp::model::{
    ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
    ElicitationCapability, ErrorData, FormElicitationCapability, Implementation, JsonObject,
};
use linchpin::rmcp::service::{RequestContext, RoleClient};
use serde_json::{Value, json};

use crate::scenario::sample;

/// Somebody who agrees to everything, and changes nothing that a form has filled in already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers;

impl ClientHandler for Answers {
    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { requested_schema, .. } = request else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        let schema = serde_json::to_value(&requested_schema).unwrap_or_default();
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(Value::Object(filled_in(&schema))))
    }

    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        let forms = ElicitationCapability::new().with_form(FormElicitationCapability::default());
        capabilities.elicitation = Some(forms);
        let implementation = Implementation::new("linchpin-conformance", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(capabilities, implementation)
    }
}

/// The form as it is sent off untouched: what it gives by default, and where it has to be filled in, something.
fn filled_in(schema: &Value) -> JsonObject {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fields = schema["properties"].as_object().into_iter().flatten();
    let values = fields.filter_map(|(name, field)| {
        let value = match field.get("default") {
            Some(default) => default.clone(),
            None if required.contains(&json!(name)) => sample(field),
            None => return None,
        };
        Some((name.clone(), value))
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_keeps_its_defaults_and_gets_what_it_requires() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string", "default": "John" },
                "age": { "type": "integer" },
                "note": { "type": "string" },
            },
            "required": ["age"],
        });
        assert_eq!(Value::Object(filled_in(&schema)), json!({ "name": "John", "age": 2 }));
        assert_eq!(filled_in(&Value::Null), JsonObject::new());
    }
}
