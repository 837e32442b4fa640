//! Signing in and out over a real browser callback (P12, P13, P20, F15, F19, F24).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use linchpin_testkit::{Consent, Endpoint, Fault, browse};
use serde_json::{Value, json};

use crate::running::{Running, free_port, get, parameter};
use crate::world::{PATIENCE, World, initialize, storm, until};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// The record of another profile than the default one.
fn record_of(world: &World, profile: &str) -> Value {
    let text = fs::read_to_string(world.credentials()).expect("there is a store");
    let aggregate: Value = serde_json::from_str(&text).expect("the store parses");
    aggregate["credentials"][format!("{profile} {}", world.url())].clone()
}

fn callback_of(port: u16) -> String {
    format!("http://127.0.0.1:{port}/callback")
}

#[tokio::test]
async fn p13_a_sign_in_is_saved_bound_private_and_tried_before_login_returns() {
    let world = World::new();
    let (ran, page) = world.login_and_page(&[]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    assert!(
        ran.stdout.starts_with(&format!(
            "signed in to {} (store: file, since the keyring is not there in this session; ",
            world.url()
        )),
        "{ran:?}"
    );

    let page = page.expect("the browser was opened");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("You are signed in") && page.body.contains("127.0.0.1"), "{}", page.body);
    assert_eq!(page.headers["cache-control"], "no-store");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert!(page.headers["content-security-policy"].starts_with("default-src 'none'"), "{page:?}");

    let counts = world.kit.counts();
    assert_eq!((counts.registrations, counts.authorizations, counts.code_exchanges), (1, 1, 1), "{counts:?}");
    assert_eq!((counts.exchanges, counts.replays), (0, 0), "{counts:?}");
    assert!(counts.mcp_requests_by_token.values().sum::<u64>() >= 1, "{counts:?}");

    let record = world.record().expect("saved");
    let issuer = world.kit.issuer();
    assert_eq!(record["issuer"], issuer);
    assert_eq!(record["token_endpoint"], format!("{issuer}/token"));
    assert_eq!(record["revocation_endpoint"], format!("{issuer}/revoke"));
    assert_eq!(record["resource"], world.url());
    assert_eq!(
        (&record["client"]["id"], &record["client"]["registration"]),
        (&json!("client-1"), &json!("dynamic"))
    );
    assert_eq!((&record["generation"], &record["scopes"]), (&json!(1), &json!(["tools"])));
    assert_eq!(mode(&world.credentials()), 0o600);
    assert_eq!((mode(&world.linchpin_home()), mode(&world.linchpin_home().join("locks"))), (0o700, 0o700));
    for entry in fs::read_dir(world.linchpin_home().join("locks")).expect("listed") {
        assert_eq!(mode(&entry.expect("listed").path()), 0o600);
    }
    // The port is free again.
    let callback = parameter(&world.next_page(0).await, "redirect_uri");
    assert!(get(&callback, None).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn p13_a_client_with_a_secret_renews_in_another_process() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let world = World::signed_in(|config| config.client_auth = method.to_owned()).await;
        world.expire();
        let ran = world.run(&["call", &world.url(), "count", r#"{"nonce":"n"}"#]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "n\n"), "{method}: {ran:?}");
        let counts = world.kit.counts();
        assert_eq!(
            (counts.exchanges, counts.token_requests["refresh_token"]),
            (1, 1),
            "{method}: {counts:?}"
        );
        let ran = world.run(&["logout", &world.url()]).await;
        assert_eq!((ran.code, world.kit.living_grants()), (0, 0), "{method}: {ran:?}");
    }
}

#[tokio::test]
async fn a_client_registered_by_hand_is_used_and_no_other_registered() {
    let world = World::new();
    let port = free_port().to_string();
    let callback = callback_of(port.parse().expect("a port"));
    let secret = world.kit.add_client("by-hand", "client_secret_basic", &callback).expect("it has one");
    let file = world.scratch().join("secret");
    fs::write(&file, format!("{secret}\n")).expect("written");
    let given = ["--client-id", "by-hand", "--client-secret-file", file.to_str().expect("UTF-8")];
    let given = [&given[..], &["--callback-port", &port]].concat();
    let ran = world.login(&given).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.kit.counts().registrations, 0);
    let record = world.record().expect("saved");
    assert_eq!(
        (&record["client"]["id"], &record["client"]["registration"]),
        (&json!("by-hand"), &json!("preregistered"))
    );
    world.expire();
    assert_eq!(world.run(&["tools", &world.url()]).await.code, 0);

    // A wrong secret: nothing changes, and the line says which option is wrong.
    fs::write(&file, "wrong").expect("written");
    let before = world.files();
    let ran = world.login(&given).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    let told = ran.one_line_error();
    assert!(told.contains("invalid_client") && told.contains("--client-secret-file"), "{told}");
    // No file, an empty file, a directory.
    fs::write(&file, "\n").expect("written");
    for (path, part) in [
        (file.clone(), "is empty"),
        (world.scratch().join("no"), "cannot read"),
        (world.scratch().to_owned(), "cannot read"),
    ] {
        let path = path.to_str().expect("UTF-8").to_owned();
        let ran = world.login(&["--client-id", "by-hand", "--client-secret-file", &path]).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        let told = ran.one_line_error();
        assert!(told.contains(part) && told.contains(&path), "{told}");
    }
    assert_eq!(world.files(), before);
}

#[tokio::test]
async fn a_metadata_document_names_the_client_only_where_the_provider_takes_one() {
    const DOCUMENT: &str = "https://client.example.com/linchpin.json";
    for supported in [true, false] {
        let world = World::with(|config| {
            config.metadata.insert("client_id_metadata_document_supported".to_owned(), json!(supported));
        });
        let port = free_port();
        world.kit.add_client(DOCUMENT, "none", &callback_of(port));
        let ran =
            world.login(&["--client-metadata-url", DOCUMENT, "--callback-port", &port.to_string()]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(world.kit.counts().registrations, u64::from(!supported));
        let client = &world.record().expect("saved")["client"];
        let expected = if supported { (DOCUMENT, "metadata_document") } else { ("client-2", "dynamic") };
        assert_eq!((&client["id"], &client["registration"]), (&json!(expected.0), &json!(expected.1)));
    }
}

#[tokio::test]
async fn scopes_on_the_command_line_replace_those_of_the_server() {
    let world = World::with(|config| config.scopes = vec!["tools".to_owned(), "admin".to_owned()]);
    for (asked, granted) in [
        (&["--scope", "tools"][..], json!(["tools"])),
        (&["--scope", "admin tools"], json!(["admin", "tools"])),
        (&["--scope", "admin", "--scope", "tools"], json!(["admin", "tools"])),
        (&[], json!(["tools", "admin"])),
    ] {
        assert_eq!(world.login(asked).await.code, 0);
        assert_eq!(world.record().expect("saved")["scopes"], granted, "{asked:?}");
    }
    let before = world.files();
    let (ran, page) = world.login_and_page(&["--scope", "root"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.one_line_error().contains("invalid_scope"), "{ran:?}");
    assert!(page.expect("opened").body.contains("You are not signed in"));
    assert_eq!(world.files(), before);
}

#[tokio::test]
async fn two_profiles_of_one_server_are_two_sign_ins() {
    let world = World::signed_in(|_| {}).await;
    assert_eq!(world.login(&["--profile", "work"]).await.code, 0);
    assert_ne!(world.record().expect("saved")["access_token"], record_of(&world, "work")["access_token"]);
    let token = async |more: &[&str]| world.run(&[&["token", &world.url()], more].concat()).await.stdout;
    assert_ne!(token(&[]).await, token(&["--profile", "work"]).await);
    assert_eq!(world.run(&["logout", &world.url()]).await.code, 0);
    assert_eq!(world.record(), None);
    assert_eq!(world.run(&["tools", &world.url(), "--profile", "work"]).await.code, 0);
    let ran = world.run(&["tools", &world.url()]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.one_line_error().ends_with(&format!("run `linchpin login {}`", world.url())), "{ran:?}");
    let ran = world.run(&["tools", &world.url(), "--profile", "other"]).await;
    assert!(ran.one_line_error().contains(&format!("login {} --profile other", world.url())), "{ran:?}");
}

#[tokio::test]
async fn f24_a_taken_callback_port_is_named() {
    let world = World::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bound");
    let port = taken.local_addr().expect("bound").port().to_string();
    let ran = world.run(&["login", &world.url(), "--callback-port", &port]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    let told = ran.one_line_error();
    assert!(told.contains(&port) && told.contains("--callback-port"), "{told}");
    assert_eq!((world.kit.counts().registrations, world.opened().len()), (0, 0));
    assert_eq!(world.record(), None);
}

#[tokio::test]
async fn without_a_browser_the_address_it_ended_at_is_pasted() {
    let world = World::new();
    let url = world.url();
    for (how, code) in
        [("right", 0), ("state", 3), ("garbage", 2), ("denied", 3), ("query", 0), ("browser", 0)]
    {
        let mut login = world.start(&["login", &url, "--no-browser"]);
        let page = login.says("/authorize?").await;
        let page: url::Url = page.parse().expect("the URL has a line of its own");
        let (callback, state) = (parameter(&page, "redirect_uri"), parameter(&page, "state"));
        let issuer: String = url::form_urlencoded::byte_serialize(world.kit.issuer().as_bytes()).collect();
        let ended_at = get(page.as_str(), None).await.expect("answered");
        let ended_at = ended_at.header("location").expect("redirected").to_owned();
        match how {
            "right" => login.type_line(&format!("  {ended_at} ")).await,
            "query" => login.type_line(ended_at.split_once('?').expect("a query").1).await,
            "state" => login.type_line(&ended_at.replace(&state, "another")).await,
            "garbage" => login.type_line("is this it").await,
            "denied" => {
                login.type_line(&format!("{callback}?error=access_denied&state={state}&iss={issuer}")).await;
            }
            _ => assert_eq!(browse(page.as_str()).await.expect("visited").status, 200),
        }
        let ran = login.ended().await;
        assert_eq!(ran.code, code, "{how}: {ran:?}");
        assert_eq!(ran.stdout.lines().count(), usize::from(code == 0), "{how}: {ran:?}");
        let told = ran.stderr.lines().last().expect("something");
        let part = match how {
            "state" => "wrong state",
            "garbage" => "copy the whole address",
            "denied" => "access_denied",
            _ => "paste that address",
        };
        assert!(told.contains(part), "{how}: {told}");
    }
    assert_eq!((world.opened().len(), world.kit.counts().code_exchanges), (0, 3));
}

#[tokio::test]
async fn f24_a_denied_consent_is_told_on_both_screens_and_changes_nothing() {
    let world = World::with(|config| config.consent = Consent::Deny);
    let (ran, page) = world.login_and_page(&[]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.one_line_error().contains("access_denied"), "{ran:?}");
    let page = page.expect("the browser was opened");
    assert_eq!(page.status, 400);
    assert!(page.body.contains("You are not signed in"), "{}", page.body);
    assert_eq!((world.kit.counts().code_exchanges, world.files().len()), (0, 0));
    // For scripts: the same on stdout.
    let (ran, _) = world.login_and_page(&["--json"]).await;
    assert_eq!(
        (ran.code, &ran.json()["disposition"], &ran.json()["exit_code"]),
        (3, &json!("sign_in_required"), &json!(3))
    );
}

#[tokio::test]
async fn f15_a_provider_that_is_down_at_any_step_is_temporary_and_changes_nothing() {
    let world = World::signed_in(|_| {}).await;
    let before = world.files();
    let refused = r#"{"error":"invalid_redirect_uri"}"#;
    let no_grant = r#"{"error":"invalid_grant"}"#;
    let away = &[("location", "http://127.0.0.1:1/")];
    for (name, fault, code) in [
        ("server 503", Fault::status(Endpoint::McpPost, 503), 4),
        ("server 429", Fault::status(Endpoint::McpPost, 429), 4),
        ("server hangs up", Fault::lose(Endpoint::McpPost), 4),
        ("resource metadata 503", Fault::status(Endpoint::ResourceMetadata, 503), 4),
        ("resource metadata lost", Fault::lose(Endpoint::ResourceMetadata), 4),
        ("metadata 503", Fault::status(Endpoint::Metadata, 503), 4),
        ("metadata 429", Fault::status(Endpoint::Metadata, 429), 4),
        ("metadata lost", Fault::lose(Endpoint::Metadata), 4),
        ("metadata cut", Fault::cut(Endpoint::Metadata, 200), 4),
        ("registration 503", Fault::status(Endpoint::Register, 503), 4),
        ("registration 429", Fault::status(Endpoint::Register, 429), 4),
        ("registration lost", Fault::lose(Endpoint::Register), 4),
        ("registration cut", Fault::cut(Endpoint::Register, 150), 4),
        ("registration refused", Fault::replace(Endpoint::Register, 400, &[], refused), 1),
        ("registration forbidden", Fault::status(Endpoint::Register, 403), 1),
        ("registration away", Fault::replace(Endpoint::Register, 307, away, ""), 1),
        ("registration empty", Fault::replace(Endpoint::Register, 201, &[], "{}"), 1),
        ("token 503", Fault::status(Endpoint::Token, 503), 4),
        ("token 429", Fault::status(Endpoint::Token, 429), 4),
        ("token lost", Fault::lose(Endpoint::Token), 4),
        ("token cut", Fault::cut(Endpoint::Token, 180), 4),
        ("token HTML", Fault::replace(Endpoint::Token, 200, &[], "<p>hello"), 4),
        ("token away", Fault::replace(Endpoint::Token, 307, away, ""), 4),
        ("token refused", Fault::replace(Endpoint::Token, 400, &[], no_grant), 3),
    ] {
        world.kit.fault(fault);
        let (ran, page) = world.login_and_page(&[]).await;
        world.kit.clear_faults();
        assert_eq!(ran.code, code, "{name}: {ran:?}");
        let told = ran.one_line_error();
        assert!(told.len() < 240 && !told.contains("<p>"), "{name}: {told}");
        assert!(!told.contains("not sent") && !told.contains("unavailable:"), "{name}: {told}");
        if code == 4 {
            assert!(told.contains("try again") || told.contains("run the command again"), "{name}: {told}");
        }
        if name.starts_with("token") {
            assert!(page.expect("opened").body.contains("You are not signed in"), "{name}");
        }
        assert_eq!(world.files(), before, "{name}");
    }
    // The browser stays at the provider's own error page; the wait is bounded.
    world.kit.fault(Fault::status(Endpoint::Authorize, 500));
    let ran = world.login(&["--timeout", "300ms"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.one_line_error().contains("within 0.3 s"), "{ran:?}");
    assert_eq!(world.files(), before);
}

#[tokio::test]
async fn p12_a_second_login_wins() {
    let world = World::signed_in(|_| {}).await;
    let first = world.record().expect("saved");
    assert_eq!(world.login(&[]).await.code, 0);
    let second = world.record().expect("saved");
    assert_eq!((&first["generation"], &second["generation"]), (&json!(1), &json!(2)));
    assert_ne!(first["access_token"], second["access_token"]);
    assert_eq!(world.run(&["tools", &world.url()]).await.code, 0);
}

#[tokio::test]
async fn p12_two_logins_at_once_both_end_well_and_the_last_one_stays() {
    let world = World::new();
    let url = world.url();
    let (one, other) = (world.start(&["login", &url]), world.start(&["login", &url]));
    let (page, other_page) = (world.next_page(0).await, world.next_page(1).await);
    let visits = [browse(page.as_str()), browse(other_page.as_str())];
    let pages = futures::future::join_all(visits).await;
    assert!(pages.into_iter().all(|page| page.expect("visited").status == 200));
    let (one, other) = (one.ended().await, other.ended().await);
    assert_eq!((one.code, other.code), (0, 0), "{one:?} {other:?}");
    assert_eq!(world.record().expect("saved")["generation"], json!(2));
    assert_eq!(world.run(&["tools", &url]).await.code, 0);
    assert_eq!((world.kit.counts().code_exchanges, world.kit.counts().exchanges), (2, 0));
}

#[tokio::test]
async fn p12_a_running_bridge_picks_up_a_sign_in_and_a_newer_one() {
    let world = World::new();
    let bridge = world.bridge();
    let answer = bridge.initialize(PATIENCE).await.expect("answered");
    let told = answer["error"]["message"].as_str().expect("an error").to_owned();
    assert!(told.contains(&format!("linchpin login {}", world.url())), "{told}");
    assert_eq!(world.login(&[]).await.code, 0);
    let bridges = vec![bridge];
    initialize(&bridges).await;
    assert_eq!(storm(&bridges, 3, "first").await.answered, 3);
    // A newer sign-in, after the older one was ended by the provider.
    world.kit.revoke_grants();
    assert_eq!(world.login(&[]).await.code, 0);
    let tally = storm(&bridges, 3, "second").await;
    assert_eq!(tally.answered, 3, "{:?}", tally.errors);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.presented_dead, counts.calls_doubled()), (0, 0, 0), "{counts:?}");
    world.close(bridges).await;
}

/// A refresh whose answer is kept back by the provider.
async fn refresh_in_flight(world: &World) -> Running<'_> {
    world.expire();
    world.kit.fault(Fault::hold(Endpoint::Token).times(1));
    let url = world.url();
    let refreshing = world.start(&["tools", &url]);
    until("the exchange is held", || world.kit.held() > 0).await;
    refreshing
}

#[tokio::test]
async fn f19_a_login_during_a_refresh_wins() {
    let world = World::signed_in(|_| {}).await;
    let refreshing = refresh_in_flight(&world).await;
    let url = world.url();
    let mut login = world.start(&["login", &url]);
    let visit = tokio::spawn({
        let page = world.next_page(1).await;
        async move { browse(page.as_str()).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!login.has_ended(), "it waits for the refresh");
    world.kit.release();
    let (login, refreshing) = (login.ended().await, refreshing.ended().await);
    assert_eq!((login.code, refreshing.code), (0, 0), "{login:?} {refreshing:?}");
    assert_eq!(visit.await.expect("no panic").expect("visited").status, 200);
    let record = world.record().expect("saved");
    assert_eq!(record["client"]["id"], json!("client-2"), "the sign-in's record");
    assert_eq!(record["exchange"], Value::Null);
    assert_eq!(world.run(&["tools", &url]).await.code, 0);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.replays, counts.presented_dead), (1, 0, 0), "{counts:?}");
}

#[tokio::test]
async fn f19_a_logout_during_a_refresh_wins() {
    let world = World::signed_in(|_| {}).await;
    let refreshing = refresh_in_flight(&world).await;
    let url = world.url();
    let mut logout = world.start(&["logout", &url]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!logout.has_ended(), "it waits for the refresh");
    world.kit.release();
    let logout = logout.ended().await;
    assert_eq!(logout.code, 0, "{logout:?}");
    let _either = refreshing.ended().await;
    assert_eq!(world.record(), None, "nothing comes back");
    assert_eq!(world.kit.living_grants(), 0, "what the refresh obtained is revoked");
    assert_eq!(world.run(&["tools", &url]).await.code, 3);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.replays, counts.presented_dead), (1, 0, 0), "{counts:?}");
}

