//! What goes wrong, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which answers a fault applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// Protected resource metadata (RFC 9728).
    ResourceMetadata,
    /// Authorization server metadata (RFC 8414).
    Metadata,
    /// Client registration.
    Register,
    /// Authorization.
    Authorize,
    /// Tokens.
    Token,
    /// Revocation.
    Revoke,
    /// POST to the MCP endpoint.
    McpPost,
    /// GET to the MCP endpoint.
    McpGet,
    /// DELETE to the MCP endpoint.
    McpDelete,
}

/// A fault of the next answers of one endpoint. The request takes effect (a token rotates, a tool runs) unless the
/// action says otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// Which answers.
    pub endpoint: Endpoint,
    /// Only those to this JSON-RPC method.
    #[serde(default)]
    pub method: Option<String>,
    /// Let this many pass first.
    #[serde(default)]
    pub skip: u32,
    /// How many answers; all until cleared unless given.
    #[serde(default)]
    pub times: Option<u32>,
    /// A pause before the request takes effect, in ms.
    #[serde(default)]
    pub delay_before_ms: u64,
    /// A pause after it took effect, in ms.
    #[serde(default)]
    pub delay_ms: u64,
    /// Keep the answer back until released.
    #[serde(default)]
    pub hold: bool,
    /// What becomes of the answer.
    #[serde(default)]
    pub action: Action,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is sent as it is.
    #[default]
    None,
    /// Nothing takes effect; this is sent.
    Replace {
        /// The status.
        status: u16,
        /// The headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
        /// Whether the request takes effect all the same.
        #[serde(default)]
        effect: bool,
    },
    /// After this many bytes on the wire, head included, the connection ends.
    Cut {
        /// Bytes.
        after: usize,
        /// By a reset rather than an orderly end.
        #[serde(default)]
        reset: bool,
    },
    /// After this many bytes on the wire, one byte comes every so often, or none ever.
    Stall {
        /// Bytes.
        after: usize,
        /// Milliseconds per byte; never unless given.
        #[serde(default)]
        every_ms: Option<u64>,
    },
}

impl Fault {
    /// A fault that changes nothing yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            method: None,
            skip: 0,
            times: None,
            delay_before_ms: 0,
            delay_ms: 0,
            hold: false,
            action: Action::None,
        }
    }

    /// The answer is lost after it took effect: the connection ends without a byte.
    pub fn lose(endpoint: Endpoint) -> Self {
        Self { action: Action::Cut { after: 0, reset: false }, ..Self::new(endpoint) }
    }

    /// The answer comes this much later.
    pub fn delay(endpoint: Endpoint, delay: Duration) -> Self {
        Self { delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), ..Self::new(endpoint) }
    }

    /// The answer is kept back until [`crate::Kit::release`].
    pub fn hold(endpoint: Endpoint) -> Self {
        Self { hold: true, ..Self::new(endpoint) }
    }

    /// Nothing takes effect; an empty answer of this status is sent.
    pub fn status(endpoint: Endpoint, status: u16) -> Self {
        Self::replace(endpoint, status, &[], "")
    }

    /// Nothing takes effect; this answer is sent.
    pub fn replace(endpoint: Endpoint, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let action = Action::Replace { status, headers, body: body.to_owned(), effect: false };
        Self { action, ..Self::new(endpoint) }
    }

    /// The request takes effect; this answer is sent in place of the true one.
    pub fn falsify(endpoint: Endpoint, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut fault = Self::replace(endpoint, status, headers, body);
        if let Action::Replace { effect, .. } = &mut fault.action {
            *effect = true;
        }
        fault
    }

    /// The connection ends after this many bytes of the answer.
    pub fn cut(endpoint: Endpoint, after: usize) -> Self {
        Self { action: Action::Cut { after, reset: false }, ..Self::new(endpoint) }
    }

    /// The answer stops after this many bytes; then one byte every so often, or none ever.
    pub fn stall(endpoint: Endpoint, after: usize, every: Option<Duration>) -> Self {
        let every_ms = every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        Self { action: Action::Stall { after, every_ms }, ..Self::new(endpoint) }
    }

    /// Only so many answers.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Let so many pass first.
    #[must_use]
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Only answers to this JSON-RPC method.
    #[must_use]
    pub fn of_method(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that applies to this answer, used up by one.
    pub(crate) fn take(&mut self, endpoint: Endpoint, method: Option<&str>) -> Option<Fault> {
        let applies = |fault: &Fault| {
            fault.endpoint == endpoint
                && fault.times != Some(0)
                && fault.method.as_deref().is_none_or(|wanted| method == Some(wanted))
        };
        let fault = self.0.iter_mut().find(|fault| applies(fault))?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        if let Some(times) = &mut fault.times {
            *times -= 1;
        }
        let taken = fault.clone();
        self.0.retain(|fault| fault.times != Some(0));
        Some(taken)
    }
}
