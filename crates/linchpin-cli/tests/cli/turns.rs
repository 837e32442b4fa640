//! Several sign-ins to one server at once (F19), and sign-ins that have to begin anew.
#![cfg(unix)]

use std::process::Stdio;

use linchpin_testkit::process::StdioServer;
use linchpin_testkit::{Endpoint, Fault, browse};
use serde_json::json;

use crate::world::{World, initialize, storm, until};

/// `linchpin login` that waits for its person, or for its turn.
fn login(world: &World, more: &[&str]) -> tokio::process::Child {
    let url = world.url();
    let mut command = world.command(&[&["login", &url], more].concat());
    command.env_remove("LINCHPIN_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("started")
}

/// Its end: the exit code, what it printed, and what it said.
async fn ended(world: &World, child: tokio::process::Child) -> (i32, String, String) {
    let output =
        tokio::time::timeout(crate::world::PATIENCE, child.wait_with_output()).await.expect("it ends");
    let output = output.expect("it can be waited for");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    world.note(&stdout);
    world.note(&stderr);
    (output.status.code().unwrap_or(-1), stdout, stderr)
}

/// Waits until another login says that it waits.
async fn waits(child: &mut tokio::process::Child) -> String {
    use tokio::io::AsyncReadExt as _;
    let stderr = child.stderr.as_mut().expect("piped");
    let mut said = Vec::new();
    while !said.contains(&b'\n') {
        let mut some = [0; 256];
        let length = stderr.read(&mut some).await.expect("readable");
        assert!(length > 0, "it ended: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&some[..length]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn f19_of_logins_at_once_one_opens_a_page_and_the_others_find_its_result() {
    let world = World::new();
    let first = login(&world, &[]);
    until("a page", || world.opened().len() == 1).await;
    let pid = first.id().expect("running");
    let mut others = [login(&world, &[]), login(&world, &["--json"]), login(&world, &["--no-browser"])];
    for other in &mut others {
        let said = waits(other).await;
        let told = format!("process {pid} is signing in to {} already; waiting for it", world.url());
        assert!(said.starts_with(&told) && said.contains("--force"), "{said}");
    }
    browse(&world.opened()[0]).await.expect("visited");
    let (code, stdout, stderr) = ended(&world, first).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    for other in others {
        let (code, stdout, stderr) = ended(&world, other).await;
        assert_eq!(code, 0, "{stdout}");
        let told = format!("process {pid} signed in; its sign-in is taken over (scopes: tools)");
        assert!(stderr.contains(&told), "{stderr}");
        assert!(stdout.contains("signed in to ") || stdout.contains("\"renewable\": true"), "{stdout}");
    }
    let counts = world.kit.counts();
    assert_eq!((world.opened().len(), counts.authorizations, counts.code_exchanges), (1, 1, 1), "{counts:?}");
    // What became of each is in the history: one made it, and three took it over.
    let events = world.events();
    let adopted: Vec<_> = events.iter().filter(|event| event["kind"] == "sign_in_adopted").collect();
    assert_eq!((adopted.len(), events.len()), (3, 4), "{events:?}");
    assert!(adopted.iter().all(|event| event["access"] == events[0]["access"]), "{events:?}");
    let ran = world.run(&["log", &world.url()]).await;
    let line = format!("takes over the sign-in that process {pid} made: access token ");
    assert_eq!(ran.stdout.matches(&line).count(), 3, "{ran:?}");
    println!("f19: 4 logins at once: 1 page, 1 sign-in, 4 answers");

    // A login that begins later is a wish of its own.
    assert_eq!(world.login(&[]).await.code, 0);
    assert_eq!(world.kit.counts().code_exchanges, 2);
}

#[tokio::test]
async fn f19_a_login_that_is_killed_passes_its_turn_on() {
    let world = World::new();
    let mut first = login(&world, &[]);
    until("a page", || world.opened().len() == 1).await;
    let mut second = login(&world, &[]);
    waits(&mut second).await;
    first.kill().await.expect("killed");
    let page = world.person(1).await;
    assert_eq!(page.status, 200);
    assert_eq!(ended(&world, second).await.0, 0);
    assert_eq!(world.kit.counts().code_exchanges, 1);
}

#[tokio::test]
async fn f19_a_login_for_more_than_the_other_one_brought_goes_on_by_itself() {
    let world = World::with(|config| config.scopes = vec!["tools".to_owned(), "admin".to_owned()]);
    let first = login(&world, &["--scope", "tools"]);
    until("a page", || world.opened().len() == 1).await;
    let mut second = login(&world, &["--scope", "admin"]);
    waits(&mut second).await;
    browse(&world.opened()[0]).await.expect("visited");
    assert_eq!(ended(&world, first).await.0, 0);
    world.person(1).await;
    assert_eq!(ended(&world, second).await.0, 0);
    assert_eq!(world.record().expect("saved")["scopes"], serde_json::json!(["tools", "admin"]));
}

#[tokio::test]
async fn f19_a_login_by_a_client_of_its_own_takes_over_no_other_clients_sign_in() {
    let world = World::new();
    let port = crate::running::free_port().to_string();
    world.kit.add_client("by-hand", "none", &format!("http://127.0.0.1:{port}/callback"));
    let first = login(&world, &[]);
    until("a page", || world.opened().len() == 1).await;
    let mut second = login(&world, &["--client-id", "by-hand", "--callback-port", &port]);
    waits(&mut second).await;
    browse(&world.opened()[0]).await.expect("visited");
    assert_eq!(ended(&world, first).await.0, 0);
    world.person(1).await;
    assert_eq!(ended(&world, second).await.0, 0);
    assert_eq!(world.record().expect("saved")["client"]["id"], "by-hand");
    assert!(!world.history().contains("sign_in_adopted"), "what is not taken over is not told as if it were");
}

#[tokio::test]
async fn f19_a_forced_login_goes_on_beside_another_and_the_last_to_finish_wins() {
    let world = World::new();
    let first = login(&world, &[]);
    until("a page", || world.opened().len() == 1).await;
    let forced = login(&world, &["--force"]);
    until("another page", || world.opened().len() == 2).await;
    browse(&world.opened()[1]).await.expect("visited");
    assert_eq!(ended(&world, forced).await.0, 0);
    let of_forced = world.record().expect("saved")["access_token"].clone();
    browse(&world.opened()[0]).await.expect("visited");
    assert_eq!(ended(&world, first).await.0, 0);
    assert_ne!(world.record().expect("saved")["access_token"], of_forced);
    assert_eq!(world.kit.counts().code_exchanges, 2);
}

#[tokio::test]
async fn f19_a_wait_for_another_login_ends_with_its_time_and_names_it() {
    let world = World::new();
    let mut first = login(&world, &[]);
    until("a page", || world.opened().len() == 1).await;
    let ran = world.run(&["login", &world.url(), "--timeout", "300ms"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    let pid = first.id().expect("running");
    assert!(ran.stderr.contains(&format!("held by process {pid} (sign-in)")), "{ran:?}");
    assert_eq!(world.opened().len(), 1);
    first.kill().await.expect("killed");
}

#[tokio::test]
async fn p11_a_client_that_the_provider_forgot_keeps_its_tokens_and_the_next_sign_in_registers_anew() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    let before = world.record().expect("saved");
    world.kit.forget_clients();
    let call = async || world.run(&["call", &world.url(), "count", r#"{"nonce":"n"}"#]).await;
    let ran = call().await;
    assert_eq!(ran.code, 3, "{ran:?}");
    let told = ran.one_line_error().to_owned();
    assert!(told.contains("refused this client (invalid_client)"), "{told}");
    assert!(told.contains(&format!("run `linchpin login {}` to register anew", world.url())), "{told}");
    let after = world.record().expect("kept");
    for field in ["access_token", "refresh_token", "client", "scopes"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!((after.get("dead"), after.get("exchange")), (None, None));
    let refused = &after["client_refused"];
    assert_eq!(
        (&refused["client_id"], &refused["code"]),
        (&before["client"]["id"], &json!("invalid_client"))
    );

    // The provider knows it again: nothing was lost, and half a minute later it is asked.
    world.kit.restore_clients();
    let ran = call().await;
    assert_eq!((ran.code, ran.one_line_error()), (3, told.as_str()), "the same once more");
    assert_eq!(world.presentations(), 1);
    world.end_pauses();
    let ran = call().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.record().expect("kept").get("client_refused"), None);

    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.replays, counts.registrations), (1, 0, 0), "{counts:?}");
    assert_eq!(world.login(&[]).await.code, 0);
    assert_eq!(world.kit.counts().registrations, 1);
    assert_ne!(world.record().expect("saved")["client"]["id"], before["client"]["id"]);
}

/// Whoever registered a client by hand is told to name it again: without that, the next sign-in would register another.
#[tokio::test]
async fn p11_a_client_registered_by_hand_that_is_refused_is_to_be_named_again() {
    let world = World::new();
    let url = world.url();
    let port = crate::running::free_port().to_string();
    world.kit.add_client("by-hand", "none", &format!("http://127.0.0.1:{port}/callback"));
    assert_eq!(world.login(&["--client-id", "by-hand", "--callback-port", &port]).await.code, 0);
    world.expire();
    world.kit.forget_clients();
    let remedy =
        format!("run `linchpin login {url} --client-id by-hand` with the id that the provider knows");
    for _ in 0..2 {
        // At the exchange, and by whoever finds it noted.
        let ran = world.ask_for_a_token().await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.one_line_error().ends_with(&format!("the sign-in is kept; {remedy}")), "{ran:?}");
    }
    let refused = world.run(&["status", "--json"]).await.json()[0]["client_refused"].clone();
    assert_eq!(refused["remedy"], format!("the tokens are kept; {remedy}"));
    assert_eq!(refused["remedy_command"], json!(["linchpin", "login", url, "--client-id", "by-hand"]));
    assert!(world.run(&["status"]).await.stdout.contains(&remedy));
    let told = world.run(&["log", &url]).await.stdout;
    let line =
        "nobody asks again for 30 s, and the next sign-in needs the --client-id that the provider knows";
    assert_eq!(told.matches(line).count(), 1, "{told}");
}

#[tokio::test]
async fn p11_thirty_requests_of_three_processes_after_a_client_was_refused_cost_one_presentation() {
    let world = World::signed_in(|_| {}).await;
    let bridges = world.bridges(3);
    initialize(&bridges).await;
    world.expire();
    world.kit.forget_clients();
    let tally = storm(&bridges, 10, "refused").await;
    assert_eq!((tally.made, tally.answered, world.presentations()), (30, 0, 1), "{tally:?}");
    assert!(
        tally.errors.iter().all(|error| error.contains("refused this client (invalid_client)")),
        "{tally:?}"
    );
    // One exchange is told of, and none of the requests that asked for nothing.
    let ended: Vec<_> =
        world.events().into_iter().filter(|event| event["kind"] == "exchange_ended").collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    let ran = world.run(&["log", &world.url()]).await;
    let line = "the provider refused this client (invalid_client); the tokens are kept, nobody asks again for 30 s, \
                and the next sign-in registers anew";
    assert_eq!(ran.stdout.matches(line).count(), 1, "{ran:?}");

    assert_eq!(world.login(&[]).await.code, 0);
    let tally = storm(&bridges, 10, "registered").await;
    assert_eq!((tally.answered, world.presentations()), (30, 1), "{tally:?}");
    // The new client's sign-in renews like any other.
    world.expire();
    let tally = storm(&bridges, 1, "renewed").await;
    assert_eq!((tally.answered, world.presentations()), (3, 2), "{tally:?}");
    world.close(bridges).await;
    println!(
        "p11: 30 requests of 3 processes, the client refused: 1 presentation; after a login 33 of 33 answered"
    );
}

/// Half a minute later the provider may know the client again, and no page is needed.
#[tokio::test]
async fn p11_a_bridge_that_may_sign_in_asks_a_provider_again_that_refused_the_client() {
    let world = World::signed_in(|_| {}).await;
    world.kit.forget_clients();
    world.expire();
    assert_eq!(world.ask_for_a_token().await.code, 3);
    world.kit.restore_clients();
    world.end_pauses();
    let pages = world.opened().len();
    let bridges =
        vec![StdioServer::start(world.command(&["bridge", "--login", &world.url()])).expect("started")];
    initialize(&bridges).await;
    assert_eq!(storm(&bridges, 1, "restored").await.answered, 1);
    assert_eq!((world.opened().len(), world.kit.counts().registrations), (pages, 0));
    world.close(bridges).await;
}

/// While it does not, a person who is there to sign in is not kept waiting.
#[tokio::test]
async fn p11_a_bridge_that_may_sign_in_opens_a_page_when_the_client_was_refused() {
    let world = World::signed_in(|_| {}).await;
    world.kit.forget_clients();
    world.expire();
    assert_eq!(world.ask_for_a_token().await.code, 3);
    let pages = world.opened().len();
    let command = world.command(&["bridge", "--login", &world.url()]);
    let bridges = vec![StdioServer::start(command).expect("started")];
    assert_eq!(world.person(pages).await.status, 200);
    initialize(&bridges).await;
    assert_eq!(storm(&bridges, 1, "registered").await.answered, 1);
    world.close(bridges).await;
}

/// The first request waits for 9 s at most, however long its caller would; what ran out is told as it is.
#[tokio::test]
async fn p18_a_wait_that_is_shorter_than_the_callers_is_not_told_as_the_callers() {
    let world = World::signed_in(|_| {}).await;
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::delay(Endpoint::Token, std::time::Duration::from_secs(12)).times(1));
    world.kit.reset_counts();
    let ran = world.run(&["tools", &world.url()]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.contains("the refresh goes on, try again"), "{ran:?}");
    assert_eq!(world.run(&["tools", &world.url()]).await.code, 0);
    assert_eq!(world.kit.counts().exchanges, 1);
}

/// A code that says nothing about the client is not told as if the provider had forgotten it.
#[tokio::test]
async fn f18_a_code_that_is_about_the_request_is_told_as_that() {
    let world = World::signed_in(|_| {}).await;
    let json_type = [("content-type", "application/json")];
    world.kit.fault(Fault::replace(Endpoint::Token, 400, &json_type, r#"{"error":"too_many"}"#));
    world.expire();
    let ran = world.ask_for_a_token().await;
    assert_eq!(ran.code, 3, "{ran:?}");
    let told = format!(
        "the provider refused the request (too_many); the sign-in is kept; try again; if that does not help, run \
         `linchpin login {}` to register anew",
        world.url()
    );
    assert!(ran.one_line_error().contains(&told), "{ran:?}");
    let shown = world.run(&["status", "--json"]).await.json()[0].clone();
    assert_eq!(shown["state"], json!("request refused"));
    let log = world.run(&["log"]).await;
    let line = "the provider refused the request (too_many); the tokens are kept, nobody asks again for 30 s, and a \
                sign-in may help";
    assert!(log.stdout.contains(line), "{log:?}");
    // It passes, and nobody has to sign in.
    world.kit.clear_faults();
    world.end_pauses();
    assert_eq!(world.ask_for_a_token().await.code, 0);
    assert_eq!(world.run(&["status", "--json"]).await.json()[0]["state"], json!("valid"));
}

#[tokio::test]
async fn p11_status_says_that_the_client_is_refused_and_what_to_do() {
    let world = World::signed_in(|_| {}).await;
    world.kit.forget_clients();
    world.expire();
    assert_eq!(world.ask_for_a_token().await.code, 3);
    let noted = world.record().expect("kept")["client_refused"]["at_ms"].clone();
    let row = async || world.run(&["status", "--json"]).await.json()[0].clone();
    let refused = json!({
        "code": "invalid_client",
        "at_ms": noted,
        "remedy": format!("the tokens are kept; run `linchpin login {}` to register anew", world.url()),
        "remedy_command": ["linchpin", "login", world.url()],
    });
    let shown = row().await;
    assert_eq!((&shown["state"], &shown["client_refused"]), (&json!("client refused"), &refused));
    assert_eq!(shown["renewable"], json!(true));
    let last = shown["last_event"].as_str().expect("a text");
    assert!(last.contains("the provider refused this client (invalid_client) (process"), "{last}");

    let ran = world.run(&["status"]).await;
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!((ran.code, lines.len()), (0, 3), "{ran:?}");
    assert!(lines[1].contains(" client refused ") && !ran.stdout.contains("renews"), "{ran:?}");
    let begins = format!("{}: the provider refused this client (invalid_client) at 2", world.url());
    let ends = format!("Z; the tokens are kept; run `linchpin login {}` to register anew", world.url());
    assert!(lines[2].starts_with(&begins) && lines[2].ends_with(&ends), "{ran:?}");
    // Without a history it is known from the record.
    std::fs::remove_file(world.linchpin_home().join("events.jsonl")).expect("removed");
    let last = row().await["last_event"].as_str().expect("a text").to_owned();
    assert!(last.ends_with("s ago: the provider refused this client (invalid_client)"), "{last}");

    // A token that serves goes on, and what will be the matter with it is said already.
    world.change_record(|record| record["expires_at_ms"] = json!(u64::MAX >> 12));
    let shown = row().await;
    assert_eq!((&shown["state"], &shown["client_refused"]), (&json!("valid"), &refused));
    // What is over is not spoken of.
    assert_eq!(world.login(&[]).await.code, 0);
    assert_eq!(row().await.get("client_refused"), None);
}
