//! The command line itself: wrong usage, help and completions, and where answers and diagnostics go.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn wrong_usage_of_the_command_line_is_exit_code_2_with_a_hint() {
    let world = World::new();
    for arguments in [
        &[][..],
        &["nosuch"],
        &["login"],
        &["login", "x", "--nosuch"],
        &["login", "x", "--timeout", "soon"],
        &["login", "x", "--callback-port", "70000"],
        &["login", "x", "--client-secret-file", "f"],
        &["login", "x", "--client-id", "a", "--client-metadata-url", "https://x/y"],
        &["token", "x", "--min-valid", "-1s"],
        &["bridge", "x", "--silent", "--debug"],
        &["completions", "nosuch"],
    ] {
        let ran = world.run(arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("Usage:") || ran.stderr.contains("--help"), "{ran:?}");
        // For scripts the same in one line on stdout.
        let ran = world.run(&[arguments, &["--json"]].concat()).await;
        let answer = ran.json();
        assert_eq!((ran.code, &answer["disposition"], &answer["exit_code"]), (2, &json!("usage"), &json!(2)));
        let told = answer["error"].as_str().expect("a text");
        assert!(told.len() > 10 && told.lines().count() == 1 && !told.contains("error:"), "{told}");
        assert!(ran.stderr.contains("--help"), "{ran:?}");
    }
    for (arguments, error) in [
        (&["tools", "--json"][..], "the following required arguments were not provided: <SERVER>"),
        (
            &["logn", "--json"],
            "unrecognized subcommand 'logn'; tip: some similar subcommands exist: 'logout', 'log', 'login'",
        ),
    ] {
        let told = world.run(arguments).await.json()["error"].as_str().expect("a text").to_owned();
        assert!(told.starts_with(error), "{told}");
    }
    for url in ["nonsense", "http://x.example.com/c.json", "https://x.example.com"] {
        let ran = world.run(&["login", &world.url(), "--client-metadata-url", url]).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.one_line_error().contains("--client-metadata-url"), "{ran:?}");
    }
    let ran = world.run(&["--help"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in ["Exit codes:", "LINCHPIN_HOME", "LINCHPIN_STORE", "BROWSER", "login", "bridge", "--json"] {
        assert!(ran.stdout.contains(part), "no {part} in {}", ran.stdout);
    }
    assert!(world.run(&["--version"]).await.stdout.starts_with("linchpin "));
}

#[tokio::test]
async fn completions_and_manual_pages_know_every_command() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = world.run(&["completions", shell]).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stdout.contains("login") && ran.stdout.contains("min-valid"), "{shell}");
        assert!(!ran.stdout.contains("demo-peer"), "{shell}: hidden commands stay hidden");
    }
    let directory = world.scratch().join("man");
    fs::create_dir(&directory).expect("made");
    let ran = world.run(&["man", directory.to_str().expect("UTF-8")]).await;
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{ran:?}");
    let pages: BTreeSet<_> =
        fs::read_dir(&directory).expect("listed").map(|entry| entry.expect("listed").file_name()).collect();
    for command in [
        "", "-login", "-logout", "-status", "-token", "-tools", "-call", "-bridge", "-add", "-list",
        "-remove",
    ] {
        assert!(
            pages.contains(std::ffi::OsStr::new(&format!("linchpin{command}.1"))),
            "{command}: {pages:?}"
        );
    }
    let page = fs::read_to_string(directory.join("linchpin-login.1")).expect("read");
    assert!(page.contains("no\\-browser") && page.contains(".SH"), "{page}");
    let ran = world.run(&["man", "/nonexistent/directory"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.one_line_error().contains("/nonexistent/directory"), "{ran:?}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_written_is_a_failure() {
    let world = World::signed_in(|_| {}).await;
    let url = world.url();
    for arguments in [
        &["token", &url][..],
        &["token", &url, "--json"],
        &["tools", &url],
        &["status"],
        &["list"],
        &["--help"],
        &["--version"],
        &["completions", "bash"],
    ] {
        let mut command = world.command(arguments);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("on Linux");
        command.env_remove("LINCHPIN_LOG").stdout(full).stderr(std::process::Stdio::piped());
        let ended = command.spawn().expect("started").wait_with_output().await.expect("it ends");
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(5), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: the answer cannot be written"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        world.note(&stderr);
    }
}

#[tokio::test]
async fn what_somebody_typed_is_quoted_up_to_200_characters() {
    let world = World::new();
    let (long, url) = ("x".repeat(100_000), format!("{}:", "x".repeat(100_000)));
    for arguments in [
        &["login", &long][..],
        &["login", &url],
        &["status", &long],
        &["add", &long, "https://example.com/"],
        &["add", "a", &long],
        &["remove", &long],
        &["tools", "https://example.com/", "--profile", &long],
        &["status", "--profile", &long],
        &["login", "x", "--timeout", &long],
        &["login", "x", "--nosuch", &long],
        &[&long],
    ] {
        let ran = world.run(arguments).await;
        assert_eq!(ran.code, 2, "{}", ran.stderr.len());
        assert!(ran.stderr.len() < 1_000, "{}", ran.stderr.len());
    }
    let ran = world.run(&["add", "a", "notaurl"]).await;
    assert!(!ran.one_line_error().contains("linchpin list"), "{ran:?}");
}

#[tokio::test]
async fn a_log_filter_that_says_nothing_is_told_once_and_the_command_goes_on() {
    let world = World::new();
    let mut command = world.command(&["list"]);
    command.env("LINCHPIN_LOG", "a=b=c");
    let ran = world.finish(command).await;
    assert_eq!((ran.code, ran.stderr.lines().count()), (0, 1), "{ran:?}");
    assert!(ran.stderr.contains("LINCHPIN_LOG") && ran.stderr.contains("linchpin=debug"), "{ran:?}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let world = World::signed_in(|_| {}).await;
    let command = format!("'{}' tools '{}' | true", env!("CARGO_BIN_EXE_linchpin"), world.url());
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", &command]).env("LINCHPIN_HOME", world.linchpin_home());
    let ran = world.finish(shell).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
}
