//! Signing in: what is saved, bound and tried, and what a provider out of order costs (P13, P20, F15).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use linchpin_testkit::{Endpoint, Fault};
use serde_json::{Value, json};

use crate::running::{free_port, get, parameter};
use crate::world::World;

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
async fn p17_scopes_on_the_command_line_join_those_that_were_granted() {
    let world = World::with(|config| {
        config.scopes = vec!["tools".to_owned(), "admin".to_owned(), "mail".to_owned()];
    });
    for (asked, granted) in [
        // Nothing was granted yet: these and no others.
        (&["--scope", "tools"][..], json!(["tools"])),
        (&["--scope", "admin tools"], json!(["tools", "admin"])),
        (&["--scope", "mail", "--scope", "tools"], json!(["tools", "admin", "mail"])),
        (&["--scope", "tools"], json!(["tools", "admin", "mail"])),
        (&[], json!(["tools", "admin", "mail"])),
    ] {
        assert_eq!(world.login(asked).await.code, 0);
        assert_eq!(world.record().expect("saved")["scopes"], granted, "{asked:?}");
    }
    // Signing out is the way to fewer.
    assert_eq!(world.run(&["logout", &world.url()]).await.code, 0);
    assert_eq!(world.login(&["--scope", "admin"]).await.code, 0);
    assert_eq!(world.record().expect("saved")["scopes"], json!(["admin"]));

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
async fn p20_a_login_that_logs_everything_logs_no_secret() {
    let world = World::new();
    let mut command = world.command(&["login", &world.url()]);
    command.env("LINCHPIN_LOG", "trace").stdin(std::process::Stdio::null());
    let (ran, page) = tokio::join!(world.finish(command), world.person(0));
    assert_eq!((ran.code, page.status), (0, 200), "{ran:?}");
    assert!(ran.stderr.contains("TRACE"), "{ran:?}");
}
