//! What happened, in numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::grants::fingerprint;

/// Everything counted since the start or the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Clients registered.
    pub registrations: u64,
    /// Authorization pages asked for.
    pub authorizations: u64,
    /// Codes exchanged for tokens.
    pub code_exchanges: u64,
    /// Refresh tokens exchanged for new tokens.
    pub exchanges: u64,
    /// Spent refresh tokens that came back within the grace and got the same successor.
    pub repeats: u64,
    /// Spent refresh tokens that came back outside it: each revokes its grant.
    pub replays: u64,
    /// Refresh tokens of revoked grants, or unknown ones, that were presented.
    pub presented_dead: u64,
    /// Grants revoked because of a replay.
    pub grants_revoked: u64,
    /// Tokens revoked by their holder (RFC 7009).
    pub revocations: u64,
    /// Requests to the token endpoint by grant type.
    pub token_requests: BTreeMap<String, u64>,
    /// Presentations of each refresh token, by the SHA-256 of the token in hexadecimal.
    pub presentations: BTreeMap<String, u64>,
    /// The most exchanges of one grant that ran at once.
    pub most_exchanges_at_once: u64,
    /// Requests for metadata.
    pub metadata_requests: u64,
    /// Requests to the MCP endpoint, `POST tools/call` or `GET`.
    pub mcp_requests: BTreeMap<String, u64>,
    /// Requests to the MCP endpoint by access token, as `presentations`.
    pub mcp_requests_by_token: BTreeMap<String, u64>,
    /// Requests answered 401.
    pub unauthorized: u64,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Sessions deleted by the client.
    pub sessions_deleted: u64,
    /// Requests for a session that there is not.
    pub sessions_unknown: u64,
    /// GET requests with `Last-Event-ID`.
    pub resumes: u64,
    /// Tool calls by their `nonce` argument, counted when they ran.
    pub tool_calls: BTreeMap<String, u64>,
    /// Answers to requests of the server.
    pub client_answers: u64,
}

impl Counts {
    /// How often the refresh token that was presented most often was presented.
    pub fn most_presentations(&self) -> u64 {
        self.presentations.values().copied().max().unwrap_or(0)
    }

    /// How often this refresh token was presented.
    pub fn presentations_of(&self, refresh_token: &str) -> u64 {
        self.presentations.get(&fingerprint(refresh_token)).copied().unwrap_or(0)
    }

    /// Tool calls that ran, doubles included.
    pub fn calls_run(&self) -> u64 {
        self.tool_calls.values().sum()
    }

    /// Tool calls that ran more than once.
    pub fn calls_doubled(&self) -> usize {
        self.tool_calls.values().filter(|&&count| count > 1).count()
    }
}
