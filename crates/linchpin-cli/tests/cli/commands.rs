//! The commands one by one: what they print for people, what for scripts, and every exit code.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use linchpin_testkit::process::StdioServer;
use linchpin_testkit::{Endpoint, Fault};
use serde_json::{Value, json};

use crate::world::{World, until};

/// The field names of an object: what scripts depend on.
fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

fn set<'a>(names: &[&'a str]) -> BTreeSet<&'a str> {
    names.iter().copied().collect()
}

#[tokio::test]
async fn names_are_added_listed_replaced_and_removed() {
    let world = World::new();
    let ran = world.run(&["list"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "no named servers; `linchpin add NAME URL` adds one\n"));
    assert_eq!(world.run(&["list", "--json"]).await.json(), json!([]));

    let ran = world.run(&["add", "one", "https://one.example.com/mcp/"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.stdout, "one is https://one.example.com/mcp/; `linchpin login one` signs in\n");
    let ran = world.run(&["add", "two", "HTTPS://Two.Example.com:443", "--profile", "work", "--json"]).await;
    assert_eq!(ran.json(), json!({ "name": "two", "url": "https://two.example.com", "profile": "work" }));

    let ran = world.run(&["list"]).await;
    let lines: Vec<_> = ran.stdout.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 3, "{ran:?}");
    assert!(
        lines[0].starts_with("NAME") && lines[1].starts_with("one ") && lines[2].ends_with(" work"),
        "{ran:?}"
    );
    let listed = world.run(&["list", "--json"]).await.json();
    assert_eq!(fields(&listed[0]), set(&["name", "url", "profile"]));

    // The same again changes nothing; another URL needs --force.
    assert_eq!(world.run(&["add", "one", "https://one.example.com/mcp/"]).await.code, 0);
    let before = world.files();
    let ran = world.run(&["add", "one", "https://other.example.com/"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.one_line_error().contains("--force"), "{ran:?}");
    assert_eq!(world.files(), before);
    assert_eq!(world.run(&["add", "one", "https://other.example.com/", "--force"]).await.code, 0);

    for (arguments, part) in [
        (&["add", "a b", "https://x.example.com/"][..], "is not a name"),
        (&["add", "https", "nonsense"], "is not a URL"),
        (&["add", "x", "http://x.example.com/"], "--allow-http"),
        (&["add", "x", "https://x.example.com/", "--profile", "a/b"], "not a profile name"),
        (&["remove", "nosuch"], "linchpin list"),
    ] {
        let ran = world.run(arguments).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.one_line_error().contains(part), "{ran:?}");
    }
    assert_eq!(world.run(&["add", "plain", "http://x.example.com/", "--allow-http"]).await.code, 0);
    assert_eq!(world.run(&["remove", "plain", "--json"]).await.json(), json!({ "removed": "plain" }));
    let ran = world.run(&["remove", "one"]).await;
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{ran:?}");
    assert_eq!(world.run(&["list", "--json"]).await.json().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_name_stands_for_its_url_and_profile() {
    let world = World::new();
    assert_eq!(world.run(&["add", "kit", &world.url(), "--profile", "work"]).await.code, 0);
    let login = world.start(&["login", "kit"]);
    assert_eq!(world.person(0).await.status, 200);
    let ran = login.ended().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with(&format!("signed in to {} (profile work) ", world.url())), "{ran:?}");
    assert_eq!(world.run(&["tools", "kit"]).await.code, 0);
    assert_eq!(world.run(&["tools", &world.url(), "--profile", "work"]).await.code, 0);
    assert_eq!(world.run(&["tools", &world.url()]).await.code, 3);
    assert_eq!(world.run(&["tools", "kit", "--profile", "other"]).await.code, 3);

    // A second account: the name shows its own, the URL both.
    assert_eq!(world.login(&[]).await.code, 0);
    let rows = async |arguments: &[&str]| {
        let ran = world.run(&[&["status", "--json"], arguments].concat()).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let rows = ran.json().as_array().expect("rows").clone();
        rows.iter().map(|row| row["profile"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rows(&[]).await, ["default", "work"]);
    assert_eq!(rows(&[&world.url()]).await, ["default", "work"]);
    assert_eq!(rows(&["kit"]).await, ["work"]);
    assert_eq!(rows(&["kit", "--profile", "default"]).await, ["default"]);
    assert_eq!(rows(&["--profile", "work"]).await, ["work"]);
    let ran = world.run(&["status", "kit"]).await;
    assert!(ran.stdout.contains(&format!("kit ({})", world.url())), "{ran:?}");
    assert_eq!(world.run(&["remove", "kit"]).await.code, 0);
    assert_eq!(rows(&[]).await, ["default", "work"], "a sign-in outlives its name");
}

#[tokio::test]
async fn login_answers_scripts_in_json() {
    let world = World::new();
    let ran = world.login(&["--json"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let answer = ran.json();
    let expected =
        ["server", "profile", "issuer", "store", "store_reason", "scopes", "expires_at_ms", "renewable"];
    assert_eq!(fields(&answer), set(&expected));
    assert_eq!((&answer["server"], &answer["issuer"]), (&json!(world.url()), &json!(world.kit.issuer())));
    assert_eq!((&answer["store"], &answer["renewable"]), (&json!("file"), &json!(true)));
}

#[tokio::test]
async fn status_tells_valid_expired_dead_and_damaged_apart() {
    let world = World::new();
    let ran = world.run(&["status"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "no sign-ins; `linchpin login URL` makes one\n"));
    let ran = world.run(&["status", &world.url()]).await;
    assert_eq!((ran.code, ran.stdout), (3, format!("{}: not signed in\n", world.url())));
    let ran = world.run(&["status", &world.url(), "--json"]).await;
    assert_eq!((ran.code, ran.json()), (3, json!([])));

    assert_eq!(world.login(&[]).await.code, 0);
    let row = async |code: i32| {
        let ran = world.run(&["status", "--json"]).await;
        assert_eq!(ran.code, code, "{ran:?}");
        ran.json()[0].clone()
    };
    let valid = row(0).await;
    let expected = [
        "server",
        "profile",
        "store",
        "state",
        "issuer",
        "scopes",
        "expires_at_ms",
        "renewable",
        "last_event",
    ];
    assert_eq!(fields(&valid), set(&expected));
    assert_eq!((&valid["state"], &valid["renewable"]), (&json!("valid"), &json!(true)));
    let ran = world.run(&["status"]).await;
    assert!(ran.stdout.starts_with("SERVER") || ran.stdout.starts_with(" SERVER"), "{ran:?}");
    assert!(ran.stdout.lines().nth(1).expect("a row").contains(" valid "), "{ran:?}");

    world.expire();
    assert_eq!(row(0).await["state"], "renews at next use");
    world.kit.revoke_grants();
    let ran = world.run(&["tools", &world.url()]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.one_line_error().contains("invalid_grant"), "{ran:?}");
    let dead = row(0).await;
    assert_eq!((&dead["state"], &dead["renewable"]), (&json!("sign-in required"), &json!(false)));
    assert!(dead["last_event"].as_str().expect("a text").contains("ended by the provider"), "{dead}");

    // One damaged record: it is shown as that, and the others as they are.
    assert_eq!(world.login(&["--profile", "work"]).await.code, 0);
    world.change_record(|record| *record = json!({ "version": 1 }));
    let ran = world.run(&["status", "--json"]).await;
    let rows = ran.json();
    assert_eq!(
        (ran.code, &rows[0]["state"], &rows[1]["state"]),
        (5, &json!("damaged"), &json!("valid")),
        "{ran:?}"
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains(world.credentials().to_str().expect("UTF-8")), "{ran:?}");
    assert_eq!(world.run(&["tools", &world.url(), "--profile", "work"]).await.code, 0);
    assert_eq!(world.run(&["tools", &world.url()]).await.code, 5);
    // What the line advises helps.
    assert_eq!(world.run(&["logout", &world.url()]).await.code, 1, "nothing could be revoked");
    assert_eq!(world.login(&[]).await.code, 0);
    assert_eq!(world.run(&["status"]).await.code, 0);
}

/// The provider was asked twice and never answered: nothing but a new sign-in helps, and all say so.
#[tokio::test]
async fn p10_a_sign_in_lost_without_an_answer_is_not_shown_as_one_that_renews() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    let refresh = world.record().expect("saved")["refresh_token"].as_str().expect("a text").to_owned();
    world.change_record(|record| {
        record["exchange"] = json!({
            "fingerprint": linchpin::Secret::new(refresh.as_str()).fingerprint(),
            "presentations": 2, "at_ms": 1, "pid": 1,
        });
    });
    let ran = world.run(&["token", &world.url()]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.one_line_error().contains("asked twice"), "{ran:?}");
    let ran = world.run(&["status", "--json"]).await;
    let row = &ran.json()[0];
    assert_eq!((&row["state"], &row["renewable"]), (&json!("sign-in required"), &json!(false)), "{ran:?}");

    let pages = world.opened().len();
    let bridge = StdioServer::start(world.command(&["bridge", "--login", &world.url()])).expect("started");
    assert_eq!(world.person(pages).await.status, 200);
    until("a new sign-in", || world.record().is_some_and(|record| record.get("exchange").is_none())).await;
    drop(bridge);
    assert_eq!(world.run(&["token", &world.url()]).await.code, 0);
}

#[tokio::test]
async fn status_watches_until_ctrl_c() {
    let world = World::signed_in(|_| {}).await;
    let watching = world.start(&["status", "--watch"]);
    watching.answers(" valid ").await;
    let begun = Instant::now();
    watching.interrupt().await;
    let ran = watching.ended().await;
    assert_eq!((ran.code, ran.stderr.as_str()), (130, ""), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn token_prints_one_that_lives_long_enough() {
    let world = World::signed_in(|config| config.access_lifetime_ms = 600_000).await;
    let url = world.url();
    let stored =
        |world: &World| world.record().expect("saved")["access_token"].as_str().expect("a text").to_owned();
    let first = stored(&world);
    let ran = world.run(&["token", &url]).await;
    assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.trim_end()), (0, "", &*first));
    let ran = world.run(&["token", &url, "--json"]).await;
    assert_eq!(fields(&ran.json()), set(&["access_token", "expires_at_ms"]));
    assert_eq!(ran.json()["access_token"], json!(first));
    assert_eq!(world.run(&["token", &url, "--min-valid", "5m"]).await.stdout.trim_end(), first);
    assert_eq!(world.kit.counts().exchanges, 0);

    // A wait beyond what a clock can add is a wait like any other.
    let longest = format!("{}s", u64::MAX);
    assert_eq!(world.run(&["token", &url, "--timeout", &longest]).await.stdout.trim_end(), first);
    assert_eq!(world.run(&["tools", &url, "--timeout", &longest]).await.code, 0);
    let called = ["call", &url, "count", r#"{"nonce":"n"}"#, "--timeout", &longest];
    assert_eq!(world.run(&called).await.code, 0);

    // Four of its ten minutes are left.
    world.change_record(|record| {
        for field in ["obtained_at_ms", "expires_at_ms"] {
            record[field] = json!(record[field].as_u64().expect("a number") - 360_000);
        }
    });
    assert_eq!(world.run(&["token", &url, "--min-valid", "3m"]).await.stdout.trim_end(), first);
    let renewed = world.run(&["token", &url, "--min-valid", "5m"]).await;
    assert_eq!((renewed.code, world.kit.counts().exchanges), (0, 1), "{renewed:?}");
    // More than any token lives: the new one is printed and not renewed again and again.
    let more = world.run(&["token", &url, "--min-valid", "11m"]).await;
    assert_eq!(
        (more.code, more.stdout == renewed.stdout, world.kit.counts().exchanges),
        (0, true, 1),
        "{more:?}"
    );
    assert_ne!(renewed.stdout.trim_end(), first);
    assert_eq!(renewed.stdout.trim_end(), stored(&world));
}

#[tokio::test]
async fn tools_are_listed_and_called() {
    let world = World::signed_in(|_| {}).await;
    let url = world.url();
    let ran = world.run(&["tools", &url]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(
        ran.stdout.lines().any(|line| line.trim().starts_with("echo ") && line.contains("to the letter")),
        "{ran:?}"
    );
    let tools = world.run(&["tools", &url, "--json"]).await.json();
    assert!(fields(&tools[0]).is_superset(&set(&["name", "description", "inputSchema"])), "{tools}");

    let ran = world.run(&["call", &url, "echo", r#"{ "a": [1, "ü"] }"#]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).expect("JSON"), json!({ "a": [1, "ü"] }));
    let ran = world.run_with_input(&["call", &url, "echo", "-"], "{\"from\":\n\"stdin\"}\n").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"from\":\"stdin\"}\n"), "{ran:?}");
    let ran = world.run(&["call", &url, "count", r#"{"nonce":"n"}"#, "--json"]).await;
    assert_eq!(ran.json()["content"][0], json!({ "type": "text", "text": "n" }));
    // A tool that fails, and one that is not there: exit code 1 both.
    let ran = world.run(&["call", &url, "fail"]).await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (1, "it failed\n", ""), "{ran:?}");
    let ran = world.run(&["call", &url, "fail", "--json"]).await;
    assert_eq!((ran.code, &ran.json()["isError"]), (1, &json!(true)));
    let ran = world.run(&["call", &url, "nosuch", "--json"]).await;
    assert_eq!((ran.code, &ran.json()["disposition"]), (1, &json!("server_error")), "{ran:?}");
}

#[tokio::test]
async fn a_call_that_waits_for_its_input_ends_on_ctrl_c() {
    let world = World::signed_in(|_| {}).await;
    let url = world.url();
    let call = world.start(&["call", &url, "echo", "-"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    call.interrupt().await;
    let ran = call.ended().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn each_disposition_has_its_exit_code_and_word() {
    let world = World::signed_in(|_| {}).await;
    let url = world.url();
    let case = async |arguments: &[&str], code: i32, word: &str| {
        let ran = world.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        let answer = ran.json();
        assert_eq!(fields(&answer), set(&["error", "disposition", "exit_code"]));
        assert_eq!((&answer["disposition"], &answer["exit_code"]), (&json!(word), &json!(code)));
        assert_eq!(ran.stderr, format!("error: {}\n", answer["error"].as_str().expect("a text")));
        assert!(!answer["error"].as_str().expect("a text").ends_with('.'), "{ran:?}");
    };
    assert_eq!(world.run(&["call", &url, "echo"]).await.code, 0);
    case(&["call", &url, "nosuch"], 1, "server_error").await;
    case(&["call", &url, "echo", "[]"], 2, "usage").await;
    case(&["token", &url, "--profile", "other"], 3, "sign_in_required").await;
    case(&["tools", "http://127.0.0.1:1/mcp"], 4, "temporary").await;
    case(&["call", &url, "slow", r#"{"ms":5000}"#, "--timeout", "200ms"], 6, "timed_out").await;
    for status in [429, 500, 502, 503] {
        world.kit.fault(Fault::replace(Endpoint::McpPost, status, &[("retry-after", "7")], "<p>no"));
        case(&["tools", &url], 4, "temporary").await;
        world.kit.clear_faults();
    }
    for status in [400, 403, 404, 302] {
        world.kit.fault(Fault::status(Endpoint::McpPost, status));
        case(&["tools", &url], 1, "server_error").await;
        world.kit.clear_faults();
    }
    world.expire();
    world.kit.fault(Fault::status(Endpoint::Token, 503));
    case(&["token", &url], 4, "temporary").await;
    world.kit.clear_faults();
    fs::write(world.credentials(), "{").expect("written");
    case(&["token", &url], 5, "configuration").await;
}
