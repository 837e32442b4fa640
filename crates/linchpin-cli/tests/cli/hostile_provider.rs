//! A provider, a server or a browser that says what is wrong or hostile: refused before anything is sent (F22, F24).

use std::path::Path;

use linchpin_testkit::{Endpoint, Fault, browse};
use serde_json::{Value, json};

use crate::bad_input::{furnished, told};
use crate::running::{get, parameter};
use crate::world::World;

/// What the provider or the server says about itself, where, and what the line has to name.
fn hostile_metadata() -> Vec<(&'static str, Value, i32, &'static str)> {
    let auth = |value: &str| json!({ "authorization_endpoint": value });
    vec![
        ("provider", json!({ "issuer": "https://evil.example.com" }), 1, "https://evil.example.com"),
        ("provider", json!({ "issuer": null }), 1, "metadata"),
        ("provider", json!({ "issuer": "https://evil\u{1b}[31m.example.com" }), 1, "metadata"),
        (
            "provider",
            json!({ "token_endpoint": "http://evil.example.com/token" }),
            1,
            "token endpoint is not https",
        ),
        ("provider", json!({ "token_endpoint": "https://169.254.169.254/token" }), 1, "token endpoint leads"),
        (
            "provider",
            json!({ "token_endpoint": "http://[::ffff:169.254.169.254]/token" }),
            1,
            "token endpoint",
        ),
        (
            "provider",
            json!({ "token_endpoint": "https://me:pw@127.0.0.1/token" }),
            1,
            "token endpoint carries",
        ),
        ("provider", json!({ "token_endpoint": "/token" }), 1, "token endpoint"),
        ("provider", json!({ "token_endpoint": null }), 1, "metadata"),
        (
            "provider",
            json!({ "registration_endpoint": "http://10.0.0.1/register" }),
            1,
            "registration endpoint is not https",
        ),
        ("provider", json!({ "revocation_endpoint": "file:///etc/passwd" }), 1, "revocation endpoint"),
        ("provider", auth("javascript:alert(1)"), 1, "authorization endpoint"),
        ("provider", auth("data:text/html,hello"), 1, "authorization endpoint"),
        ("provider", auth("file:///etc/passwd"), 1, "authorization endpoint"),
        ("provider", auth("--new-window"), 1, "authorization endpoint"),
        ("provider", auth("$(touch x)"), 1, "authorization endpoint"),
        ("provider", auth("http://evil.example.com/authorize"), 1, "authorization endpoint is not https"),
        ("provider", auth(""), 1, "authorization endpoint"),
        (
            "provider",
            auth(&format!("https://127.0.0.1/{}", "a".repeat(500_000))),
            1,
            "authorization endpoint is longer than 4096 characters",
        ),
        (
            "provider",
            json!({ "issuer": format!("https://127.0.0.1/{}", "a".repeat(500_000)) }),
            1,
            "says it is that of",
        ),
        ("provider", json!({ "code_challenge_methods_supported": null }), 1, "PKCE"),
        ("provider", json!({ "code_challenge_methods_supported": ["plain"] }), 1, "PKCE"),
        ("provider", json!({ "code_challenge_methods_supported": [] }), 1, "PKCE"),
        ("provider", json!({ "registration_endpoint": null }), 2, "--client-id"),
        ("server", json!({ "resource": "https://evil.example.com/mcp" }), 1, "resource"),
        ("server", json!({ "resource": null }), 1, "resource"),
        ("server", json!({ "resource": "no URL\u{1b}[31m" }), 1, "resource"),
        ("server", json!({ "authorization_servers": ["http://evil.example.com"] }), 1, "evil.example.com"),
        ("server", json!({ "authorization_servers": ["https://169.254.169.254"] }), 1, "169.254.169.254"),
        ("server", json!({ "authorization_servers": ["file:///etc"] }), 1, "file:///etc"),
        ("server", json!({ "authorization_servers": ["no URL"] }), 1, "no URL"),
        ("server", json!({ "authorization_servers": [] }), 2, "names no sign-in"),
    ]
}

