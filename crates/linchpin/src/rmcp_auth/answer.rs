//! What rmcp gets: token answers of ours, and stand-ins for refresh tokens.

use std::fmt;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use linchpin_authority::{AccessToken, CredentialError};
use linchpin_store::{Disposition, Fingerprint, Secret, UnixMs};
use rmcp::transport::auth::{OAuthTokenResponse, StoredCredentials};
use serde_json::{Value, json};

use super::known::Known;

/// What every stand-in begins with.
const PREFIX: &str = "linchpin-stand-in-";

/// What rmcp has in place of a refresh token (P15): it names the access token that it came with, by its fingerprint, and
/// is worth nothing to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn(String);

impl StandIn {
    pub(super) fn of(token: &Fingerprint) -> Self {
        Self(format!("{PREFIX}{}", token.as_str()))
    }

    /// Reads a refresh token; `None` when it is a real one.
    pub(super) fn read(text: &str) -> Option<Self> {
        text.starts_with(PREFIX).then(|| Self(text.to_owned()))
    }

    /// Whether it came with this access token.
    pub(super) fn is_of(&self, token: &AccessToken) -> bool {
        *self == Self::of(token.fingerprint())
    }
}

impl fmt::Display for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The token as a provider's answer would have it (RFC 6749 section 5.1), with what is left of its life.
fn answer(token: &AccessToken, known: &Known, now: UnixMs) -> Value {
    let mut answer = json!({
        "access_token": token.secret().expose(),
        "token_type": "bearer",
        "refresh_token": StandIn::of(token.fingerprint()).to_string(),
    });
    if let Some(ends) = token.expires_at_ms() {
        answer["expires_in"] = ends.since(now).as_secs().into();
    }
    if !known.scopes.is_empty() {
        answer["scope"] = known.scopes.join(" ").into();
    }
    answer
}

/// The token in rmcp's type.
pub(super) fn tokens(token: &AccessToken, known: &Known, now: UnixMs) -> OAuthTokenResponse {
    serde_json::from_value(answer(token, known, now)).expect("a token answer by the RFC")
}

/// The token as the answer to a request.
pub(super) fn token_answer(token: &AccessToken, known: &Known, now: UnixMs) -> Response<Vec<u8>> {
    json_answer(StatusCode::OK, &answer(token, known, now))
}

/// Why there is none, as an error answer (RFC 6749 section 5.2): `invalid_grant` when a person has to sign in, which is
/// the one code that rmcp takes for an end.
pub(super) fn failure(error: &CredentialError) -> Response<Vec<u8>> {
    let (status, code) = match error {
        CredentialError::ClientRefused { .. } => (StatusCode::BAD_REQUEST, "invalid_client"),
        error if error.disposition() == Disposition::SignIn => (StatusCode::BAD_REQUEST, "invalid_grant"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
    };
    error_answer(status, code, &error.to_string())
}

/// An error answer in words of ours.
pub(super) fn error_answer(status: StatusCode, code: &str, description: &str) -> Response<Vec<u8>> {
    json_answer(status, &json!({ "error": code, "error_description": description }))
}

/// A success of the provider's, with a stand-in in place of the refresh token.
pub(super) fn without_refresh_token(mut answer: Value, access_token: &Secret) -> Response<Vec<u8>> {
    if let Some(refresh_token) = answer.get_mut("refresh_token") {
        *refresh_token = StandIn::of(&access_token.fingerprint()).to_string().into();
    }
    json_answer(StatusCode::OK, &answer)
}

/// The fingerprint of the access token in what rmcp saves.
pub(super) fn access_token(credentials: &StoredCredentials) -> Option<Fingerprint> {
    let answer = serde_json::to_value(credentials.token_response.as_ref()?).ok()?;
    Some(Secret::new(answer.get("access_token")?.as_str()?).fingerprint())
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Vec<u8>> {
    let mut answer = Response::new(body.to_string().into_bytes());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
