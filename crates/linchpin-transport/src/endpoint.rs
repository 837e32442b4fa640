//! Requests to one MCP server, with one recovery each.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use linchpin_authority::{AccessToken, Credential, CredentialError, SignInReason, Wait};
use linchpin_oauth::http::{HttpSetupError, transport_client};
use linchpin_store::{Disposition, Fingerprint, Secret, ServerUrl};
use thiserror::Error;
use url::Url;

use crate::{Allowance, Answer};

/// Redirects that one request may take, all of them within the server's origin.
const MAX_REDIRECTS: usize = 10;

/// One MCP server as requests see it. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    server: ServerUrl,
    client: reqwest::Client,
    authorization: Authorization,
    headers: HeaderMap,
}

/// Without the values of headers, which the user configured and which may be keys (P20).
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("server", &self.server.as_str())
            .field("authorization", &self.authorization)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Whose authorization requests carry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Authorization {
    /// The access tokens of a sign-in, renewed and recovered.
    SignIn(Credential),
    /// What the user configured among the endpoint's headers, if anything: no recovery, and a challenge passes
    /// unchanged (P19).
    Configured,
}

/// A request to send.
#[derive(Clone)]
pub struct Outgoing {
    /// POST, GET or DELETE.
    pub method: Method,
    /// Headers besides Authorization and the endpoint's own.
    pub headers: HeaderMap,
    /// The body; kept until the answer's head is there, since a refused request is sent again.
    pub body: Bytes,
    /// How long a token may be waited for. Sending itself is bounded by the caller.
    pub wait: Wait,
    /// Whether a 401 may be recovered. A caller that sends one operation several times allows it once (P17).
    pub recovery: Recovery,
}

/// Without the values of headers and the body, which hold session ids and what people say to tools (P20).
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("wait", &self.wait)
            .field("recovery", &self.recovery)
            .finish()
    }
}

/// Whether a 401 may be recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Once.
    Once,
    /// This operation has had its recovery.
    Spent,
}

/// Whether a request that failed may have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Surely not: it may be sent again.
    No,
    /// It may have been processed.
    Perhaps,
}

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// No token: see the cause.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The server refused the request, and no token is to be had without a person.
    #[error("{error}")]
    SignInRequired {
        /// Why there is no token.
        #[source]
        error: CredentialError,
        /// The challenge, all header lines joined by commas; empty when there was none.
        challenge: String,
    },
    /// The server refused the request, and once more after recovery.
    #[error("{server} refuses the sign-in even with a renewed token; run `{command}`")]
    AuthenticationRequired {
        /// The server.
        server: Box<ServerUrl>,
        /// The command that signs in anew.
        command: String,
        /// Which token was refused last.
        refused: Fingerprint,
        /// The challenge, all header lines joined by commas; empty when there was none.
        challenge: String,
    },
    /// The sign-in lacks scopes for this request (RFC 6750 section 3.1).
    #[error("{server} asks for more rights{}; run `{command}`", wanted(scope.as_deref()))]
    InsufficientScope {
        /// The server.
        server: Box<ServerUrl>,
        /// The scopes asked for, when the server said which.
        scope: Option<String>,
        /// The command that signs in with them.
        command: String,
        /// The challenge.
        challenge: String,
    },
    /// The server could not be reached, or broke off before it answered.
    #[error("{server} {problem}")]
    Unreachable {
        /// The server.
        server: Box<ServerUrl>,
        /// What happened.
        problem: String,
        /// Whether the request may have arrived.
        sent: Sent,
    },
    /// The operation that the request belongs to is over, so it was not sent (again).
    #[error("{server} was not asked (again): its caller has stopped waiting")]
    Over {
        /// The server.
        server: Box<ServerUrl>,
    },
    /// The answer is larger than is taken.
    #[error("{server} sent more than {limit} bytes at once")]
    TooLarge {
        /// The server.
        server: Box<ServerUrl>,
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// The session is unknown to the server once more, right after it was opened anew.
    #[error("{server} forgets the session again and again; try again later")]
    SessionLost {
        /// The server.
        server: Box<ServerUrl>,
    },
    /// The server redirects to another origin, where neither token nor body may go.
    #[error(
        "{server} redirects to another site ({}), which is not followed; use that URL if you trust it",
        origin
    )]
    Redirected {
        /// The server.
        server: Box<ServerUrl>,
        /// The origin it names.
        origin: String,
    },
}

fn wanted(scope: Option<&str>) -> String {
    scope.map(|scope| format!(" ({scope})")).unwrap_or_default()
}

