//! Who we are to the provider: registered beforehand, named by a metadata document, or registered now.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use linchpin_store::{Client, ClientAuthMethod, Registration, Secret, UnixMs};
use serde::{Deserialize, Serialize};
use url::Url;

use super::discover::Discovered;
use super::{SignInError, SignInOptions, auth_method, preregistered};
use crate::exchange::answer::error_code;
use crate::http::{Reach, credential_client, read_body};

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 64 << 10;

/// The client for this sign-in, in the order of the specification: given, metadata document, registration.
pub(super) async fn client(
    provider: &Discovered,
    options: &SignInOptions,
    scopes: &[String],
    redirect_uri: &str,
    reach: Reach,
) -> Result<(Client, ClientAuthMethod), SignInError> {
    if let Some(client) = &options.client {
        return Ok(preregistered(client, provider.auth_methods.as_deref()));
    }
    if let Some(url) = options.client_metadata_url.as_ref().filter(|_| provider.metadata_documents) {
        let client = Client {
            id: url.as_str().to_owned(),
            secret: None,
            secret_expires_at_ms: None,
            registration: Registration::MetadataDocument,
            redirect_uri: Some(redirect_uri.to_owned()),
        };
        return Ok((client, ClientAuthMethod::None));
    }
    register(provider, scopes, redirect_uri, reach).await
}

