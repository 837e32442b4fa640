//! The token endpoint over HTTP: refresh, code exchange and revocation.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use linchpin_store::steps::{Step, reached};
use linchpin_store::{Client, ClientAuthMethod, Record, Secret};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::assertion::{ASSERTION_TYPE, Signer};
use crate::exchange::answer::{classify, error_code, retry_after};
use crate::http::{HttpOptions, Reach, check_url, credential_client, read_body};
use crate::{Exchange, Revocation, TokenEndpoint};

/// One exchange takes this long at most, from the connection to the last byte of the answer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// After that, for what has come and was not read yet.
const LAST_LOOK: Duration = Duration::from_millis(250);
/// One revocation takes this long at most.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer of a token endpoint, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// The real token endpoint: an HTTP client.
#[derive(Debug, Clone)]
pub struct Provider {
    options: HttpOptions,
    timeout: Duration,
}

impl Provider {
    /// A token endpoint that follows `options`. An exchange takes 30 s at most.
    pub fn new(options: HttpOptions) -> Self {
        Self { options, timeout: EXCHANGE_TIMEOUT }
    }

    /// The same with another bound on an exchange.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

/// Who asks a token endpoint, and how it proves that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) client: &'a Client,
    pub(crate) method: ClientAuthMethod,
    /// The provider's issuer, whom an assertion is for.
    pub(crate) issuer: &'a str,
    pub(crate) reach: Reach,
    pub(crate) options: &'a HttpOptions,
    /// The access token of the record that this is about: the provider knows it too.
    pub(crate) access_token: Option<&'a Secret>,
}

impl Asking<'_> {
    /// What the answer to `form` must not be quoted with (P20).
    fn secrets(&self, form: &[(&str, &str)]) -> Vec<Secret> {
        let is_secret = |name: &str| matches!(name, "refresh_token" | "code" | "code_verifier" | "token");
        let sent = form.iter().filter(|(name, _)| is_secret(name)).map(|&(_, value)| Secret::new(value));
        sent.chain(self.client.secret.clone()).chain(self.access_token.cloned()).collect()
    }
}

#[async_trait]
impl TokenEndpoint for Provider {
    /// RFC 6749 section 6. No scope is asked for: leaving it out means the same as before (P14). For a client that
    /// signed in as itself, section 4.4: its credentials are presented again, and the scopes named again, since there
    /// is no grant that would remember them.
    async fn refresh(&self, record: &Record) -> Exchange {
        if record.is_of_client() {
            let asking = self.asking(record).await;
            let outcome = client_credentials(
                &record.token_endpoint,
                &record.resource,
                &record.scopes,
                asking,
                self.timeout,
            );
            return outcome.await;
        }
        let Some(refresh_token) = &record.refresh_token else {
            return Exchange::NotSent { problem: "issued no refresh token".to_owned() };
        };
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose()),
            ("resource", &record.resource),
        ];
        exchange(&record.token_endpoint, &form, self.asking(record).await, self.timeout).await
    }

    /// RFC 7009. The refresh token first, which by its section 2.1 should end the access tokens too; then the
    /// access token, for providers that leave it alive.
    async fn revoke(&self, record: &Record) -> Revocation {
        let Some(endpoint) = &record.revocation_endpoint else { return Revocation::NotOffered };
        let asking = self.asking(record).await;
        let access = revoke(endpoint, &record.access_token, "access_token", asking);
        match &record.refresh_token {
            None => access.await,
            Some(refresh_token) => match revoke(endpoint, refresh_token, "refresh_token", asking).await {
                Revocation::Revoked => {
                    // The sign-in has ended; an access token that this cannot end will end by itself.
                    let _ = access.await;
                    Revocation::Revoked
                }
                failed => failed,
            },
        }
    }
}

impl Provider {
    async fn asking<'a>(&'a self, record: &'a Record) -> Asking<'a> {
        let reach = match Url::parse(&record.resource) {
            Ok(resource) => Reach::of(&resource).await,
            Err(_) => Reach::Public,
        };
        let method = record.token_endpoint_auth_method;
        Asking {
            client: &record.client,
            method,
            issuer: &record.issuer,
            reach,
            options: &self.options,
            access_token: Some(&record.access_token),
        }
    }
}

/// The client credentials grant (RFC 6749 section 4.4).
pub(crate) async fn client_credentials(
    endpoint: &Url,
    resource: &str,
    scopes: &[String],
    asking: Asking<'_>,
    timeout: Duration,
) -> Exchange {
    let scope = scopes.join(" ");
    let mut form = vec![("grant_type", "client_credentials"), ("resource", resource)];
    if !scope.is_empty() {
        form.push(("scope", &scope));
    }
    exchange(endpoint, &form, asking, timeout).await
}

/// One POST to a token endpoint, classified.
pub(crate) async fn exchange(
    endpoint: &Url,
    form: &[(&str, &str)],
    asking: Asking<'_>,
    timeout: Duration,
) -> Exchange {
    if let Err(refused) = check_url(endpoint, asking.reach, asking.options) {
        return Exchange::NotSent { problem: format!("has a token endpoint that {refused}") };
    }
    let mut whole = std::pin::pin!(async {
        let response = match post(endpoint, form, asking).await {
            Ok(response) => response,
            Err(Unsent::Surely(problem)) => return Exchange::NotSent { problem },
            Err(Unsent::Perhaps(problem)) => return Exchange::Unknown { problem },
        };
        reached(Step::HalfReceived);
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(response, MAX_ANSWER).await;
        reached(Step::Received);
        classify(status, &headers, body, now(), &asking.secrets(form))
    });
    let mut outcome = tokio::time::timeout(timeout, &mut whole).await;
    if outcome.is_err() {
        // A process that was stopped finds its time over before it has read what came meanwhile, and a token that was
        // spent for an answer which lies there.
        outcome = tokio::time::timeout(LAST_LOOK, &mut whole).await;
    }
    match outcome {
        Ok(outcome) => outcome,
        // Connecting has a shorter bound of its own, so by now something was sent.
        Err(_) => Exchange::Unknown { problem: format!("did not answer within {} s", timeout.as_secs()) },
    }
}

