use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use linchpin_store::{PlainHttp, SystemClock};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::*;
use crate::{Provider, TokenEndpoint as _};

type Asked = Arc<Mutex<Vec<(Option<String>, HashMap<String, String>)>>>;

/// A server and its provider in one, which gives a program `T1`, `T2`, …; and what the token endpoint was asked.
async fn world(methods: &[&str], algorithms: &[&str]) -> (ServerUrl, Asked) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Asked::default();
    let resource = json!({
        "resource": format!("{base}/mcp"), "authorization_servers": [base], "scopes_supported": ["tools"],
    });
    let provider = json!({
        "issuer": base, "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"), "response_types_supported": ["code"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
    });
    let token = async |State(asked): State<Asked>,
                       headers: HeaderMap,
                       Form(form): Form<HashMap<String, String>>| {
        let mut asked = asked.lock().expect("not poisoned");
        let by = headers.get(AUTHORIZATION).map(|value| value.to_str().expect("ASCII").to_owned());
        asked.push((by, form));
        Json(json!({ "access_token": format!("T{}", asked.len()), "token_type": "Bearer", "expires_in": 60 }))
    };
    let app = Router::new()
        .route("/mcp", post(async || StatusCode::UNAUTHORIZED))
        .route("/.well-known/oauth-protected-resource/mcp", get(async move || Json(resource)))
        .route("/.well-known/oauth-authorization-server", get(async move || Json(provider)))
        .route("/token", post(token))
        .with_state(Arc::clone(&asked));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (ServerUrl::parse(&format!("{base}/mcp"), PlainHttp::LoopbackOnly).expect("a URL"), asked)
}

fn key() -> Secret {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let text = base64::engine::general_purpose::STANDARD.encode(key.expect("a key"));
    Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"))
}

async fn sign_in(server: &ServerUrl, proof: ClientProof) -> Result<Record, SignInError> {
    ClientCredentials::new("me", proof).sign_in(server, &HttpOptions::default(), &SystemClock).await
}

#[tokio::test]
async fn a_program_signs_in_by_its_secret_and_gets_its_next_token_the_same_way() {
    let (server, asked) = world(&["client_secret_basic"], &[]).await;
    let mut record = sign_in(&server, ClientProof::Secret(Secret::new("s:1"))).await.expect("signed in");
    assert_eq!((record.access_token.expose(), record.is_renewable()), ("T1", true));
    assert_eq!((record.refresh_token.is_none(), &record.scopes[..]), (true, &["tools".to_owned()][..]));
    record.access_token = Secret::new("ended");
    match Provider::new(HttpOptions::default()).refresh(&record).await {
        Exchange::Rotated(answer) => assert_eq!(answer.access_token.expose(), "T2"),
        other => panic!("{other:?}"),
    }
    let asked = asked.lock().expect("not poisoned");
    let expected =
        json!({ "grant_type": "client_credentials", "resource": server.as_str(), "scope": "tools" });
    for (by, form) in &*asked {
        // RFC 6749 section 2.3.1: id and secret are form-encoded before they are joined.
        assert_eq!((by.as_deref(), &json!(form)), (Some("Basic bWU6cyUzQTE="), &expected));
    }
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_program_with_a_private_key_signs_a_new_assertion_for_every_token() {
    let (server, asked) = world(&["private_key_jwt"], &["ES256"]).await;
    let record = sign_in(&server, ClientProof::PrivateKey(key())).await.expect("signed in");
    let renewed = Provider::new(HttpOptions::default()).refresh(&record).await;
    assert!(matches!(renewed, Exchange::Rotated(_)), "{renewed:?}");
    let asked = asked.lock().expect("not poisoned");
    assert!(asked.iter().all(|(by, form)| by.is_none()
        && form["client_id"] == "me"
        && form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        && !form.contains_key("client_secret")));
    assert_ne!(asked[0].1["client_assertion"], asked[1].1["client_assertion"]);
    let claims = asked[0].1["client_assertion"].split('.').nth(1).expect("three parts");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(record.issuer), &json!("me")));
}

#[tokio::test]
async fn p13_nothing_is_sent_to_a_provider_that_is_another_or_takes_no_such_proof() {
    let (server, asked) = world(&["client_secret_basic"], &["RS256"]).await;
    let error = sign_in(&server, ClientProof::PrivateKey(key())).await.expect_err("not taken");
    assert!(matches!(error, SignInError::ProofNotTaken { proof: "private_key_jwt", .. }), "{error}");
    let error = sign_in(&server, ClientProof::PrivateKey(Secret::new("x"))).await.expect_err("no key");
    assert!(matches!(error, SignInError::Key(_)), "{error}");
    let mut other = ClientCredentials::new("me", ClientProof::Secret(Secret::new("s")));
    other.issuer = Some("https://before.example".to_owned());
    let error = other.sign_in(&server, &HttpOptions::default(), &SystemClock).await.expect_err("another");
    assert!(matches!(error, SignInError::OtherProvider { .. }), "{error}");
    let (server, also_asked) = world(&["private_key_jwt"], &["RS256"]).await;
    let error = sign_in(&server, ClientProof::PrivateKey(key())).await.expect_err("not taken");
    assert!(matches!(error, SignInError::ProofNotTaken { proof: "ES256", .. }), "{error}");
    assert_eq!((asked.lock().expect("ok").len(), also_asked.lock().expect("ok").len()), (0, 0));
}
