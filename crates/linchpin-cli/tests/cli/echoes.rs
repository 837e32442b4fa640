//! Providers and servers that answer with what they were sent: none of it is shown, kept in the history or asked for (P20).
//! What they send back are words that could be error codes or scopes; what the test kit plants is looked for besides.

use std::sync::{Arc, Mutex};

use linchpin_testkit::{Endpoint, Fault};
use serde_json::json;
use url::form_urlencoded;

use crate::bad_input::furnished;
use crate::raw::Raw;
use crate::running::{get, parameter};
use crate::world::{Ran, World};

/// A token as some providers issue them: it looks like a word.
const REFRESH_TOKEN: &str = "9f8e7d6c5b4a39281706f5e4";
const ACCESS_TOKEN: &str = "0a1b2c3d4e5f60718293a4b5";
const CODE: &str = "c0dec0dec0ffee0123456789";

/// What has the name `NAME` in a request to `/NAME` is the error of the answer, and is kept.
fn echo() -> (Raw, Arc<Mutex<Vec<String>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&sent);
    let echo = Raw::serving(move |request, wire| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap_or_default();
        let name = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let mut form = form_urlencoded::parse(body.as_bytes());
        let value = form.find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
        let value = value.unwrap_or_default();
        let answer = json!({ "error": value }).to_string();
        kept.lock().expect("no panic").push(value);
        wire.answer(400, &[("content-type", "application/json")], &answer)
    });
    (echo, sent)
}

/// Nothing that was sent is in what was printed or noted.
fn silent(world: &World, ran: &Ran, sent: &Mutex<Vec<String>>) {
    let sent = sent.lock().expect("no panic").clone();
    assert!(!sent.is_empty() && sent.iter().all(|secret| secret.len() >= 20), "it was asked: {sent:?}");
    for secret in &sent {
        for text in [&ran.stdout, &ran.stderr, &world.history()] {
            assert!(!text.contains(secret.as_str()), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn p20_a_provider_that_answers_a_refresh_or_a_revocation_with_the_token_is_not_quoted() {
    let world = World::signed_in(|_| {}).await;
    let (echo, sent) = echo();
    let at = |name: &str| json!(format!("{}/{name}", echo.origin));
    world.change_record(|record| {
        record["refresh_token"] = json!(REFRESH_TOKEN);
        record["access_token"] = json!(ACCESS_TOKEN);
        record["token_endpoint"] = at("refresh_token");
        record["revocation_endpoint"] = at("token");
    });
    world.expire();
    for arguments in [
        &["token", &world.url()][..],
        &["token", &world.url(), "--json"],
        &["status"],
        &["status", "--json"],
        &["log"],
        &["log", "--json"],
        &["doctor"],
        &["logout", &world.url()],
        &["log"],
        &["log", "--json"],
    ] {
        if arguments[0] == "token" {
            world.end_pauses();
        }
        let ran = world.run(arguments).await;
        silent(&world, &ran, &sent);
    }
    assert!(world.history().contains("unrecognised_error"), "{}", world.history());
    let asked = sent.lock().expect("no panic").clone();
    assert_eq!(asked.first().map(String::as_str), Some(REFRESH_TOKEN));
    assert_eq!(asked.len(), 3, "two refreshes and a revocation: {asked:?}");
}

#[tokio::test]
async fn p20_a_provider_that_answers_a_code_exchange_with_code_or_verifier_is_not_quoted() {
    let world = World::new();
    let (echo, sent) = echo();
    let issuer: String = form_urlencoded::byte_serialize(world.kit.issuer().as_bytes()).collect();
    for (seen, name) in ["code", "code_verifier"].into_iter().enumerate() {
        world.kit.configure(|config| {
            config.metadata.insert("token_endpoint".to_owned(), json!(format!("{}/{name}", echo.origin)));
        });
        let url = world.url();
        let login = world.start(&["login", &url]);
        let page = world.next_page(seen).await;
        let query = format!("code={CODE}&state={}&iss={issuer}", parameter(&page, "state"));
        let answer =
            get(&format!("{}?{query}", parameter(&page, "redirect_uri")), None).await.expect("answered");
        assert!(!answer.body.contains(CODE), "{}", answer.body);
        let ran = login.ended().await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stderr.contains("unrecognised_error"), "{ran:?}");
        silent(&world, &ran, &sent);
    }
    assert_eq!(sent.lock().expect("no panic").len(), 2);
}

#[tokio::test]
async fn p20_a_registration_or_a_callback_that_names_a_secret_is_not_quoted() {
    let world = furnished().await;
    let record = world.record().expect("saved");
    let secret = record["refresh_token"].as_str().expect("a text").to_owned();
    let body = json!({ "error": secret, "error_description": secret }).to_string();
    world.kit.fault(Fault::replace(Endpoint::Register, 400, &[("content-type", "application/json")], &body));
    let ran = world.run(&["login", &world.url(), "--force"]).await;
    world.kit.clear_faults();
    assert!(ran.code != 0 && ran.stderr.contains("unrecognised_error"), "{ran:?}");

    let issuer: String = form_urlencoded::byte_serialize(world.kit.issuer().as_bytes()).collect();
    for error in [secret.as_str(), CODE] {
        let seen = world.opened().len();
        let url = world.url();
        let login = world.start(&["login", &url, "--force"]);
        let page = world.next_page(seen).await;
        let query = format!("error={error}&code={CODE}&state={}&iss={issuer}", parameter(&page, "state"));
        let answer =
            get(&format!("{}?{query}", parameter(&page, "redirect_uri")), None).await.expect("answered");
        let ran = login.ended().await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stderr.contains("unrecognised_error") && !ran.stderr.contains(CODE), "{ran:?}");
        assert!(!answer.body.contains(error), "{}", answer.body);
    }
}

#[tokio::test]
async fn p20_a_server_that_asks_for_the_token_as_a_scope_is_not_quoted() {
    let world = World::signed_in(|_| {}).await;
    let record = world.record().expect("saved");
    let secret = record["access_token"].as_str().expect("a text").to_owned();
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"read {secret} write\"");
    world.kit.fault(Fault::replace(Endpoint::McpPost, 403, &[("www-authenticate", &challenge)], ""));
    for arguments in [
        &["tools", &world.url()][..],
        &["tools", &world.url(), "--json"],
        &["call", &world.url(), "echo"],
        &["call", &world.url(), "echo", "--json"],
    ] {
        let ran = world.run(arguments).await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stderr.contains("--scope 'read write'"), "{ran:?}");
    }
    let bridge = world.bridge();
    let answer = bridge.initialize(crate::world::PATIENCE).await.expect("answered");
    assert!(answer["error"]["message"].to_string().contains("read write"), "{answer}");
    world.note(&answer.to_string());
    world.close(vec![bridge]).await;
}
