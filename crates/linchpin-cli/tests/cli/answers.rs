//! What a token endpoint may answer, and what becomes of the sign-in (F5, F14, F17, F18).

use std::time::Instant;

use linchpin_testkit::{Action, Endpoint, Fault, Lifetime, Rotation};
use serde_json::{Value, json};

use crate::raw::Raw;
use crate::world::{Ran, World, initialize, storm};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

impl World {
    /// `linchpin token`, as a process of its own.
    pub(crate) async fn ask_for_a_token(&self) -> Ran {
        self.run(&["token", &self.url()]).await
    }

    /// How often a refresh token was presented.
    pub(crate) fn presentations(&self) -> u64 {
        self.kit.counts().token_requests.get("refresh_token").copied().unwrap_or(0)
    }

    /// The tokens of the stored record.
    pub(crate) fn tokens(&self) -> (Value, Value) {
        let record = self.record().expect("a record");
        (record["access_token"].clone(), record["refresh_token"].clone())
    }
}

/// How an answer is lost after the provider has rotated.
fn losses() -> [(&'static str, Action); 5] {
    [
        ("an orderly close", Action::Cut { after: 0, reset: false }),
        ("a reset", Action::Cut { after: 0, reset: true }),
        ("a close in the middle of the head", Action::Cut { after: 30, reset: false }),
        ("a reset in the middle of the body", Action::Cut { after: 180, reset: true }),
        ("silence for 30 s", Action::Stall { after: 0, every_ms: None }),
    ]
}

async fn lost(what: &'static str, action: Action, grace_s: u64) -> String {
    let world = World::signed_in(|config| config.grace_ms = grace_s * 1000).await;
    world.expire();
    world.kit.fault(Fault { action: action.clone(), ..Fault::new(Endpoint::Token).times(1) });
    let begun = Instant::now();
    let first = world.ask_for_a_token().await;
    let took = begun.elapsed();
    let presented = world.presentations();
    // A provider that is silent for 30 s may have forgotten by then.
    let silent = matches!(action, Action::Stall { .. });
    let honoured = grace_s > if silent { 30 } else { 0 };
    for command in [&["token", &world.url()][..], &["call", &world.url(), "echo"], &["tools", &world.url()]] {
        let ran = world.run(command).await;
        assert_eq!(ran.code, if honoured { 0 } else { 3 }, "{what}, grace {grace_s} s: {ran:?}");
    }
    let counts = world.kit.counts();
    assert_eq!(presented, 2, "{what}, grace {grace_s} s: {first:?}");
    assert_eq!(world.presentations(), 2, "nothing is presented afterwards: {counts:?}");
    assert_eq!((counts.exchanges, counts.most_presentations()), (1, 2), "{counts:?}");
    if honoured {
        assert_eq!((first.code, counts.repeats, counts.replays), (0, 1, 0), "{first:?}");
        assert!(world.record().expect("a record").get("exchange").is_none(), "the mark is cleared");
    } else {
        assert_eq!((first.code, counts.replays), (3, 1), "{first:?}");
        assert!(first.one_line_error().contains("linchpin login"), "{first:?}");
        assert!(world.record().is_some(), "nothing is deleted");
    }
    format!(
        "f05: {what}, grace {grace_s} s: exit {}, {presented} presentations, {} repeated, {} replays, 0 later requests \
         ({} ms)",
        first.code,
        counts.repeats,
        counts.replays,
        took.as_millis()
    )
}

async fn all_losses(which: impl Fn(&Action) -> bool) {
    let rows = losses().into_iter().filter(|(_, action)| which(action));
    let runs = rows.flat_map(|(what, action)| [0, 10, 60].map(|grace_s| lost(what, action.clone(), grace_s)));
    for line in futures::future::join_all(runs).await {
        println!("{line}");
    }
}

#[tokio::test]
async fn f05_an_answer_that_is_cut_off_is_asked_for_once_more() {
    all_losses(|action| matches!(action, Action::Cut { .. })).await;
}

#[tokio::test]
#[ignore = "30 s of silence: `cargo test -p linchpin-cli --test cli -- --ignored f05_an_answer --nocapture`"]
async fn f05_an_answer_that_never_comes_is_asked_for_once_more() {
    all_losses(|action| matches!(action, Action::Stall { .. })).await;
}

/// The record is a day ahead of the clock or behind it, as after a jump; then calls from two processes.
#[tokio::test]
async fn f14_a_record_from_another_day_costs_one_exchange_at_most() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    for (what, shift, refused, expected) in [
        ("a day ahead, still good", DAY_MS, false, 0),
        ("a day ahead, ended at the server", DAY_MS, true, 1),
        ("a day behind, still good", -DAY_MS, false, 1),
        ("a day behind, ended at the server", -DAY_MS, true, 1),
    ] {
        let world = World::signed_in(|_| {}).await;
        world.change_record(|record| {
            for field in ["obtained_at_ms", "expires_at_ms"] {
                let at = record[field].as_i64().expect("a number");
                record[field] = json!(at + shift);
            }
        });
        if refused {
            world.kit.refuse_access_tokens();
        }
        let bridges = world.bridges(2);
        initialize(&bridges).await;
        let tally = storm(&bridges, 10, "day").await;
        let counts = world.kit.counts();
        println!("f14: a record {what}: {}/20 calls, {} exchanges", tally.answered, counts.exchanges);
        assert_eq!((tally.answered, counts.exchanges, counts.replays), (20, expected, 0), "{what}");
        world.close(bridges).await;
    }
}

