//! What the tests of several modules start from.

use std::time::Duration;

use crate::{CredentialKey, LockRequest, PlainHttp, Profile, Record, ServerUrl};

/// Gives up soon.
pub(crate) const QUICK: LockRequest = LockRequest { purpose: "test", within: Duration::from_millis(200) };
/// Waits for as long as a test may take.
pub(crate) const PATIENT: LockRequest = LockRequest { purpose: "test", within: Duration::from_secs(30) };

/// The key of one of any number of servers.
pub(crate) fn key(number: usize) -> CredentialKey {
    let url = format!("https://mcp{number}.example.com/mcp");
    CredentialKey::new(Profile::default(), ServerUrl::parse(&url, PlainHttp::LoopbackOnly).expect("a URL"))
}

/// A record with this access token.
pub(crate) fn record(access: &str) -> Record {
    let json = format!(
        r#"{{"version":1,"generation":1,"issuer":"https://as.example.com","token_endpoint":"https://as.example.com/t",
        "token_endpoint_auth_method":"none","resource":"https://mcp.example.com/mcp",
        "client":{{"id":"c","registration":"dynamic"}},"access_token":"{access}","obtained_at_ms":1}}"#
    );
    Record::from_json(&json).expect("a record")
}