async fn revoke(endpoint: &Url, token: &Secret, hint: &str, asking: Asking<'_>) -> Revocation {
    let unavailable = |problem: String| Revocation::Unavailable { problem, retry_after: None };
    if let Err(refused) = check_url(endpoint, asking.reach, asking.options) {
        return unavailable(format!("has a revocation endpoint that {refused}"));
    }
    let form = [("token", token.expose()), ("token_type_hint", hint)];
    let whole = async {
        let response = match post(endpoint, &form, asking).await {
            Ok(response) => response,
            Err(Unsent::Surely(problem) | Unsent::Perhaps(problem)) => return unavailable(problem),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(response, MAX_ANSWER).await.unwrap_or_default();
        match error_code(&body, &asking.secrets(&form)) {
            _ if status == StatusCode::OK || status == StatusCode::NO_CONTENT => Revocation::Revoked,
            Some(code) if status.is_client_error() => Revocation::Refused { code },
            _ => Revocation::Unavailable {
                problem: format!("answered {}", status.as_u16()),
                retry_after: retry_after(&headers, now()),
            },
        }
    };
    match tokio::time::timeout(REVOCATION_TIMEOUT, whole).await {
        Ok(outcome) => outcome,
        Err(_) => unavailable(format!("did not answer within {} s", REVOCATION_TIMEOUT.as_secs())),
    }
}

enum Unsent {
    /// No byte of the request went out.
    Surely(String),
    /// It may have arrived.
    Perhaps(String),
}

async fn post(
    endpoint: &Url,
    form: &[(&str, &str)],
    asking: Asking<'_>,
) -> Result<reqwest::Response, Unsent> {
    let request = request(endpoint, form, asking)?;
    request.send().await.map_err(|error| {
        if error.is_connect() || error.is_builder() {
            Unsent::Surely(unreachable(&error))
        } else {
            Unsent::Perhaps("closed the connection without an answer".to_owned())
        }
    })
}

fn request(
    endpoint: &Url,
    form: &[(&str, &str)],
    asking: Asking<'_>,
) -> Result<reqwest::RequestBuilder, Unsent> {
    let client = credential_client(endpoint, asking.reach)
        .map_err(|error| Unsent::Surely(format!("is out of reach: {error}")))?;
    let mut body = Serializer::new(String::new());
    body.extend_pairs(form);
    let mut request = client
        .post(endpoint.clone())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    match (asking.method, &asking.client.secret) {
        (ClientAuthMethod::Basic, Some(secret)) => {
            request = request.header(AUTHORIZATION, basic(&asking.client.id, secret));
        }
        (ClientAuthMethod::Post, Some(secret)) => {
            body.append_pair("client_id", &asking.client.id).append_pair("client_secret", secret.expose());
        }
        (ClientAuthMethod::PrivateKeyJwt, Some(key)) => {
            let signed =
                Signer::from_pem(key).and_then(|key| key.assertion(&asking.client.id, asking.issuer, now()));
            let assertion = signed.map_err(|error| Unsent::Surely(format!("was not asked: {error}")))?;
            body.append_pair("client_id", &asking.client.id)
                .append_pair("client_assertion_type", ASSERTION_TYPE)
                .append_pair("client_assertion", assertion.expose());
        }
        _ => {
            body.append_pair("client_id", &asking.client.id);
        }
    }
    Ok(with_body(request, body.finish()))
}

#[cfg(not(feature = "kill-points"))]
fn with_body(request: reqwest::RequestBuilder, body: String) -> reqwest::RequestBuilder {
    request.body(body)
}

/// The same bytes in two parts, so that a test can have the process die when half of them are on the wire. A body is
/// first asked for when the connection is open and nothing was written to it; one that says that it has no more just
/// now has what it gave before written out.
#[cfg(feature = "kill-points")]
fn with_body(request: reqwest::RequestBuilder, body: String) -> reqwest::RequestBuilder {
    use futures::{StreamExt as _, stream};
    let length = body.len();
    let mut first = bytes::Bytes::from(body);
    let second = first.split_off(length / 2);
    let connected = stream::once(async move {
        reached(Step::Connected);
        Ok::<_, std::io::Error>(first)
    });
    let half_sent = stream::once(async move {
        tokio::task::yield_now().await;
        reached(Step::HalfSent);
        Ok(second)
    });
    request
        .header(http::header::CONTENT_LENGTH, length)
        .body(reqwest::Body::wrap_stream(connected.chain(half_sent)))
}

/// HTTP Basic with form-encoded id and secret (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &Secret) -> HeaderValue {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret.expose()));
    let mut value =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).expect("base64 is ASCII");
    value.set_sensitive(true);
    value
}

/// What kept a connection from opening, in words that quote no URL.
fn unreachable(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => return "refused the connection".to_owned(),
                std::io::ErrorKind::TimedOut => return "could not be connected to in time".to_owned(),
                _ => {}
            }
        }
        if cause.is::<crate::http::UrlRefused>() {
            return "resolves into a private network, which the server is not in".to_owned();
        }
        source = cause.source();
    }
    if error.is_timeout() {
        return "could not be connected to in time".to_owned();
    }
    "could not be connected to; check the network".to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "an HTTP date in Retry-After is compared with the machine's clock"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "`--nocapture` shows the figures")]
mod tests;