#[derive(Serialize)]
struct Asked<'a> {
    client_name: &'static str,
    redirect_uris: [&'a str; 1],
    grant_types: [&'static str; 2],
    response_types: [&'static str; 1],
    token_endpoint_auth_method: &'static str,
    application_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<String>,
    #[serde(default)]
    client_secret_expires_at: Option<serde_json::Value>,
    token_endpoint_auth_method: Option<String>,
}

/// Dynamic client registration (RFC 7591).
///
/// It names the scopes that will be asked for, since some providers hold a client to those of its registration.
/// Others know only their own scopes there, not those of a resource, and refuse (`oidc-provider` does): they are
/// asked once more without. A refusal has registered nobody.
async fn register(
    provider: &Discovered,
    scopes: &[String],
    redirect_uri: &str,
    reach: Reach,
) -> Result<(Client, ClientAuthMethod), SignInError> {
    let Some(endpoint) = &provider.registration_endpoint else {
        return Err(SignInError::NoRegistration { issuer: provider.issuer.clone() });
    };
    let mut asked = Asked {
        client_name: "Linchpin",
        redirect_uris: [redirect_uri],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        token_endpoint_auth_method: wanted_method(provider.auth_methods.as_deref()),
        application_type: "native",
        scope: (!scopes.is_empty()).then(|| scopes.join(" ")),
    };
    match ask(provider, endpoint, &asked, reach).await {
        Err(SignInError::RegistrationRefused { problem, .. })
            if asked.scope.is_some()
                && matches!(problem.as_str(), "invalid_client_metadata" | "invalid_scope") =>
        {
            asked.scope = None;
            ask(provider, endpoint, &asked, reach).await
        }
        outcome => outcome,
    }
}

async fn ask(
    provider: &Discovered,
    endpoint: &Url,
    asked: &Asked<'_>,
    reach: Reach,
) -> Result<(Client, ClientAuthMethod), SignInError> {
    let issuer = || provider.issuer.clone();
    let unreachable = |problem: &str| SignInError::Unreachable { who: issuer(), problem: problem.to_owned() };
    let body = serde_json::to_vec(asked).expect("strings serialize");
    let response = credential_client(endpoint, reach)?
        .post(endpoint.clone())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
        .timeout(TIMEOUT)
        .body(body)
        .send()
        .await
        .map_err(|_| unreachable("could not be reached to register a client"))?;
    let status = response.status();
    if status.is_server_error() || status.as_u16() == 429 {
        return Err(unreachable(&format!("answered {} to a registration", status.as_u16())));
    }
    let body = read_body(response, MAX_ANSWER).await.map_err(|error| unreachable(&error.to_string()))?;
    let refused = |problem: String| SignInError::RegistrationRefused { issuer: issuer(), problem };
    if !status.is_success() {
        return Err(refused(error_code(&body, &[]).unwrap_or_else(|| format!("status {}", status.as_u16()))));
    }
    let registered: Registered =
        serde_json::from_slice(&body).map_err(|_| refused("its answer is no registration".to_owned()))?;
    // Some providers send an empty secret to a public client.
    let secret = registered.client_secret.filter(|secret| !secret.is_empty()).map(Secret::new);
    let method = match (registered.token_endpoint_auth_method.as_deref(), secret.is_some()) {
        (Some("client_secret_basic"), true) => ClientAuthMethod::Basic,
        (Some("client_secret_post"), true) => ClientAuthMethod::Post,
        (Some("none"), _) => ClientAuthMethod::None,
        (_, has_secret) => auth_method(provider.auth_methods.as_deref(), has_secret),
    };
    // Seconds since the epoch, 0 for never (RFC 7591 section 3.2.1).
    let secret_expires_at_ms = registered
        .client_secret_expires_at
        .and_then(|value| value.as_u64())
        .filter(|&seconds| seconds > 0)
        .map(|seconds| UnixMs(0).after(Duration::from_secs(seconds)));
    let client = Client {
        id: registered.client_id,
        secret,
        secret_expires_at_ms,
        registration: Registration::Dynamic,
        redirect_uri: Some(asked.redirect_uris[0].to_owned()),
    };
    Ok((client, method))
}

/// A program on a person's machine keeps no secret, so it is public where it may be.
fn wanted_method(supported: Option<&[String]>) -> &'static str {
    let supports = |method: &str| supported.is_none_or(|methods| methods.iter().any(|known| known == method));
    ["none", "client_secret_basic", "client_secret_post"]
        .into_iter()
        .find(|method| supports(method))
        .unwrap_or("none")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Json;
    use axum::routing::post;
    use serde_json::{Value, json};

    use super::*;

    /// A provider that knows only `offline_access` at registration; and what it was asked.
    async fn strict_provider() -> (Discovered, Arc<Mutex<Vec<Value>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let answer = move |Json(body): Json<Value>| async move {
            let scope = body["scope"].as_str().unwrap_or("offline_access").to_owned();
            seen.lock().expect("not poisoned").push(body);
            if scope == "offline_access" {
                (
                    http::StatusCode::CREATED,
                    Json(json!({"client_id": "c", "token_endpoint_auth_method": "none"})),
                )
            } else {
                (http::StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_client_metadata"})))
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new().route("/reg", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = |path: &str| Url::parse(&format!("{base}{path}")).expect("a URL");
        let provider = Discovered {
            issuer: base.clone(),
            issuer_due: true,
            authorization_endpoint: url("/auth"),
            token_endpoint: url("/token"),
            registration_endpoint: Some(url("/reg")),
            revocation_endpoint: None,
            auth_methods: None,
            signing_algorithms: None,
            metadata_documents: false,
            challenge_methods: Vec::new(),
            resource: url("/mcp").into(),
            scopes: Vec::new(),
            offline_access: true,
        };
        (provider, asked)
    }

    #[tokio::test]
    async fn a_provider_that_refuses_the_scopes_of_a_resource_is_asked_once_more_without() {
        let (provider, asked) = strict_provider().await;
        let scopes = ["tools".to_owned(), "offline_access".to_owned()];
        let redirect_uri = "http://127.0.0.1:1/callback";
        let registered = register(&provider, &scopes, redirect_uri, Reach::Private).await;
        let (client, method) = registered.expect("registered");
        assert_eq!((client.id.as_str(), method), ("c", ClientAuthMethod::None));
        let asked: Vec<_> =
            asked.lock().expect("not poisoned").iter().map(|body| body["scope"].clone()).collect();
        assert_eq!(asked, [json!("tools offline_access"), Value::Null]);
    }

    #[test]
    fn a_client_is_public_where_the_provider_lets_it() {
        let wanted = |methods: &[&str]| {
            let methods: Vec<_> = methods.iter().map(|&method| method.to_owned()).collect();
            wanted_method(Some(&methods))
        };
        assert_eq!(wanted_method(None), "none");
        assert_eq!(wanted(&["client_secret_basic", "none"]), "none");
        assert_eq!(wanted(&["client_secret_post", "client_secret_basic"]), "client_secret_basic");
        assert_eq!(wanted(&["client_secret_post"]), "client_secret_post");
        assert_eq!(wanted(&["private_key_jwt"]), "none");
    }

    #[test]
    fn how_a_client_authenticates_follows_from_its_secret_and_the_metadata() {
        let basic = ["client_secret_basic".to_owned(), "client_secret_post".to_owned()];
        let post = ["client_secret_post".to_owned()];
        assert_eq!(auth_method(None, true), ClientAuthMethod::Basic);
        assert_eq!(auth_method(Some(&basic), true), ClientAuthMethod::Basic);
        assert_eq!(auth_method(Some(&post), true), ClientAuthMethod::Post);
        assert_eq!(auth_method(Some(&post), false), ClientAuthMethod::None);
    }
}