/// What providers say in `expires_in`, and ten calls of two processes with each.
#[tokio::test]
async fn f14_whatever_a_provider_says_of_a_lifetime_costs_at_most_an_exchange_per_token() {
    let said = [
        Lifetime::Missing,
        Lifetime::Raw(json!(0)),
        Lifetime::Raw(json!(-5)),
        Lifetime::Raw(json!(null)),
        Lifetime::Raw(json!("3600")),
        Lifetime::Raw(json!("soon")),
        Lifetime::Raw(json!(1.5)),
        Lifetime::Raw(json!(9_223_372_036_854_775_808_u64)),
        Lifetime::Raw(json!(1e300)),
    ];
    let runs = said.into_iter().map(|said| async move {
        let world = World::signed_in(|config| config.expires_in = said.clone()).await;
        world.kit.refuse_access_tokens();
        let bridges = world.bridges(2);
        initialize(&bridges).await;
        let tally = storm(&bridges, 5, "life").await;
        let counts = world.kit.counts();
        println!(
            "f14: expires_in {said:?}: {}/10 calls, {} exchanges, most presentations of a token {}",
            tally.answered,
            counts.exchanges,
            counts.most_presentations()
        );
        assert_eq!(tally.answered, 10, "{said:?}: {:?}", tally.errors);
        // 1.5 is a second, which ends while this goes on.
        let short = said == Lifetime::Raw(json!(1.5));
        assert!(counts.exchanges == 1 || short, "{said:?}: {counts:?}");
        assert_eq!((counts.most_presentations(), counts.replays), (1, 0), "{said:?}: {counts:?}");
        world.close(bridges).await;
    });
    futures::future::join_all(runs).await;
}

