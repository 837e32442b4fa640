//! The way through the browser and back: pages, ports, pasted addresses, Ctrl-C (F24).

use std::time::{Duration, Instant};

use linchpin_testkit::{Consent, Endpoint, Fault, browse};
use serde_json::json;

use crate::running::{get, parameter};
use crate::world::{World, until};

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
    let url = world.url();
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
    // For whoever asks later why there is no sign-in.
    let told = world.run(&["log", &url]).await.stdout;
    let line =
        "a sign-in was begun and came to nothing: the provider did not sign the person in (access_denied)";
    assert_eq!(told.matches(line).count(), 1, "said once, however often: {told}");
    let ran = world.run(&["login", &url, "--timeout", "1s"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    let told = world.run(&["log", &url, "--json"]).await.stdout;
    let last: serde_json::Value = serde_json::from_str(told.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["kind"], json!("sign_in_failed"), "{told}");
    assert!(last["problem"].as_str().expect("a text").contains("within 1 s"), "{told}");
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

/// Whoever asks later why there is no sign-in finds that somebody began one.
#[tokio::test]
async fn f24_a_login_that_is_given_up_is_in_the_history() {
    for (signal, more) in [("INT", &[][..]), ("TERM", &[]), ("INT", &["--no-browser"])] {
        let world = World::new();
        let url = world.url();
        let login = world.start(&[&["login", url.as_str()], more].concat());
        if more.is_empty() {
            world.next_page(0).await;
        } else {
            login.says("/authorize?").await;
        }
        login.signal(signal).await;
        assert_eq!(login.ended().await.code, 130);
        let events = world.events();
        assert_eq!((events.len(), &events[0]["kind"]), (1, &json!("sign_in_failed")), "{signal}: {events:?}");
        let told = world.run(&["log", &url]).await.stdout;
        let line = "a sign-in was begun and came to nothing: it was given up before it was finished";
        assert_eq!(told.matches(line).count(), 1, "{signal}: {told}");
    }
}

/// Also while the server is asked how to sign in, and while the code is exchanged.
#[tokio::test]
async fn f24_a_login_that_is_given_up_over_a_slow_answer_is_in_the_history() {
    for endpoint in [Endpoint::Metadata, Endpoint::Token] {
        let world = World::new();
        world.kit.fault(Fault::delay(endpoint, Duration::from_secs(30)));
        let login = world.start(&["login", &world.url()]);
        if endpoint == Endpoint::Token {
            let page = world.next_page(0).await;
            tokio::spawn(async move { browse(page.as_str()).await.map(drop) });
            until("the code is exchanged", || world.kit.counts().code_exchanges > 0).await;
        } else {
            until("the provider is asked", || world.kit.counts().metadata_requests > 1).await;
        }
        login.interrupt().await;
        assert_eq!(login.ended().await.code, 130);
        let events = world.events();
        assert_eq!((events.len(), &events[0]["kind"]), (1, &json!("sign_in_failed")), "{events:?}");
    }
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

/// Whoever knows a secret of the sign-in that is there may say it in the next one: it is neither shown nor kept.
#[tokio::test]
async fn p20_metadata_that_names_a_saved_token_is_told_without_it() {
    let world = World::signed_in(|_| {}).await;
    let (url, record) = (world.url(), world.record().expect("saved"));
    for secret in ["access_token", "refresh_token"] {
        let secret = record[secret].as_str().expect("a token");
        let origin = world.kit.issuer();
        let metadata = json!({ "resource": url, "authorization_servers": [format!("{origin}/{secret}")] });
        world.kit.fault(Fault::replace(
            Endpoint::ResourceMetadata,
            200,
            &[("content-type", "application/json")],
            &metadata.to_string(),
        ));
        let ran = world.run(&["login", &url]).await;
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("answered with a secret of the sign-in that is there"), "{ran:?}");
        let told = world.run(&["log", &url, "--json"]).await.stdout;
        assert!(!told.contains(secret) && !ran.stderr.contains(secret) && told.contains("sign_in_failed"));
        world.kit.clear_faults();
    }
}
