//! The authorization server: metadata, registration, authorization, tokens, revocation.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::config::{Config, Consent, Lifetime};
use crate::fault::Endpoint;
use crate::grants::{Code, CodeExchange, Pair, RefreshRequest, RegisteredClient};
use crate::kit::{Shared, SignedIn, lock};
use crate::respond::{Answer, answer, empty, json as json_answer, oauth_error, redirect};
use crate::serve::Asked;

pub(crate) async fn handle(shared: Arc<Shared>, asked: Asked) -> Answer {
    let Asked { request, wire } = asked;
    let shared = &*shared;
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/.well-known/oauth-authorization-server") => {
            shared.counts().metadata_requests += 1;
            shared.answer(Endpoint::Metadata, None, &wire, async { metadata(shared) }).await
        }
        (&Method::POST, "/register") => {
            shared.answer(Endpoint::Register, None, &wire, async { register(shared, &request) }).await
        }
        (&Method::GET, "/authorize") => {
            shared.answer(Endpoint::Authorize, None, &wire, async { authorize(shared, &request) }).await
        }
        (&Method::POST, "/approve") => approve(shared, &request),
        (&Method::POST, "/token") => {
            // The running exchange ends when its answer was given up to the wire, faults included.
            let running = Mutex::new(None);
            let answer = shared
                .answer(Endpoint::Token, None, &wire, async {
                    let (answer, grant) = token(shared, &request);
                    *lock(&running) = grant;
                    answer
                })
                .await;
            let grant = lock(&running).take();
            if let Some(grant) = grant {
                shared.grants().exchange_ended(grant);
            }
            answer
        }
        (&Method::POST, "/revoke") => {
            shared.answer(Endpoint::Revoke, None, &wire, async { revoke(shared, &request) }).await
        }
        _ => empty(StatusCode::NOT_FOUND),
    }
}

fn metadata(shared: &Shared) -> Answer {
    let issuer = &shared.issuer;
    let config = shared.config();
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "registration_endpoint": format!("{issuer}/register"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "authorization_response_iss_parameter_supported": true,
        "scopes_supported": config.scopes,
    });
    if config.revocation {
        document["revocation_endpoint"] = json!(format!("{issuer}/revoke"));
    }
    merge(&mut document, &config.metadata);
    json_answer(StatusCode::OK, &document)
}