impl SendError {
    /// What can be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Credential(error) | Self::SignInRequired { error, .. } => error.disposition(),
            Self::AuthenticationRequired { .. } | Self::InsufficientScope { .. } => Disposition::SignIn,
            Self::Unreachable { .. } | Self::SessionLost { .. } => Disposition::Retry,
            Self::Over { .. } => Disposition::TimedOut,
            Self::TooLarge { .. } => Disposition::Answered,
            Self::Redirected { .. } => Disposition::Configuration,
        }
    }
}

impl Endpoint {
    /// An endpoint at `server` whose requests carry `headers` and the authorization.
    pub fn new(
        server: ServerUrl,
        authorization: Authorization,
        headers: HeaderMap,
    ) -> Result<Self, HttpSetupError> {
        let client = transport_client(&server)?;
        Ok(Self(Arc::new(Inner { server, client, authorization, headers })))
    }

    /// The server.
    pub fn server(&self) -> &ServerUrl {
        &self.0.server
    }

    /// The authorization.
    pub fn authorization(&self) -> &Authorization {
        &self.0.authorization
    }

    /// Sends a request; after a 401 once more with another token. Returns when the answer's head is there.
    ///
    /// Dropping the future ends the request and the wait for a token, never a refresh (P7).
    ///
    /// # Errors
    /// Every [`SendError`]. An answer of any status other than those that concern the sign-in is an answer.
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Answer, SendError> {
        self.send_charged(outgoing, None).await
    }

    /// Like [`Endpoint::send`], with the recovery charged to the operation that the request belongs to, and nothing
    /// sent once that is over.
    ///
    /// # Errors
    /// As [`Endpoint::send`], and [`SendError::Over`].
    pub async fn send_for(&self, outgoing: &Outgoing, allowance: &Allowance) -> Result<Answer, SendError> {
        self.send_charged(outgoing, Some(allowance)).await
    }