#[tokio::test]
async fn f22_metadata_that_is_wrong_or_hostile_is_refused_before_anything_is_sent() {
    let world = furnished().await;
    let before = world.files();
    for (whose, overrides, code, part) in hostile_metadata() {
        let fields = overrides.as_object().expect("an object").clone();
        world.kit.configure(|config| {
            config.metadata.clear();
            config.resource_metadata.clear();
            if whose == "server" { config.resource_metadata = fields } else { config.metadata = fields }
        });
        let ran = world.run(&["login", &world.url(), "--timeout", "1s"]).await;
        assert_eq!(ran.code, code, "{overrides}: {ran:?}");
        told(&ran, code, &[part]);
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
        assert!(ran.stderr.len() < 1_000, "{} bytes", ran.stderr.len());
        assert_eq!(world.files(), before, "{overrides}");
    }
    let counts = world.kit.counts();
    assert_eq!((counts.registrations, counts.code_exchanges, world.opened().len()), (0, 0, 1), "{counts:?}");
}

#[tokio::test]
async fn f22_a_prefix_of_the_server_is_another_resource() {
    let world = furnished().await;
    let origin = world.url().trim_end_matches("/mcp").to_owned();
    for (resource, code) in [
        (format!("{origin}/mc"), 1),
        (format!("{origin}/mcp/"), 1),
        (format!("{origin}/mcp?a=b"), 1),
        (format!("{origin}/mcp/more"), 1),
        (world.url(), 0),
    ] {
        world.kit.configure(|config| {
            config.resource_metadata.insert("resource".to_owned(), json!(resource));
        });
        let ran = world.login(&[]).await;
        assert_eq!(ran.code, code, "{resource}: {ran:?}");
    }
}

#[tokio::test]
async fn f22_a_browser_gets_one_argument_that_no_shell_reads() {
    let world = World::with(|config| {
        let endpoint = "https://127.0.0.1:1/a;touch x&&`touch y`$(touch z)'\"<>|";
        config.metadata.insert("authorization_endpoint".to_owned(), json!(endpoint));
    });
    let ran = world.run(&["login", &world.url(), "--timeout", "300ms"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    let page = world.next_page(0).await;
    assert_eq!(world.opened().len(), 1);
    assert!(page.as_str().starts_with("https://127.0.0.1:1/a;touch%20x&&"), "{page}");
    assert!(!page.as_str().contains([' ', '"', '<', '>', '`']), "{page}");
    for file in ["x", "y", "z"] {
        assert!(!Path::new(file).exists() && !world.scratch().join(file).exists());
    }
}

#[tokio::test]
async fn f22_documents_that_are_huge_no_json_or_elsewhere_are_refused() {
    let world = furnished().await;
    let before = world.files();
    let json = [("content-type", "application/json")];
    let huge = format!("{{\"issuer\":\"{}\"}}", "x".repeat((1 << 20) + 1));
    let away = [("location", "http://127.0.0.1:1/")];
    for endpoint in [Endpoint::Metadata, Endpoint::ResourceMetadata] {
        let provider = endpoint == Endpoint::Metadata;
        let (code, unusable) =
            if provider { (1, "without usable metadata") } else { (2, "names no sign-in") };
        for (code, part, fault) in [
            (1, "longer than 1048576 bytes", Fault::replace(endpoint, 200, &json, &huge)),
            (
                code,
                unusable,
                Fault::replace(endpoint, 200, &[("content-type", "text/html")], "<p>planted-html"),
            ),
            (code, unusable, Fault::replace(endpoint, 200, &json, "[1, 2]")),
            (1, "another site, http://127.0.0.1:1", Fault::replace(endpoint, 302, &away, "")),
            (
                if provider { 4 } else { 2 },
                if provider { "try again" } else { unusable },
                Fault::replace(endpoint, 302, &[("location", "/.well-known/oauth-authorization-server")], ""),
            ),
        ] {
            world.kit.fault(fault);
            let ran = world.run(&["login", &world.url()]).await;
            world.kit.clear_faults();
            told(&ran, code, &[part]);
            assert_eq!(world.files(), before);
        }
    }
    assert_eq!((world.kit.counts().registrations, world.opened().len()), (0, 1));
}

#[tokio::test]
async fn f24_a_callback_with_the_state_that_is_of_another_provider_or_a_refusal_ends_it_without_an_exchange()
{
    let world = furnished().await;
    let before = world.files();
    let issuer: String = url::form_urlencoded::byte_serialize(world.kit.issuer().as_bytes()).collect();
    for (query, part) in [
        ("code=c&state=STATE&iss=https%3A%2F%2Fevil.example.com".to_owned(), "another provider"),
        ("code=c&state=STATE".to_owned(), "another provider"),
        (format!("code=c&state=STATE&iss={issuer}%2F"), "another provider"),
        ("error=login_required&state=STATE".to_owned(), "another provider"),
        (
            format!("error=x%1b%5b31m%0ay&error_description=planted-text&state=STATE&iss={issuer}"),
            "unrecognised_error",
        ),
    ] {
        let seen = world.opened().len();
        let url = world.url();
        let login = world.start(&["login", &url]);
        let page = world.next_page(seen).await;
        let query = query.replace("STATE", &parameter(&page, "state"));
        let answer =
            get(&format!("{}?{query}", parameter(&page, "redirect_uri")), None).await.expect("answered");
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains("You are not signed in"), "{}", answer.body);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let ran = login.ended().await;
        told(&ran, 3, &[part]);
        assert!(
            !ran.stderr.contains("evil.example.com") && !ran.stderr.contains("login_required"),
            "{ran:?}"
        );
        assert!(get(&parameter(&page, "redirect_uri"), None).await.is_err(), "the port is free");
    }
    let counts = world.kit.counts();
    assert_eq!((counts.token_requests.get("authorization_code"), counts.code_exchanges), (None, 0));
    assert_eq!(world.files(), before);
}

/// Anybody on the machine and any page can send one: it neither signs in nor keeps the person from signing in.
#[tokio::test]
async fn f24_a_callback_without_the_state_is_turned_away_and_the_login_goes_on() {
    let world = World::new();
    let issuer: String = url::form_urlencoded::byte_serialize(world.kit.issuer().as_bytes()).collect();
    let strangers = [
        format!("code=c&state=wrong&iss={issuer}"),
        "code=x&state=wrong".to_owned(),
        format!("code=c&iss={issuer}"),
        "code=c&state=".to_owned(),
        "error=access_denied".to_owned(),
        format!("error=access_denied&state=wrong&iss={issuer}"),
    ];
    let visit = async |page: &url::Url| {
        for query in &strangers {
            let answer =
                get(&format!("{}?{query}", parameter(page, "redirect_uri")), None).await.expect("answered");
            assert_eq!(answer.status, 400, "{query}");
            assert!(answer.body.contains("does not belong to the sign-in"), "{}", answer.body);
        }
    };
    let url = world.url();
    let login = world.start(&["login", &url]);
    let page = world.next_page(0).await;
    visit(&page).await;
    assert_eq!((world.kit.counts().code_exchanges, world.record()), (0, None));
    assert_eq!(browse(page.as_str()).await.expect("visited").status, 200);
    let ran = login.ended().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stderr.matches("wrong state").count(), 1, "said once: {ran:?}");
    assert_eq!(world.kit.counts().code_exchanges, 1);

    // They do not prolong the wait either, and the port is free after it.
    let login = world.start(&["login", &url, "--force", "--timeout", "1s"]);
    let page = world.next_page(1).await;
    visit(&page).await;
    let ran = login.ended().await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(get(&parameter(&page, "redirect_uri"), None).await.is_err(), "the port is free");
    assert_eq!(world.kit.counts().code_exchanges, 1);
}

