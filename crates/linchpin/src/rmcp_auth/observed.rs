//! What was seen of a sign-in through rmcp's flow, and whether a record can be made of it.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{Method, Request};
use linchpin_oauth::TokenAnswer;
use linchpin_oauth::sign_in::is_resource_of;
use linchpin_store::{Client, ClientAuthMethod, Record, Registration, Secret, ServerUrl, UnixMs};
use serde::Deserialize;
use thiserror::Error;
use url::{Url, form_urlencoded};

use super::exchange::Form;

/// Documents that are kept, of each kind.
const MOST: usize = 8;

/// The metadata and registrations that passed by, latest last.
#[derive(Debug, Default)]
pub(super) struct Observed {
    providers: VecDeque<Metadata>,
    registrations: VecDeque<Registered>,
}

/// As much of a provider's metadata as a record needs (RFC 8414 section 2).
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: Url,
    registration_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
}

/// A client that was registered (RFC 7591 section 3.2.1).
#[derive(Debug, Deserialize)]
struct Registered {
    client_id: String,
    client_secret_expires_at: Option<serde_json::Value>,
}

/// Why no record can be made of a sign-in. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Unfit {
    #[error("Linchpin has not seen the metadata of the provider with this token endpoint")]
    NoMetadata,
    #[error("the provider does not say that it supports PKCE with S256")]
    NoPkce,
    #[error("the tokens would be for another resource than {0}")]
    OtherResource(ServerUrl),
    #[error("the request names no client")]
    NoClient,
    #[error("the server names another provider than before: {now} instead of {before}")]
    OtherProvider { before: String, now: String },
}

/// A code exchange of which a record can be made.
#[derive(Debug)]
pub(super) struct CodeExchange {
    provider: Metadata,
    client: Client,
    method: ClientAuthMethod,
    resource: String,
}

impl Observed {
    /// Notes what a success tells of a provider or a client.
    pub(super) fn note(&mut self, method: &Method, url: &str, body: &[u8]) {
        let registers = |provider: &Metadata| {
            provider.registration_endpoint.as_ref().is_some_and(|endpoint| endpoint.as_str() == url)
        };
        if *method == Method::GET {
            if let Ok(metadata) = serde_json::from_slice(body) {
                keep(&mut self.providers, metadata);
            }
        } else if self.providers.iter().any(registers)
            && let Ok(registered) = serde_json::from_slice(body)
        {
            keep(&mut self.registrations, registered);
        }
    }

    /// Looks at a code exchange that is about to be sent. `before` is the provider of the sign-in that is there.
    pub(super) fn code_exchange(
        &self,
        server: &ServerUrl,
        request: &Request<Vec<u8>>,
        form: &Form,
        before: Option<&str>,
    ) -> Result<CodeExchange, Unfit> {
        let url = request.uri().to_string();
        let mut providers = self.providers.iter().rev();
        let provider = providers.find(|provider| provider.token_endpoint.as_str() == url);
        let provider = provider.ok_or(Unfit::NoMetadata)?.clone();
        if let Some(before) = before.filter(|before| *before != provider.issuer) {
            return Err(Unfit::OtherProvider { before: before.to_owned(), now: provider.issuer });
        }
        if !provider.code_challenge_methods_supported.iter().any(|method| method == "S256") {
            return Err(Unfit::NoPkce);
        }
        let resource = form.get("resource").filter(|resource| is_resource_of(server, resource));
        let resource = resource.ok_or_else(|| Unfit::OtherResource(server.clone()))?.clone();
        let (id, secret, method) = client(request, form).ok_or(Unfit::NoClient)?;
        let (registration, secret_expires_at_ms) = self.registration(&id);
        let redirect_uri = form.get("redirect_uri").cloned();
        let client = Client { id, secret, secret_expires_at_ms, registration, redirect_uri };
        Ok(CodeExchange { provider, client, method, resource })
    }

    fn registration(&self, id: &str) -> (Registration, Option<UnixMs>) {
        match self.registrations.iter().rev().find(|registered| registered.client_id == id) {
            Some(registered) => {
                let ends = registered.client_secret_expires_at.as_ref().and_then(serde_json::Value::as_u64);
                let ends = ends
                    .filter(|&seconds| seconds > 0)
                    .map(|seconds| UnixMs(0).after(Duration::from_secs(seconds)));
                (Registration::Dynamic, ends)
            }
            None if id.starts_with("https://") => (Registration::MetadataDocument, None),
            None => (Registration::Preregistered, None),
        }
    }
}

impl CodeExchange {
    /// The record of the tokens that came for the code. Scopes that the answer leaves out are for rmcp to say.
    pub(super) fn record(self, tokens: TokenAnswer, begun: UnixMs) -> Record {
        Record {
            generation: 0,
            issuer: self.provider.issuer,
            token_endpoint: self.provider.token_endpoint,
            revocation_endpoint: self.provider.revocation_endpoint,
            token_endpoint_auth_method: self.method,
            resource: self.resource,
            client: self.client,
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            scopes: tokens.scopes.unwrap_or_default(),
            signed_in_at_ms: None,
            obtained_at_ms: begun,
            expires_at_ms: tokens.expires_in.map(|lifetime| begun.after(lifetime)),
            exchange: None,
            dead: None,
            refused: None,
            client_refused: None,
            retry_at_ms: None,
            extra: serde_json::Map::new(),
        }
    }
}

/// Who asks, and how it proves that (RFC 6749 section 2.3.1).
fn client(request: &Request<Vec<u8>>, form: &Form) -> Option<(String, Option<Secret>, ClientAuthMethod)> {
    if let Some(authorization) = request.headers().get(AUTHORIZATION) {
        let encoded = authorization.to_str().ok()?.strip_prefix("Basic ")?;
        let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (id, secret) = pair.split_once(':')?;
        return Some((decoded(id), Some(Secret::new(decoded(secret))), ClientAuthMethod::Basic));
    }
    let id = form.get("client_id")?.clone();
    match form.get("client_secret") {
        Some(secret) => Some((id, Some(Secret::new(secret.clone())), ClientAuthMethod::Post)),
        None => Some((id, None, ClientAuthMethod::None)),
    }
}

/// One form-encoded value.
fn decoded(text: &str) -> String {
    form_urlencoded::parse(format!("x={text}").as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

fn keep<T>(documents: &mut VecDeque<T>, document: T) {
    if documents.len() == MOST {
        documents.pop_front();
    }
    documents.push_back(document);
}

#[cfg(test)]
mod tests;
