//! Bad and hostile input: one line that says what to do, the right exit code, and nothing changed (F8, F13, F21-F25).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use linchpin_testkit::{AuthMode, Endpoint, Fault};
use serde_json::json;

use crate::world::{Ran, World};

pub(crate) const NOBODY: u32 = 65_534;

/// A world with a sign-in and a name, which bad input must not touch.
pub(crate) async fn furnished() -> World {
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
async fn a_server_that_asks_for_a_sign_in_only_at_its_tools_can_be_signed_in_to() {
    let world = World::with(|config| config.auth = AuthMode::Tools);
    let url = world.url();
    told(&world.run(&["call", &url, "echo", "{}"]).await, 3, &["not signed in", "linchpin login"]);
    let ran = world.login(&[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = world.run(&["call", &url, "echo", r#"{"a":1}"#]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"a\":1}\n"), "{ran:?}");
}

#[tokio::test]
async fn a_server_without_sign_in_is_used_as_it_is() {
    let world = World::with(|config| config.auth = AuthMode::Open);
    let ran = world.run(&["call", &world.url(), "echo", r#"{"a":1}"#]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"a\":1}\n"), "{ran:?}");
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
    let mut command = world.command(&["login", &url]);
    command.env_remove("LINCHPIN_LOG").env("LINCHPIN_STORE", OsStr::from_bytes(b"fi\xffle"));
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
            "description": "clear\u{1b}[2J \u{9b}31m \u{202e}txt.exe\u{2066} \rover\nsecond line pay\u{200b}pal\u{e0041}",
            "inputSchema": { "type": "object" },
        })];
    })
    .await;
    let plain = world.run(&["tools", &world.url()]).await;
    assert_eq!(plain.code, 0, "{plain:?}");
    assert!(!plain.stdout.contains(HOSTILE) && plain.stdout.contains("evil"), "{plain:?}");
    let as_json = world.run(&["tools", &world.url(), "--json"]).await;
    assert!(!as_json.stdout.contains(HOSTILE), "{as_json:?}");
    assert!(
        !as_json.stdout.contains(['\u{200b}', '\u{e0041}']),
        "nor anything that is not seen: {as_json:?}"
    );
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