#[tokio::test]
async fn f24_what_is_no_callback_is_turned_away_and_the_login_goes_on() {
    let world = World::new();
    let url = world.url();
    let login = world.start(&["login", &url]);
    let page = world.next_page(0).await;
    let (callback, state) = (parameter(&page, "redirect_uri"), parameter(&page, "state"));
    let origin = callback.trim_end_matches("/callback").to_owned();
    for (target, host, status) in [
        (format!("{callback}?code=c&state={state}"), Some("evil.example.com"), 403),
        (format!("{callback}?code=c&state={state}"), Some("localhost"), 403),
        (callback.clone(), None, 400),
        (format!("{callback}?state={state}"), None, 400),
        (format!("{callback}?code=a&code=b&state={state}"), None, 400),
        (format!("{callback}?code={}&state={state}", "c".repeat(9000)), None, 414),
        (format!("{origin}/favicon.ico"), None, 404),
        (origin.clone(), None, 404),
    ] {
        let answer = get(&target, host).await.expect("answered");
        assert_eq!(answer.status, status, "{}", &target[..target.len().min(120)]);
    }
    // A megabyte: refused or cut, and nobody crashes.
    let huge = get(&format!("{callback}?code={}&state={state}", "c".repeat(1 << 20)), None).await;
    assert!(huge.as_ref().map_or(true, |answer| matches!(answer.status, 414 | 431)), "{huge:?}");
    assert_eq!(browse(page.as_str()).await.expect("visited").status, 200);
    let ran = login.ended().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.kit.counts().code_exchanges, 1);
}