    async fn send_charged(
        &self,
        outgoing: &Outgoing,
        allowance: Option<&Allowance>,
    ) -> Result<Answer, SendError> {
        let Authorization::SignIn(credential) = &self.0.authorization else {
            return self.attempt(outgoing, None, allowance).await;
        };
        let token = match credential.access_token(outgoing.wait).await {
            Ok(token) => token,
            Err(error) => return self.without_token(outgoing, error, allowance).await,
        };
        let answer = self.attempt(outgoing, Some(&token), allowance).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.check_scope(answer, credential);
        }
        if outgoing.recovery == Recovery::Spent || !allowance.is_none_or(Allowance::take_sign_in) {
            return Err(self.authentication_required(credential, &token, &answer));
        }
        let challenge = answer.challenge();
        drop(answer);
        let recovered = credential.recover(&token, outgoing.wait).await;
        let renewed = recovered.map_err(|error| refused(error, challenge))?;
        if outgoing.wait.is_over() {
            // The caller has gone; the renewed token is there for the next request (P18).
            return Err(CredentialError::TimedOut { key: Box::new(credential.key().clone()) }.into());
        }
        let answer = self.attempt(outgoing, Some(&renewed), allowance).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.check_scope(answer.after_recovery(), credential);
        }
        Err(self.authentication_required(credential, &renewed, &answer))
    }

    fn authentication_required(
        &self,
        credential: &Credential,
        token: &AccessToken,
        answer: &Answer,
    ) -> SendError {
        credential.refused_again(token);
        SendError::AuthenticationRequired {
            server: Box::new(self.0.server.clone()),
            command: linchpin_authority::login_command(credential.key()),
            refused: token.fingerprint().clone(),
            challenge: answer.challenge(),
        }
    }

    /// Some servers need no sign-in: without one, the server decides.
    async fn without_token(
        &self,
        outgoing: &Outgoing,
        error: CredentialError,
        allowance: Option<&Allowance>,
    ) -> Result<Answer, SendError> {
        let CredentialError::SignInRequired { reason: SignInReason::NotSignedIn, .. } = &error else {
            return Err(error.into());
        };
        let answer = self.attempt(outgoing, None, allowance).await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(refused(error, answer.challenge())),
            _ => Ok(answer),
        }
    }

    fn check_scope(&self, answer: Answer, credential: &Credential) -> Result<Answer, SendError> {
        let Some(bearer) = answer.insufficient_scope() else { return Ok(answer) };
        let scope = bearer.scope().map(str::to_owned);
        let mut command = linchpin_authority::login_command(credential.key());
        if let Some(scope) = scope.as_deref().filter(|scope| scope.chars().all(is_scope_char)) {
            command = format!("{command} --scope '{scope}'");
        }
        let challenge = answer.challenge();
        Err(SendError::InsufficientScope {
            server: Box::new(self.0.server.clone()),
            scope,
            command,
            challenge,
        })
    }

    /// One request over the wire, unless the operation that it belongs to is over.
    async fn attempt(
        &self,
        outgoing: &Outgoing,
        token: Option<&AccessToken>,
        allowance: Option<&Allowance>,
    ) -> Result<Answer, SendError> {
        let Some(allowance) = allowance else { return self.once(outgoing, token).await };
        if allowance.is_over() {
            return Err(SendError::Over { server: Box::new(self.0.server.clone()) });
        }
        allowance.sending();
        let answer = self.once(outgoing, token).await;
        match &answer {
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => allowance.refused(),
            Err(SendError::Unreachable { sent: Sent::No, .. }) => allowance.refused(),
            _ => {}
        }
        answer
    }

    /// One request over the wire, redirects within the origin included.
    async fn once(&self, outgoing: &Outgoing, token: Option<&AccessToken>) -> Result<Answer, SendError> {
        let mut url = self.0.server.url().clone();
        for _ in 0..=MAX_REDIRECTS {
            let request = self.request(&url, outgoing, token);
            let response = self.0.client.execute(request).await.map_err(|error| {
                let sent = if error.is_connect() || error.is_builder() { Sent::No } else { Sent::Perhaps };
                let problem = problem(&error, sent);
                SendError::Unreachable { server: Box::new(self.0.server.clone()), problem, sent }
            })?;
            let Some(next) = self.redirect(&url, &response)? else {
                let sent = self.secrets(response.status(), token);
                return Ok(Answer::new(response, sent));
            };
            url = next;
        }
        Err(SendError::Unreachable {
            server: Box::new(self.0.server.clone()),
            problem: format!("redirects more than {MAX_REDIRECTS} times"),
            sent: Sent::No,
        })
    }

    /// What a server that refuses may repeat: the token, and what the user put in headers.
    fn secrets(&self, status: StatusCode, token: Option<&AccessToken>) -> Vec<Secret> {
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Vec::new();
        }
        let configured = self.0.headers.values().filter_map(|value| value.to_str().ok());
        // `Bearer …` and the like: what follows is the secret.
        let configured = configured.filter_map(|value| value.split(' ').next_back()).map(Secret::new);
        token.map(|token| token.secret().clone()).into_iter().chain(configured).collect()
    }

    /// Built without reqwest's builder, which would copy every header once more.
    fn request(&self, url: &Url, outgoing: &Outgoing, token: Option<&AccessToken>) -> reqwest::Request {
        let mut headers = outgoing.headers.clone();
        for (name, value) in &self.0.headers {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(token) = token
            && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.secret().expose()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut request = reqwest::Request::new(outgoing.method.clone(), url.clone());
        *request.headers_mut() = headers;
        if !outgoing.body.is_empty() {
            *request.body_mut() = Some(outgoing.body.clone().into());
        }
        request
    }

    /// Where a redirect leads: only 307 and 308, which repeat method and body, and only within the origin.
    fn redirect(&self, from: &Url, response: &reqwest::Response) -> Result<Option<Url>, SendError> {
        if !matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
            return Ok(None);
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(next) = location.and_then(|location| from.join(location).ok()) else { return Ok(None) };
        if next.origin() == self.0.server.url().origin() {
            return Ok(Some(next));
        }
        let origin = next.origin().ascii_serialization();
        Err(SendError::Redirected { server: Box::new(self.0.server.clone()), origin })
    }
}

/// A refusal that no token answers: with the challenge, when it is for a person to take up.
fn refused(error: CredentialError, challenge: String) -> SendError {
    match error {
        CredentialError::SignInRequired { .. } => SendError::SignInRequired { error, challenge },
        other => other.into(),
    }
}

fn is_scope_char(c: char) -> bool {
    c == ' ' || (c.is_ascii_graphic() && !matches!(c, '\'' | '"' | '\\'))
}

/// What went wrong, without the URL that reqwest would quote.
fn problem(error: &reqwest::Error, sent: Sent) -> String {
    if error.is_timeout() {
        return "could not be reached in time".to_owned();
    }
    match sent {
        Sent::No => "could not be connected to; check the URL and the network".to_owned(),
        Sent::Perhaps => "closed the connection without an answer".to_owned(),
    }
}