/// Answers of a token endpoint that are none. The second column: what one such answer is taken for.
fn malformed() -> Vec<(&'static str, &'static str, String)> {
    let bearer = |token: &str| format!(r#"{{"access_token":"{token}","token_type":"bearer"}}"#);
    vec![
        ("HTML", "text/html", "<html>planted-html</html>".to_owned()),
        ("HTML that calls itself JSON", "application/json", "<html>planted-html</html>".to_owned()),
        ("nothing", "application/json", String::new()),
        ("a JSON array", "application/json", r#"[{"access_token":"planted-x"}]"#.to_owned()),
        (
            "no access token",
            "application/json",
            r#"{"token_type":"bearer","refresh_token":"planted-x"}"#.to_owned(),
        ),
        ("an empty access token", "application/json", bearer("")),
        ("a token with CR and LF", "application/json", bearer(r"planted-x\r\nX-Evil: 1")),
        ("a token with NUL", "application/json", bearer(r"planted-x\u0000")),
        ("a token with a blank", "application/json", bearer("planted-x y")),
        ("a token of 1 MB", "application/json", bearer(&"x".repeat(1 << 20))),
        ("a mac token", "application/json", r#"{"access_token":"planted-x","token_type":"mac"}"#.to_owned()),
        (
            "two access tokens",
            "application/json",
            r#"{"access_token":"planted-x","access_token":"planted-y","token_type":"bearer"}"#.to_owned(),
        ),
        (
            "a refresh token with CR and LF",
            "application/json",
            r#"{"access_token":"planted-x","token_type":"bearer","refresh_token":"planted-r\r\nX-Evil: 1"}"#
                .to_owned(),
        ),
    ]
}

/// Once: the sign-in goes on. Always: an error that says what to do, the tokens as they were, nothing presented more
/// than twice with an outcome that may be one.
#[tokio::test]
async fn f17_a_malformed_answer_is_never_a_token_and_changes_none() {
    let runs = malformed().into_iter().map(|(what, media_type, body)| async move {
        let type_is = [("content-type", media_type)];
        let world = World::signed_in(|config| config.record = true).await;
        world.expire();
        world.kit.fault(Fault::replace(Endpoint::Token, 200, &type_is, &body).times(1));
        let once = world.run(&["call", &world.url(), "echo", "{}"]).await;
        let counts = world.kit.counts();
        assert_eq!((once.code, counts.exchanges, counts.replays), (0, 1, 0), "{what}: {once:?}");

        world.expire();
        let before = world.tokens();
        let provider = Raw::serving(move |_, wire| wire.answer(200, &[("content-type", media_type)], &body));
        world.change_record(|record| record["token_endpoint"] = json!(format!("{}/token", provider.origin)));
        let always = world.ask_for_a_token().await;
        let requests = provider.connections();
        assert_eq!(world.tokens(), before, "{what}: the tokens are as they were");
        let portal = media_type == "text/html";
        assert_eq!((always.code, requests), if portal { (4, 3) } else { (3, 2) }, "{what}: {always:?}");
        let line = always.one_line_error();
        assert!(!line.contains("planted-") && !line.contains("X-Evil"), "{what}: {line}");
        let after = world.run(&["call", &world.url(), "echo", "{}"]).await;
        assert_ne!(after.code, 0, "{what}: {after:?}");
        for seen in world.kit.seen() {
            assert_eq!(seen.header("x-evil"), None, "{what}");
            let bearer = seen.header("authorization").unwrap_or("Bearer planted-at-");
            assert!(bearer.starts_with("Bearer planted-at-"), "{what}: {bearer}");
        }
        format!(
            "f17: {what}: once, nothing lost; always, exit {} after {requests} requests, tokens unchanged, \
             0 of it in {} requests to the server",
            always.code,
            world.kit.seen().len()
        )
    });
    for line in futures::future::join_all(runs).await {
        println!("{line}");
    }
}

/// What an answer leaves out or narrows is carried forward (P14), through three exchanges in three processes.
#[tokio::test]
async fn f18_what_an_answer_leaves_out_is_carried_forward() {
    for (what, rotation, says) in [
        ("a new refresh token", Rotation::Rotate, Lifetime::True),
        ("no new refresh token", Rotation::Keep, Lifetime::True),
        ("the same refresh token", Rotation::Resend, Lifetime::True),
        ("a new refresh token, no lifetime", Rotation::Rotate, Lifetime::Missing),
        ("no new refresh token, no lifetime", Rotation::Keep, Lifetime::Missing),
    ] {
        let world = World::signed_in(|config| config.rotation = rotation).await;
        world.kit.configure(|config| config.expires_in = says.clone());
        let first = world.tokens();
        for round in 1..=3 {
            if round == 1 {
                world.expire();
            } else {
                world.kit.refuse_access_tokens();
            }
            let ran = world.run(&["call", &world.url(), "echo", "{}"]).await;
            let counts = world.kit.counts();
            assert_eq!((ran.code, counts.exchanges, counts.replays), (0, round, 0), "{what}: {ran:?}");
        }
        let (record, counts) = (world.record().expect("a record"), world.kit.counts());
        let kept = record["refresh_token"] == first.1;
        println!(
            "f18: {what}: 3 exchanges in 3 processes, {} replays, refresh token {}, expires_at {}",
            counts.replays,
            if kept { "kept" } else { "replaced" },
            if record["expires_at_ms"].is_null() { "unknown" } else { "known" }
        );
        assert_eq!(kept, rotation != Rotation::Rotate, "{what}");
        assert_eq!(record["expires_at_ms"].is_null(), says == Lifetime::Missing, "{what}: {record}");
        assert_eq!(record["scopes"], json!(["tools"]), "{what}");
        assert!(record.get("dead").is_none() && record.get("exchange").is_none(), "{what}: {record}");
    }
    // A narrower scope is what there is from then on; nothing is asked for that a provider could refuse.
    let world = World::signed_in(|config| config.scopes = vec!["tools".to_owned(), "admin".to_owned()]).await;
    world.expire();
    let narrow = r#"{"access_token":"planted-at-narrow","token_type":"bearer","scope":"tools"}"#;
    world.kit.fault(Fault::replace(Endpoint::Token, 200, &JSON, narrow).times(1));
    assert_eq!(world.ask_for_a_token().await.code, 0);
    assert_eq!(world.record().expect("a record")["scopes"], json!(["tools"]));
    world.expire();
    assert_eq!(world.ask_for_a_token().await.code, 0);
    println!("f18: a narrowed scope: recorded, and the next exchange is not refused for it");
}

/// Only `invalid_grant` ends a sign-in, and only for the token that it refused.
#[tokio::test]
async fn f18_only_invalid_grant_leaves_a_tombstone_and_it_is_of_one_token() {
    for (code, status, exit, is_final) in [
        ("invalid_grant", 400, 3, true),
        ("invalid_grant", 401, 3, true),
        ("invalid_client", 401, 3, false),
        ("unauthorized_client", 400, 3, false),
        ("invalid_scope", 400, 3, false),
        ("made_up_by_somebody", 400, 3, false),
        ("temporarily_unavailable", 400, 4, false),
    ] {
        let world = World::signed_in(|_| {}).await;
        world.expire();
        let before = world.tokens();
        let body = json!({ "error": code }).to_string();
        world.kit.fault(Fault::replace(Endpoint::Token, status, &JSON, &body));
        let ran = world.ask_for_a_token().await;
        world.kit.clear_faults();
        assert_eq!(ran.code, exit, "{code}: {ran:?}");
        let record = world.record().expect("nothing is deleted");
        assert_eq!(world.tokens(), before, "{code}");
        assert_eq!(record.get("dead").is_some(), is_final, "{code}: {record}");
        let requests = world.presentations();
        world.end_pauses();
        let again = world.ask_for_a_token().await;
        let counts = world.kit.counts();
        if is_final {
            let fingerprint = record["dead"]["fingerprint"].as_str().expect("a fingerprint");
            assert_eq!(fingerprint.len(), 64, "SHA-256 and no token: {record}");
            assert_eq!((again.code, world.presentations()), (3, requests), "presented no more");
            // Another token of another sign-in is none of its business.
            assert_eq!(world.login(&[]).await.code, 0);
            world.expire();
            assert_eq!(world.ask_for_a_token().await.code, 0);
            assert_eq!(world.kit.counts().exchanges, 1);
        } else {
            assert_eq!((again.code, counts.exchanges, counts.replays), (0, 1, 0), "{code}: {again:?}");
        }
        println!(
            "f18: {status} {code}: exit {exit}, {}, tokens kept",
            if is_final { "a tombstone for one fingerprint" } else { "no tombstone, the next try succeeds" }
        );
    }
}
