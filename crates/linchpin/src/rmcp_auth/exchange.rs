//! The requests of rmcp's OAuth code, and what becomes of each.

use std::collections::HashMap;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use linchpin_authority::{CredentialError, Wait, login_command};
use linchpin_oauth::Exchange;
use linchpin_oauth::http::{FetchError, Reach, fetch};
use serde_json::Value;
use url::form_urlencoded;

use super::observed::{CodeExchange, Unfit};
use super::{RmcpAuth, StandIn, answer};

/// The longest metadata document or registration, in bytes.
const MAX_METADATA: usize = 1 << 20;
/// The longest answer of a token endpoint, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// A form as it was posted. A name that repeats is worth nothing, as at the provider (RFC 6749 section 3.2).
pub(super) type Form = HashMap<String, String>;

impl RmcpAuth {
    /// What rmcp gets for a request.
    pub(super) async fn answer(
        &self,
        request: Request<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Response<Vec<u8>>, FetchError> {
        let form = form(&request);
        match form.get("grant_type").map(String::as_str) {
            Some("refresh_token") => Ok(self.refresh(&form, Wait::within(timeout)).await),
            Some("authorization_code") => self.code_exchange(&form, request, timeout).await,
            Some(_) => self.pass(request, timeout, MAX_ANSWER).await,
            None => {
                let (method, url) = (request.method().clone(), request.uri().to_string());
                let answer = self.pass(request, timeout, MAX_METADATA).await?;
                if answer.status().is_success() {
                    self.state().observed.note(&method, &url, answer.body());
                }
                Ok(answer)
            }
        }
    }

    /// Recovers the sign-in. A refresh token that is not a stand-in is a real one, and spending it here would be a second
    /// owner's exchange.
    async fn refresh(&self, form: &Form, wait: Wait) -> Response<Vec<u8>> {
        let Some(stand_in) = form.get("refresh_token").and_then(|token| StandIn::read(token)) else {
            let problem = format!(
                "this refresh token is not Linchpin's and is not spent by it; run `{}`",
                login_command(self.server().key())
            );
            return answer::error_answer(StatusCode::BAD_REQUEST, "invalid_request", &problem);
        };
        match self.recover(&stand_in, wait).await {
            Ok(answer) => answer,
            Err(error) => answer::failure(&error),
        }
    }

    async fn recover(&self, stand_in: &StandIn, wait: Wait) -> Result<Response<Vec<u8>>, CredentialError> {
        let server = self.server();
        let mut token = server.access_token(wait).await?;
        // Another token than the one that rmcp looked up is the answer already (P16).
        if stand_in.is_of(&token) && self.state().tokens.may_be_refused(token.fingerprint()) {
            token = server.rejected(&token, wait).await?;
        }
        let known = self.know(&token).await?;
        Ok(answer::token_answer(&token, &known, server.clock().now()))
    }

    /// The end of a sign-in through rmcp's flow. What a record would lack is found before the code is sent.
    async fn code_exchange(
        &self,
        form: &Form,
        request: Request<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Response<Vec<u8>>, FetchError> {
        let server = self.server();
        let refuse = |problem: String| {
            let problem = format!("{problem}; run `{}` instead", login_command(server.key()));
            answer::error_answer(StatusCode::BAD_REQUEST, "invalid_request", &problem)
        };
        let before = match server.record().await {
            Ok(record) => record.map(|record| record.issuer),
            // What cannot be read is bound to nobody, and repaired by the sign-in.
            Err(_) => None,
        };
        let exchange = self.state().observed.code_exchange(server.url(), &request, form, before.as_deref());
        let exchange: CodeExchange = match exchange {
            Ok(exchange) => exchange,
            Err(unfit @ Unfit::OtherProvider { .. }) => {
                let logout = login_command(server.key()).replacen("login", "logout", 1);
                let problem = format!("{unfit}; if that is right, run `{logout}` first");
                return Ok(answer::error_answer(StatusCode::BAD_REQUEST, "invalid_request", &problem));
            }
            Err(unfit) => return Ok(refuse(unfit.to_string())),
        };
        let begun = server.clock().now();
        let answered = self.pass(request, timeout, MAX_ANSWER).await?;
        let body: Value = serde_json::from_slice(answered.body()).unwrap_or_default();
        let refused = (!answered.status().is_success()).then(|| answered.clone());
        match (Exchange::of_answer(answered), refused) {
            (Exchange::Rotated(tokens), _) => {
                let access_token = tokens.access_token.clone();
                self.state().pending = Some(exchange.record(tokens, begun));
                Ok(answer::without_refresh_token(body, &access_token))
            }
            (_, Some(refused)) => Ok(refused),
            (outcome, None) => Ok(refuse(format!("the sign-in was not completed: {outcome}"))),
        }
    }

    async fn pass(
        &self,
        request: Request<Vec<u8>>,
        timeout: Duration,
        limit: usize,
    ) -> Result<Response<Vec<u8>>, FetchError> {
        let server = self.server();
        let reach = Reach::of(server.url().url()).await;
        fetch(request, reach, server.http_options(), timeout, limit).await
    }
}

/// The fields of a form; none when it is no form.
fn form(request: &Request<Vec<u8>>) -> Form {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form =
        media_type.is_some_and(|media_type| media_type.starts_with("application/x-www-form-urlencoded"));
    if request.method() != Method::POST || !is_form {
        return Form::new();
    }
    form_urlencoded::parse(request.body()).into_owned().collect()
}
