//! What a token endpoint's answer means (RFC 6749 sections 5.1 and 5.2), as a pure function.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use linchpin_store::Secret;
use linchpin_store::history::Code;
use serde::Deserialize;
use serde_json::Value;

use super::{Exchange, TokenAnswer};
use crate::http::BodyError;

/// The longest token that is worth storing, in bytes.
const MAX_TOKEN: usize = 64 << 10;

/// Classifies the answer to a request that carried `secrets`. `now` is what an HTTP date in `Retry-After` is compared
/// with.
pub(crate) fn classify(
    status: StatusCode,
    headers: &HeaderMap,
    body: Result<Vec<u8>, BodyError>,
    now: SystemTime,
    secrets: &[Secret],
) -> Exchange {
    if status.is_success() {
        if is_somebody_elses(headers, &body) {
            let problem =
                "answered with something that is no token answer, perhaps that of a gateway".to_owned();
            return Exchange::Unavailable { problem, retry_after: retry_after(headers, now) };
        }
        return match body.map_err(|error| error.to_string()).and_then(|body| tokens(&body)) {
            Ok(answer) => Exchange::Rotated(answer),
            // It may well have rotated: what came of it is unknown.
            Err(problem) => Exchange::Unknown { problem },
        };
    }
    if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
        let problem = format!("answered {}", status.as_u16());
        return Exchange::Unavailable { problem, retry_after: retry_after(headers, now) };
    }
    if status.is_redirection() {
        let problem = "answered with a redirect, which is not followed".to_owned();
        return Exchange::Unavailable { problem, retry_after: None };
    }
    match body.ok().and_then(|body| error_code(&body, secrets)) {
        Some(code) if code == "invalid_grant" => Exchange::Refused { code },
        Some(code) if code == "temporarily_unavailable" || code == "server_error" => {
            let problem = format!("answered {code}");
            Exchange::Unavailable { problem, retry_after: retry_after(headers, now) }
        }
        Some(code) => Exchange::ClientRefused { code },
        // A refusal that names no code is a gateway's or a captive portal's: it says nothing about the token (P11).
        None => {
            let problem = format!("answered {} without an OAuth error", status.as_u16());
            Exchange::Unavailable { problem, retry_after: retry_after(headers, now) }
        }
    }
}

/// Whether a success is that of a captive portal or a gateway: another media type, and no JSON object in it. The
/// provider has not seen the token then (P11). What was cut short, or is JSON of an odd kind, may be the provider's.
fn is_somebody_elses(headers: &HeaderMap, body: &Result<Vec<u8>, BodyError>) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let claims_json = media_type.to_ascii_lowercase().contains("json");
    let is_whole_and_no_object = match body {
        Ok(body) => !body.trim_ascii_start().starts_with(b"{"),
        Err(BodyError::TooLarge(_)) => true,
        Err(BodyError::Cut) => false,
    };
    !claims_json && !media_type.is_empty() && is_whole_and_no_object
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The `error` of an error answer, if it is one that the RFC's grammar allows: as a [`Code`], which repeats neither
/// what is no word nor the `secrets` that the request carried (P20).
pub(crate) fn error_code(body: &[u8], secrets: &[Secret]) -> Option<String> {
    #[derive(Deserialize)]
    struct ErrorAnswer {
        error: String,
    }
    let ErrorAnswer { error } = serde_json::from_slice(body).ok()?;
    let fine = (1..=64).contains(&error.len()) && error.chars().all(|c| c.is_ascii_graphic());
    fine.then(|| Code::of_answer(&error, secrets).as_str().to_owned())
}

/// The tokens of a successful answer, or what is wrong with it. Unknown fields are ignored; a repeated one is
/// refused, since two programs could read two different tokens out of it.
fn tokens(body: &[u8]) -> Result<TokenAnswer, String> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
        token_type: String,
        refresh_token: Option<String>,
        expires_in: Option<Value>,
        scope: Option<String>,
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "sent an answer that is no token answer".to_owned())?;
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err("issued a token that is no bearer token".to_owned());
    }
    let access_token = token(answer.access_token)?;
    // An empty refresh token means none; some providers send one.
    let refresh_token = answer.refresh_token.filter(|text| !text.is_empty()).map(token).transpose()?;
    Ok(TokenAnswer {
        access_token,
        refresh_token,
        expires_in: answer.expires_in.as_ref().and_then(lifetime),
        scopes: answer.scope.map(|scope| scope.split_ascii_whitespace().map(str::to_owned).collect()),
    })
}

/// A token is visible ASCII (RFC 6750 section 2.1 allows less, providers issue more): nothing that could end a
/// header line (F17).
fn token(text: String) -> Result<Secret, String> {
    if text.is_empty() || text.len() > MAX_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("issued a token that cannot be put in a header".to_owned());
    }
    Ok(Secret::new(text))
}

/// `expires_in` in seconds. Missing, zero, negative or no number at all: the lifetime is unknown, and only the
/// server's refusal ends the token. Taking zero at its word would spend a refresh token per request (P14).
fn lifetime(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let seconds = number.as_f64()?;
            // Saturates; a fraction of a second is dropped.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturating is meant"
            )]
            (seconds >= 1.0).then_some(seconds as u64)
        })?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
