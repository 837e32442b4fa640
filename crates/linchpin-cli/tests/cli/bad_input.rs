//! Bad and hostile input: one line that says what to do, the right exit code, and nothing changed (F8, F13, F21-F25).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use linchpin_testkit::{AuthMode, Endpoint, Fault, browse};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::running::{get, parameter};
use crate::world::{PATIENCE, Ran, World};

pub(crate) const NOBODY: u32 = 65_534;

/// A world with a sign-in and a name, which bad input must not touch.
async fn furnished() -> World {
    let world = World::signed_in(|_| {}).await;
    assert_eq!(world.run(&["add", "mine", &world.url()]).await.code, 0);
    world
}

/// The error with every part that it has to name.
pub(crate) fn told(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    let line = ran.one_line_error();
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
    assert!(!line.ends_with('.') && line.len() < 600, "{line:?}");
    assert!(!line.contains("planted-"), "{line:?}");
}

#[tokio::test]
async fn every_command_refuses_what_is_no_server_with_exit_code_2() {
    let world = furnished().await;
    let before = world.files();
    let servers: [(&str, &[&str]); 14] = [
        ("nosuch", &["no server named `nosuch`", "(mine)", "linchpin add"]),
        ("two words", &["neither a URL nor a name"]),
        ("", &["neither a URL nor a name"]),
        ("example.com/mcp", &["`example.com/mcp` is not a URL", "https://"]),
        ("localhost:3000/mcp", &["`localhost:3000/mcp` is not a URL"]),
        ("//example.com/mcp", &["is not a URL"]),
        ("https://", &["is not a URL"]),
        ("ftp://example.com/mcp", &["`ftp:` URLs are not supported", "https"]),
        ("file:///etc/passwd", &["is not a URL"]),
        ("javascript:alert(1)", &["is not a URL"]),
        ("http://example.com/mcp", &["example.com", "in the clear", "--allow-http"]),
        ("http://10.0.0.1/mcp", &["10.0.0.1", "--allow-http"]),
        ("https://me:planted-password@example.com/mcp", &["user name or password", "remove it"]),
        ("x\u{1b}[31m\u{202e}y", &["neither a URL nor a name"]),
    ];
    for (server, parts) in servers {
        for command in [
            &["login", server][..],
            &["logout", server],
            &["status", server],
            &["token", server],
            &["tools", server],
            &["call", server, "echo"],
            &["bridge", server],
            &["bridge", "--login", server],
        ] {
            if command[0] == "status" && server.starts_with("http:") {
                // Nothing is sent there, so a sign-in of `--allow-http` is shown without it.
                assert_eq!(world.run(command).await.code, 3);
                continue;
            }
            let ran = world.run(command).await;
            told(&ran, 2, parts);
            assert!(!ran.stderr.contains(['\u{1b}', '\u{202e}']), "{ran:?}");
        }
    }
    // The same for scripts.
    let ran = world.run(&["login", "nosuch", "--json"]).await;
    let answer = ran.json();
    assert_eq!((&answer["disposition"], &answer["exit_code"]), (&json!("usage"), &json!(2)));
    assert!(ran.stderr.contains(answer["error"].as_str().expect("a text")), "{ran:?}");
    for profile in ["", "a b", "a/b", "\u{1b}[1m"] {
        told(&world.run(&["login", "mine", "--profile", profile]).await, 2, &["not a profile name"]);
    }
    assert_eq!(world.files(), before);
    assert_eq!((world.opened().len(), world.kit.counts().metadata_requests), (1, 0));
}

#[tokio::test]
async fn a_server_that_is_absent_open_or_something_else_is_told_apart() {
    let world = furnished().await;
    let before = world.files();
    let url = world.url();
    told(&world.run(&["login", "http://127.0.0.1:1/mcp"]).await, 4, &["127.0.0.1:1", "check the URL"]);
    world.kit.configure(|config| config.auth = AuthMode::NotMcp);
    told(&world.run(&["login", &url]).await, 2, &[&url, "does not look like an MCP server", "check the URL"]);
    world.kit.configure(|config| config.auth = AuthMode::Open);
    told(&world.run(&["login", &url]).await, 2, &[&url, "needs no sign-in", "use it as it is"]);
    world.kit.configure(|config| config.auth = AuthMode::Static("key".to_owned()));
    told(&world.run(&["login", &url]).await, 2, &[&url, "names no sign-in"]);
    world.kit.configure(|config| config.auth = AuthMode::Provider);
    world.kit.fault(Fault::status(Endpoint::McpPost, 404));
    world.kit.fault(Fault::status(Endpoint::ResourceMetadata, 404));
    told(&world.run(&["login", &url]).await, 2, &[&url, "404", "check the URL"]);
    assert_eq!((world.opened().len(), world.files()), (1, before));
}