/// Puts overrides into a document; `null` removes a field.
pub(crate) fn merge(document: &mut Value, overrides: &Map<String, Value>) {
    let Some(fields) = document.as_object_mut() else { return };
    for (name, value) in overrides {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
}

fn register(shared: &Shared, request: &Request<Bytes>) -> Answer {
    let Ok(asked) = serde_json::from_slice::<Value>(request.body()) else {
        return oauth_error(StatusCode::BAD_REQUEST, "invalid_client_metadata");
    };
    let redirect_uris: Vec<String> = asked["redirect_uris"]
        .as_array()
        .map(|uris| uris.iter().filter_map(|uri| uri.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    if redirect_uris.is_empty() {
        return oauth_error(StatusCode::BAD_REQUEST, "invalid_redirect_uri");
    }
    let config = shared.config().clone();
    let (id, client) = new_client(shared, &config, redirect_uris);
    let mut document = json!({
        "client_id": id,
        "client_id_issued_at": 0,
        "redirect_uris": client.redirect_uris,
        "token_endpoint_auth_method": client.auth_method,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    });
    if let Some(secret) = &client.secret {
        document["client_secret"] = json!(secret);
        document["client_secret_expires_at"] = json!(0);
    }
    merge(&mut document, &config.registration);
    json_answer(StatusCode::CREATED, &document)
}

fn new_client(shared: &Shared, config: &Config, redirect_uris: Vec<String>) -> (String, RegisteredClient) {
    let mut grants = shared.grants();
    let id = format!("client-{}", grants.clients.len() + 1);
    let secret = (config.client_auth != "none").then(|| grants.plant("cs"));
    let client = RegisteredClient { redirect_uris, secret, auth_method: config.client_auth.clone() };
    grants.clients.insert(id.clone(), client.clone());
    drop(grants);
    shared.counts().registrations += 1;
    (id, client)
}

/// A client that was not registered over HTTP.
pub(crate) fn add_client(shared: &Shared, id: &str, auth_method: &str, redirect_uri: &str) -> Option<String> {
    let mut grants = shared.grants();
    let secret = (auth_method != "none").then(|| grants.plant("cs"));
    let client = RegisteredClient {
        redirect_uris: vec![redirect_uri.to_owned()],
        secret: secret.clone(),
        auth_method: auth_method.to_owned(),
    };
    grants.clients.insert(id.to_owned(), client);
    secret
}

fn authorize(shared: &Shared, request: &Request<Bytes>) -> Answer {
    shared.counts().authorizations += 1;
    let asked = form(request.uri().query().unwrap_or_default().as_bytes());
    let config = shared.config().clone();
    let text = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    let known = shared.grants().client(text("client_id")).cloned();
    // A wrong client or redirect URI must not be redirected to (RFC 6749 section 4.1.2.1).
    let Some(client) = known else { return answer(StatusCode::BAD_REQUEST, "text/plain", "unknown client") };
    if !client.redirect_uris.iter().any(|uri| uri == text("redirect_uri")) {
        return answer(StatusCode::BAD_REQUEST, "text/plain", "unregistered redirect_uri");
    }
    let problem = if text("response_type") != "code" {
        Some("unsupported_response_type")
    } else if text("code_challenge_method") != "S256" || text("code_challenge").len() < 43 {
        Some("invalid_request")
    } else if text("resource") != shared.mcp_url() {
        Some("invalid_target")
    } else if text("scope").split_whitespace().any(|scope| !config.scopes.iter().any(|known| known == scope))
    {
        Some("invalid_scope")
    } else if config.consent == Consent::Deny {
        Some("access_denied")
    } else {
        None
    };
    if let Some(problem) = problem {
        return back_to_client(shared, &config, &asked, &[("error", problem)]);
    }
    if config.consent == Consent::Ask {
        return consent_page(&asked);
    }
    grant(shared, &config, &asked)
}

fn approve(shared: &Shared, request: &Request<Bytes>) -> Answer {
    let asked = form(request.body());
    let config = shared.config().clone();
    grant(shared, &config, &asked)
}

fn grant(shared: &Shared, config: &Config, asked: &HashMap<String, String>) -> Answer {
    let text = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let scope = match text("scope") {
        scope if scope.is_empty() => config.scopes.join(" "),
        scope => scope,
    };
    let code = shared.grants().issue_code(Code {
        client_id: text("client_id"),
        redirect_uri: text("redirect_uri"),
        challenge: text("code_challenge"),
        resource: text("resource"),
        scope,
    });
    back_to_client(shared, config, asked, &[("code", &code)])
}

fn back_to_client(
    shared: &Shared,
    config: &Config,
    asked: &HashMap<String, String>,
    answer: &[(&str, &str)],
) -> Answer {
    let mut pairs: Vec<(&str, &str)> = answer.to_vec();
    if let Some(state) = asked.get("state") {
        pairs.push(("state", state));
    }
    let iss = config.iss.as_deref().unwrap_or(&shared.issuer);
    if !iss.is_empty() {
        pairs.push(("iss", iss));
    }
    let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let uri = asked.get("redirect_uri").map(String::as_str).unwrap_or_default();
    let separator = if uri.contains('?') { '&' } else { '?' };
    redirect(&format!("{uri}{separator}{}", query.join("&")))
}

fn consent_page(asked: &HashMap<String, String>) -> Answer {
    let escape = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let fields: String = asked
        .iter()
        .map(|(name, value)| {
            format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value))
        })
        .collect::<Vec<_>>()
        .concat();
    let page = format!(
        "<!doctype html><title>Consent</title><form method=\"post\" action=\"/approve\">{fields}\
         <button id=\"approve\">Approve</button></form>"
    );
    answer(StatusCode::OK, "text/html", page)
}

fn token(shared: &Shared, request: &Request<Bytes>) -> (Answer, Option<usize>) {
    let asked = form(request.body());
    let text = |name: &str| asked.get(name).map(String::as_str);
    let grant_type = text("grant_type").unwrap_or_default();
    *shared.counts().token_requests.entry(grant_type.to_owned()).or_default() += 1;
    let bad = |code| (oauth_error(StatusCode::BAD_REQUEST, code), None);
    let Some(client_id) = authenticate(shared, request.headers(), &asked) else {
        return (oauth_error(StatusCode::UNAUTHORIZED, "invalid_client"), None);
    };
    let config = shared.config().clone();
    match grant_type {
        "authorization_code" => {
            let verifier = text("code_verifier").unwrap_or_default();
            let exchange = CodeExchange {
                client_id: &client_id,
                redirect_uri: text("redirect_uri").unwrap_or_default(),
                verifier,
                resource: text("resource").unwrap_or_default(),
            };
            let mut grants = shared.grants();
            grants.remember(verifier);
            let code = text("code").unwrap_or_default();
            match grants.exchange_code(code, &exchange, config.access_lifetime()) {
                Ok(pair) => {
                    drop(grants);
                    shared.counts().code_exchanges += 1;
                    (tokens(&config, &pair), None)
                }
                Err(code) => bad(code),
            }
        }
        "refresh_token" => {
            let request = RefreshRequest {
                client_id: &client_id,
                resource: text("resource"),
                scope: text("scope"),
                grace: config.grace(),
                rotation: config.rotation,
                lifetime: config.access_lifetime(),
            };
            let token = text("refresh_token").unwrap_or_default();
            let refreshed = shared.grants().refresh(token, &request, &mut shared.counts());
            match refreshed {
                Ok(refreshed) => (tokens(&config, &refreshed.pair), Some(refreshed.grant)),
                Err(code) => bad(code),
            }
        }
        _ => bad("unsupported_grant_type"),
    }
}

fn tokens(config: &Config, pair: &Pair) -> Answer {
    let mut document = json!({
        "access_token": pair.access,
        "token_type": "Bearer",
        "scope": pair.scope,
    });
    match &config.expires_in {
        // Rounded up, so that a lifetime below a second is not announced as none.
        Lifetime::True => document["expires_in"] = json!(config.access_lifetime_ms.div_ceil(1000)),
        Lifetime::Missing => {}
        Lifetime::Raw(value) => document["expires_in"] = value.clone(),
    }
    if let Some(refresh) = &pair.refresh {
        document["refresh_token"] = json!(refresh);
    }
    json_answer(StatusCode::OK, &document)
}

/// The client, if it proves what it registered.
fn authenticate(shared: &Shared, headers: &HeaderMap, asked: &HashMap<String, String>) -> Option<String> {
    let basic = headers.get(AUTHORIZATION).and_then(|value| {
        let encoded = value.to_str().ok()?.strip_prefix("Basic ")?;
        let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (id, secret) = pair.split_once(':')?;
        Some((decode(id), decode(secret)))
    });
    let id = basic.as_ref().map(|(id, _)| id.clone()).or_else(|| asked.get("client_id").cloned())?;
    let grants = shared.grants();
    let client = grants.client(&id)?;
    let proven = match client.auth_method.as_str() {
        "none" => basic.is_none() && !asked.contains_key("client_secret"),
        "client_secret_basic" => basic.map(|(_, secret)| secret) == client.secret,
        "client_secret_post" => basic.is_none() && asked.get("client_secret") == client.secret.as_ref(),
        _ => false,
    };
    proven.then_some(id)
}

fn revoke(shared: &Shared, request: &Request<Bytes>) -> Answer {
    let asked = form(request.body());
    if !shared.config().revocation {
        return empty(StatusCode::NOT_FOUND);
    }
    if authenticate(shared, request.headers(), &asked).is_none() {
        return oauth_error(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let Some(token) = asked.get("token") else {
        return oauth_error(StatusCode::BAD_REQUEST, "invalid_request");
    };
    shared.grants().revoke(token);
    shared.counts().revocations += 1;
    empty(StatusCode::OK)
}

/// Signs in as a client of its own, past HTTP.
pub(crate) fn sign_in(shared: &Shared) -> io::Result<SignedIn> {
    let config = shared.config().clone();
    let redirect_uri = "http://127.0.0.1:1/callback".to_owned();
    let (client_id, client) = new_client(shared, &config, vec![redirect_uri.clone()]);
    let verifier = shared.grants().plant("verifier");
    let scope = config.scopes.join(" ");
    let resource = shared.mcp_url();
    let mut grants = shared.grants();
    let code = grants.issue_code(Code {
        client_id: client_id.clone(),
        redirect_uri: redirect_uri.clone(),
        challenge: URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())),
        resource: resource.clone(),
        scope: scope.clone(),
    });
    let exchange = CodeExchange {
        client_id: &client_id,
        redirect_uri: &redirect_uri,
        verifier: &verifier,
        resource: &resource,
    };
    let pair = grants.exchange_code(&code, &exchange, config.access_lifetime()).map_err(io::Error::other)?;
    Ok(SignedIn {
        issuer: shared.issuer.clone(),
        token_endpoint: format!("{}/token", shared.issuer),
        revocation_endpoint: format!("{}/revoke", shared.issuer),
        resource,
        client_id,
        client_secret: client.secret,
        client_auth: client.auth_method,
        access_token: pair.access,
        refresh_token: pair.refresh.unwrap_or_default(),
        scope,
        access_lifetime_ms: config.access_lifetime_ms,
    })
}

/// A form or query as a map; a repeated parameter keeps its last value.
pub(crate) fn form(bytes: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let hex = std::str::from_utf8(&digits).unwrap_or("00");
                bytes.push(u8::from_str_radix(hex, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