#[tokio::test]
async fn p12_a_logout_revokes_and_forgets() {
    let world = World::signed_in(|_| {}).await;
    let ran = world.run(&["logout", &world.url()]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.stdout, format!("{}: signed out; the provider has revoked the tokens\n", world.url()));
    assert_eq!((world.record(), world.kit.living_grants(), world.kit.counts().revocations), (None, 0, 2));
    let ran = world.run(&["logout", &world.url()]).await;
    assert_eq!((ran.code, ran.stdout), (0, format!("{}: was not signed in\n", world.url())));
    let ran = world.run(&["logout", &world.url(), "--json"]).await;
    assert_eq!(
        ran.json(),
        json!({ "server": world.url(), "profile": "default", "signed_out": false, "revocation": "none",
            "not_removed_from": [] })
    );
}

#[tokio::test]
async fn p12_a_logout_forgets_also_when_the_provider_does_not_revoke() {
    let unsupported = r#"{"error":"unsupported_token_type"}"#;
    for (fault, word, code, part) in [
        (None, "not_offered", 0, "offers no revocation"),
        (Some(Fault::status(Endpoint::Revoke, 503)), "unavailable", 1, "answered 503"),
        (Some(Fault::lose(Endpoint::Revoke)), "unavailable", 1, "closed the connection"),
        (
            Some(Fault::replace(Endpoint::Revoke, 400, &[], unsupported)),
            "refused",
            1,
            "unsupported_token_type",
        ),
        (Some(Fault::stall(Endpoint::Revoke, 0, None)), "unavailable", 1, "did not answer within 10 s"),
    ] {
        let world = World::signed_in(|config| config.revocation = fault.is_some()).await;
        assert_eq!(world.login(&["--profile", "json"]).await.code, 0);
        let hangs = part.contains("10 s");
        if let Some(fault) = fault {
            world.kit.fault(fault);
        }
        let begun = Instant::now();
        let ran = world.run(&["logout", &world.url()]).await;
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{word}: {ran:?}");
        assert!(ran.stdout.contains("signed out here") && ran.stdout.contains(part), "{word}: {ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
        assert_eq!(world.record(), None);
        if !hangs {
            let ran = world.run(&["logout", &world.url(), "--profile", "json", "--json"]).await;
            let expected = json!({ "server": world.url(), "profile": "json", "signed_out": true, "revocation": word,
                    "not_removed_from": [] });
            assert_eq!((ran.code, ran.json()), (code, expected));
        }
    }
}

#[tokio::test]
async fn f24_ctrl_c_ends_a_login_at_once_and_changes_nothing() {
    let world = World::new();
    let url = world.url();
    for arguments in [&["login", &url][..], &["login", &url, "--no-browser"]] {
        let seen = world.opened().len();
        let login = world.start(arguments);
        let page = if arguments.len() == 2 {
            world.next_page(seen).await
        } else {
            login.says("/authorize?").await.parse().expect("a URL")
        };
        let begun = Instant::now();
        login.interrupt().await;
        let ran = login.ended().await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{ran:?}");
        assert!(get(&parameter(&page, "redirect_uri"), None).await.is_err(), "the port is free");
    }
    assert_eq!((world.files().len(), world.kit.counts().code_exchanges), (0, 0));
}

#[tokio::test]
async fn f24_a_login_that_nobody_answers_ends_and_frees_the_port() {
    let world = World::new();
    let url = world.url();
    let ran = world.run(&["login", &url, "--timeout", "1s", "--json"]).await;
    assert_eq!((ran.code, &ran.json()["disposition"]), (6, &json!("timed_out")));
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("within 1 s"), "{ran:?}");
    // Pasting nothing is the same wait, told as it was asked for.
    let login = world.start(&["login", &url, "--timeout", "1s", "--no-browser"]);
    let ran = login.ended().await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.contains("within 1 s;"), "{ran:?}");
    let callback = parameter(&world.next_page(0).await, "redirect_uri");
    assert!(get(&callback, None).await.is_err(), "the port is free");
    assert_eq!(world.files().len(), 0);
}