#[tokio::test]
async fn a_server_without_sign_in_is_used_as_it_is() {
    let world = World::with(|config| config.auth = AuthMode::Open);
    let ran = world.run(&["call", &world.url(), "echo", r#"{"a":1}"#]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"a\":1}\n"), "{ran:?}");
}

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
async fn f24_a_callback_that_does_not_belong_to_the_sign_in_ends_it_without_an_exchange() {
    let world = furnished().await;
    let before = world.files();
    let issuer: String = url::form_urlencoded::byte_serialize(world.kit.issuer().as_bytes()).collect();
    for (query, part) in [
        (format!("code=c&state=wrong&iss={issuer}"), "wrong state"),
        (format!("code=c&iss={issuer}"), "wrong state"),
        (format!("error=access_denied&state=wrong&iss={issuer}"), "wrong state"),
        ("code=c&state=STATE&iss=https%3A%2F%2Fevil.example.com".to_owned(), "another provider"),
        ("code=c&state=STATE".to_owned(), "another provider"),
        (format!("code=c&state=STATE&iss={issuer}%2F"), "another provider"),
        ("error=login_required&state=STATE".to_owned(), "another provider"),
        (format!("error=x%1b%5b31m%0ay&error_description=planted-text&state=STATE&iss={issuer}"), "x[31my"),
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

/// What a store can be that Linchpin did not write.
fn damaged_stores() -> Vec<(&'static str, &'static [u8], &'static str)> {
    vec![
        ("empty", b"", "is damaged"),
        ("truncated", b"{\"version\":1,\"credentials\":{\"default http", "is damaged"),
        ("garbage", b"\0\xff\xfenot a store", "is damaged"),
        ("trailing", b"{\"version\":1,\"credentials\":{}}x", "is damaged"),
        ("array", b"[]", "is damaged"),
        ("no version", b"{}", "is damaged"),
        ("version", b"{\"version\":2,\"credentials\":{}}", "has version 2"),
        (
            "repeated",
            b"{\"version\":1,\"credentials\":{\"default https://a/\":{},\"default https://a/\":{}}}",
            "is damaged",
        ),
    ]
}

#[tokio::test]
async fn f08_a_store_that_cannot_be_read_stops_every_command_and_is_left_alone() {
    let world = World::new();
    fs::create_dir(world.linchpin_home()).expect("made");
    let store = world.credentials();
    let name = store.to_str().expect("UTF-8").to_owned();
    let url = world.url();
    for (what, content, part) in damaged_stores() {
        fs::write(&store, content).expect("written");
        fs::set_permissions(&store, fs::Permissions::from_mode(0o600)).expect("changed");
        for command in [
            &["login", &url][..],
            &["logout", &url],
            &["status"],
            &["status", &url],
            &["token", &url],
            &["tools", &url],
            &["call", &url, "echo"],
            &["bridge", "--login", &url],
        ] {
            let ran = world.run(command).await;
            assert_eq!(ran.code, 5, "{what} {command:?}: {ran:?}");
            told(&ran, 5, &[&name, part]);
            assert_eq!(fs::read(&store).expect("read"), content, "{what} {command:?}");
        }
        let ran = world.run(&["status", "--json"]).await;
        // The keyring might have some, so the rows are answered, and the store that failed is told beside them.
        assert_eq!((ran.code, ran.json()), (5, json!([])), "{what}");
        assert!(ran.stderr.contains(&name), "{what}: {ran:?}");
        let copies: Vec<_> = world.files().into_iter().filter(|(path, _)| *path != store).collect();
        let kept = part == "is damaged";
        assert_eq!(copies.len(), usize::from(kept), "{what}: one copy for one damage");
        for (path, copy) in copies {
            assert!(path.to_str().expect("UTF-8").contains(".corrupt-") && copy == content, "{what}");
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
            fs::remove_file(path).expect("removed");
        }
    }
    assert_eq!(
        (world.opened().len(), world.kit.counts().registrations),
        (0, 0),
        "nobody is sent to a browser for it"
    );
}

#[tokio::test]
async fn f08_a_bridge_tells_its_client_what_is_wrong_with_the_store() {
    let world = World::new();
    fs::create_dir(world.linchpin_home()).expect("made");
    fs::write(world.credentials(), "{").expect("written");
    let bridge = world.bridge();
    let answer = bridge.initialize(PATIENCE).await.expect("answered");
    let message = answer["error"]["message"].as_str().expect("an error");
    assert!(message.contains(world.credentials().to_str().expect("UTF-8")), "{message}");
    world.close(vec![bridge]).await;
}

#[tokio::test]
async fn f13_a_store_that_is_no_plain_file_of_ours_is_refused() {
    let world = World::new();
    fs::create_dir(world.linchpin_home()).expect("made");
    let store = world.credentials();
    let target = world.scratch().join("target");
    fs::write(&target, "theirs").expect("written");
    for what in ["directory", "fifo", "symlink", "dangling"] {
        match what {
            "directory" => fs::create_dir(&store).expect("made"),
            "fifo" => {
                let made = Command::new("mkfifo").arg(&store).status().await.expect("there is mkfifo");
                assert!(made.success());
            }
            "symlink" => std::os::unix::fs::symlink(&target, &store).expect("linked"),
            _ => std::os::unix::fs::symlink(world.scratch().join("nowhere"), &store).expect("linked"),
        }
        for command in [&["login"][..], &["status"], &["tools"], &["logout"]] {
            let url = world.url();
            let ran = world.run(&[command, &[&*url]].concat()).await;
            assert_eq!(ran.code, 5, "{what}: {ran:?}");
            let part = if what.contains("link") || what == "dangling" {
                "symbolic link"
            } else {
                "not a plain file"
            };
            told(&ran, 5, &[store.to_str().expect("UTF-8"), part]);
        }
        if what == "directory" {
            fs::remove_dir(&store).expect("removed");
        } else {
            fs::remove_file(&store).expect("removed");
        }
    }
    assert_eq!(fs::read(&target).expect("read"), b"theirs");
    assert!(!world.scratch().join("nowhere").exists());
    assert_eq!(world.opened().len(), 0);
}

/// Gives the machine to a user without privileges, since root may read and write everything.
fn give_away(world: &World, command: &mut Command) {
    // Only root can do that; anybody else has no privileges to begin with.
    if std::os::unix::fs::chown(world.scratch(), Some(NOBODY), Some(NOBODY)).is_ok() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

#[tokio::test]
async fn f07_a_home_or_store_without_access_is_named_and_no_browser_opened() {
    let world = World::new();
    let home = world.linchpin_home();
    fs::create_dir(&home).expect("made");
    fs::write(world.credentials(), "{\"version\":1,\"credentials\":{}}").expect("written");
    for path in [&home, &world.credentials()] {
        let _ = std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY));
    }
    for (mode_of_home, mode_of_store, part) in
        [(0o700, 0o000, "credentials.json"), (0o500, 0o600, "linchpin")]
    {
        fs::set_permissions(&home, fs::Permissions::from_mode(mode_of_home)).expect("changed");
        fs::set_permissions(world.credentials(), fs::Permissions::from_mode(mode_of_store)).expect("changed");
        let mut command = world.command(&["login", &world.url()]);
        command.env_remove("LINCHPIN_LOG");
        give_away(&world, &mut command);
        let ran = world.finish(command).await;
        told(&ran, 5, &[part, "ermission denied", "LINCHPIN_HOME"]);
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("changed");
    assert_eq!((world.opened().len(), world.kit.counts().registrations), (0, 0));
}

#[tokio::test]
async fn a_wrong_environment_is_named() {
    let world = World::new();
    let url = world.url();
    for (variable, value, parts) in [
        (
            "LINCHPIN_STORE",
            "nonsense",
            &["LINCHPIN_STORE", "`nonsense` is not a store", "`auto`, `keyring`, `secrets` or `file`"][..],
        ),
        ("LINCHPIN_STORE", "FILE", &["LINCHPIN_STORE", "`FILE`"]),
        ("LINCHPIN_STORE", "x\u{1b}[31m", &["LINCHPIN_STORE"]),
        ("LINCHPIN_HOME", "relative/home", &["LINCHPIN_HOME", "relative/home", "absolute"]),
        ("LINCHPIN_HOME", "/dev/null/home", &["/dev/null/home"]),
        ("LINCHPIN_HOME", "/proc/home", &["/proc/home"]),
    ] {
        for arguments in [&["login", &url][..], &["logout", &url]] {
            let mut command = world.command(arguments);
            command.env_remove("LINCHPIN_LOG").env(variable, value);
            let ran = world.finish(command).await;
            assert_eq!(ran.code, 5, "{variable}={value}: {ran:?}");
            told(&ran, 5, parts);
            assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
        }
    }
    use std::os::unix::ffi::OsStrExt as _;
    let mut command = world.command(&["login", &url]);
    command.env_remove("LINCHPIN_LOG").env("LINCHPIN_STORE", std::ffi::OsStr::from_bytes(b"fi\xffle"));
    told(&world.finish(command).await, 5, &["LINCHPIN_STORE", "is not a store"]);
    assert_eq!((world.opened().len(), world.kit.counts().registrations), (0, 0));
}

#[tokio::test]
async fn a_broken_configuration_is_named_and_left_alone() {
    let world = World::signed_in(|_| {}).await;
    let config = world.linchpin_home().join("config.toml");
    let name = config.to_str().expect("UTF-8").to_owned();
    for (text, part) in [
        ("servers = [\n", "line 1"),
        ("# fine\n[servers.a]\nurl = https\n", "line 3"),
        ("[servers.a]\nprofile = \"x\"\n", "`a` has no `url`"),
        ("[servers.a]\nurl = \"http://example.com/\"\n", "`a`"),
        ("[servers.a]\nurl = \"https://example.com/\"\nprofile = \"a b\"\n", "`a`"),
        ("servers = 7\n", "`servers` is not a table"),
        ("[servers.a]\nurl = 7\n", "`a` has no `url`"),
        ("\u{1}", "not valid TOML"),
    ] {
        fs::write(&config, text).expect("written");
        let before = world.files();
        for command in [
            &["list"][..],
            &["add", "a", "https://other.example.com/"],
            &["login", "a"],
            &["tools", "a"],
            &["bridge", "a"],
            &["status"],
        ] {
            let ran = world.run(command).await;
            assert_eq!(ran.code, 5, "{text:?} {command:?}: {ran:?}");
            told(&ran, 5, &[&name, part]);
        }
        assert_eq!(world.files(), before, "{text:?}");
        // A URL needs no configuration.
        assert_eq!(world.run(&["token", &world.url()]).await.code, 0);
    }
}

#[tokio::test]
async fn wrong_arguments_of_a_call_are_told_before_anything_is_sent() {
    let world = furnished().await;
    for (arguments, part) in [
        ("{", "not JSON (line 1"),
        ("", "not JSON"),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{\"a\":1}}", "not JSON"),
        ("{a: 1}", "column 2"),
    ] {
        told(&world.run(&["call", "mine", "echo", arguments]).await, 2, &[part, "'{\"name\": \"value\"}'"]);
        told(&world.run_with_input(&["call", "mine", "echo", "-"], arguments).await, 2, &[part]);
    }
    assert_eq!(world.kit.counts().mcp_requests.len(), 0);
    told(&world.run(&["call", "mine", "nosuch"]).await, 1, &["unknown tool nosuch"]);
}

#[tokio::test]
async fn f25_escape_sequences_from_a_server_reach_no_terminal() {
    const HOSTILE: [char; 6] = ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\u{2066}', '\r'];
    let world = World::signed_in(|config| {
        config.more_tools = vec![json!({
            "name": "evil\u{1b}]0;owned\u{7}",
            "description": "clear\u{1b}[2J \u{9b}31m \u{202e}txt.exe\u{2066} \rover\nsecond line",
            "inputSchema": { "type": "object" },
        })];
    })
    .await;
    let plain = world.run(&["tools", &world.url()]).await;
    assert_eq!(plain.code, 0, "{plain:?}");
    assert!(!plain.stdout.contains(HOSTILE) && plain.stdout.contains("evil"), "{plain:?}");
    let as_json = world.run(&["tools", &world.url(), "--json"]).await;
    assert!(!as_json.stdout.contains(HOSTILE), "{as_json:?}");
    let names: Vec<_> =
        as_json.json().as_array().expect("a list").iter().map(|tool| tool["name"].clone()).collect();
    assert!(names.contains(&json!("evil\u{1b}]0;owned\u{7}")), "the JSON still says what the server said");
    let ran = world.run(&["call", &world.url(), "no\u{1b}[31m\u{202e}such"]).await;
    told(&ran, 1, &["unknown tool no"]);
    assert!(!ran.stderr.contains(HOSTILE), "{ran:?}");
    let error =
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"error\":{\"code\":1,\"message\":\"x\\u001b[2J\\n\\u009bgone\"}}";
    world.kit.fault(Fault::replace(Endpoint::McpPost, 400, &[("content-type", "application/json")], error));
    let ran = world.run(&["tools", &world.url()]).await;
    assert!(ran.code != 0 && !ran.stderr.contains(HOSTILE), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}
