//! rmcp's transport over an [`Endpoint`]: rmcp frames messages and keeps sessions; who may send them, and what a 401
//! means, is decided below. rmcp gets no token at all, so also no refresh token and no expiry (P15).
//!
//! A request for which somebody waits carries an [`Allowance`] in its extensions, which rmcp hands on untouched, also
//! when it repeats the request in a new session. Everything else is background traffic: rmcp's own `initialize`, the
//! event stream and its resumption, answers to the server, the end of the session. That has one recovery per message,
//! within the time that rmcp itself gives it, less a little, so that it is told why rather than dropped.

mod channel;
mod client;
mod events;

use std::sync::Arc;
use std::time::Duration;

use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;

use crate::listening::LONGEST_PAUSE;
use crate::{Allowance, Endpoint};

pub use channel::{Channel, ProgressSink};
pub use client::LinchpinHttpClient;

/// How long rmcp lets a session be opened anew, old requests and the handshake: an exchange may lie in between.
const SESSION_RECOVERY: Duration = Duration::from_secs(30);

/// An rmcp transport to `endpoint`, for `rmcp::serve_client`. Requests without an [`Allowance`] are background
/// traffic.
pub fn transport(endpoint: Endpoint) -> StreamableHttpClientTransport<LinchpinHttpClient> {
    over(LinchpinHttpClient::new(endpoint))
}

/// The same, with progress delivered in order to whoever made the call; and what connecting may do, which the
/// [`Connecting`] ends.
pub fn channel(endpoint: Endpoint, allowance: Allowance) -> (Channel, Connecting) {
    let client = LinchpinHttpClient::new(endpoint);
    client.begin(allowance);
    (Channel::new(over(client.clone())), Connecting(client))
}

/// While it is there, the handshake is charged to the allowance that it was begun with.
#[derive(Debug)]
#[must_use = "dropping it makes the handshake background traffic"]
pub struct Connecting(LinchpinHttpClient);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.begun();
    }
}

fn over(client: LinchpinHttpClient) -> StreamableHttpClientTransport<LinchpinHttpClient> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(client.endpoint().server().url().as_str());
    let mut backoff = ExponentialBackoff::default();
    backoff.max_delay = Some(LONGEST_PAUSE);
    config.retry_config = Arc::new(backoff);
    config.session_recovery_timeout = SESSION_RECOVERY;
    StreamableHttpClientTransport::with_client(client, config)
}