#[tokio::test]
async fn f24_a_second_visit_to_the_callback_is_turned_away_and_holds_nothing_up() {
    let world = World::new();
    let url = world.url();
    let login = world.start(&["login", &url]);
    let page = world.next_page(0).await;
    let ended_at =
        get(page.as_str(), None).await.expect("answered").header("location").expect("redirected").to_owned();
    world.kit.fault(Fault::hold(Endpoint::Token).times(1));
    let first = tokio::spawn({
        let ended_at = ended_at.clone();
        async move { get(&ended_at, None).await }
    });
    until("the exchange is held", || world.kit.held() > 0).await;
    for _ in 0..3 {
        let again = tokio::time::timeout(Duration::from_secs(1), get(&ended_at, None)).await;
        let again = again.expect("at once").expect("answered");
        assert_eq!(again.status, 410, "{}", again.body);
    }
    let begun = Instant::now();
    world.kit.release();
    let first = first.await.expect("no panic").expect("answered");
    assert!(first.status == 200 && first.body.contains("You are signed in"), "{first:?}");
    let ran = login.ended().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(world.kit.counts().code_exchanges, 1);
}

#[tokio::test]
async fn p13_a_sign_in_that_is_saved_but_not_taken_says_both() {
    let world = World::new();
    for more in [&[][..], &["--json"]] {
        // The first request, which finds out how to sign in, passes; those with the token do not.
        world.kit.fault(Fault::status(Endpoint::McpPost, 403).skip(1));
        let ran = world.login(more).await;
        world.kit.clear_faults();
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains("the sign-in is saved, but"), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        if more.is_empty() {
            assert!(ran.stdout.starts_with("signed in to"), "{ran:?}");
        } else {
            assert_eq!(ran.json()["exit_code"], json!(ran.code), "one document");
        }
        assert!(world.record().is_some());
    }
}

#[tokio::test]
async fn f24_a_browser_that_ends_at_once_or_is_not_there_leaves_the_page_to_the_person() {
    let world = World::new();
    let url = world.url();
    for (browser, told) in
        [("false", "The browser ended at once"), ("/nonexistent/browser", "No browser could")]
    {
        let mut command = world.command(&["login", &url]);
        command.env("BROWSER", browser);
        let login = world.start_command(command);
        assert!(login.says(told).await.matches("BROWSER").count() == 1, "the variable is named once");
        let page = login.says("/authorize?").await;
        assert_eq!(browse(&page).await.expect("visited").status, 200);
        let ran = login.ended().await;
        assert_eq!((ran.code, ran.stderr.lines().count()), (0, 2), "{ran:?}");
    }
}

#[tokio::test]
async fn p20_a_login_that_logs_everything_logs_no_secret() {
    let world = World::new();
    let mut command = world.command(&["login", &world.url()]);
    command.env("LINCHPIN_LOG", "trace").stdin(std::process::Stdio::null());
    let (ran, page) = tokio::join!(world.finish(command), world.person(0));
    assert_eq!((ran.code, page.status), (0, 200), "{ran:?}");
    assert!(ran.stderr.contains("TRACE"), "{ran:?}");
}
