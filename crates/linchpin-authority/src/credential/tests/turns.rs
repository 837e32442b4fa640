//! Several people's actions on one sign-in: turns in the browser, imports (P12).

use super::*;
use crate::{Imported, Replace, Turn};

/// Long enough for anything, on a paused clock.
const PATIENT: Duration = Duration::from_secs(600);

/// Presented twice, and no answer came (P10).
fn lost(access: &str, refresh: &str) -> Record {
    let mark = linchpin_store::ExchangeMark {
        fingerprint: Secret::new(refresh).fingerprint(),
        presentations: linchpin_store::PRESENTATIONS,
        at_ms: UnixMs(1),
        pid: 1,
    };
    Record { exchange: Some(mark), ..record(access, refresh) }
}

async fn turn(credential: &Credential, scopes: &[&str], within: Duration) -> Result<Turn, CredentialError> {
    let scopes: Vec<_> = scopes.iter().map(|&scope| scope.to_owned()).collect();
    credential.sign_in_turn(&scopes, within, |_| {}).await
}

#[tokio::test(start_paused = true)]
async fn p12_a_turn_is_waited_for_and_finds_what_the_one_before_it_brought() {
    for (wanted, record, is_served) in [
        (&[][..], record("A2", "R2"), true),
        (&["tools"], record("A2", "R2"), true),
        (&["tools", "admin"], record("A2", "R2"), false),
        (&[], Record { refresh_token: None, ..record("A2", "R2") }, false),
        (&[], lost("A2", "R2"), false),
    ] {
        let world = world(1_100, Duration::ZERO, vec![]).await;
        let mine = turn(&world.credential, &[], PATIENT).await.expect("free");
        assert!(matches!(mine, Turn::Taken(_)));
        let other = world.another_process();
        let mut waiting = std::pin::pin!(turn(&other, wanted, PATIENT));
        assert!(now(&mut waiting).await.is_none(), "it waits");
        // The browser took its time; no credential lock spanned it.
        world.set_time(1_200);
        world.credential.sign_in(record).await.expect("saved");
        assert!(now(&mut waiting).await.is_none(), "it waits for the turn, not for the record");
        drop(mine);
        let found = waiting.await.expect("a turn");
        assert_eq!(matches!(found, Turn::Served(_)), is_served, "{wanted:?}: {found:?}");
    }
}

/// What a future has after everything that can run now has run.
async fn now<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(1), future).await.ok()
}

#[tokio::test(start_paused = true)]
async fn p12_a_turn_that_brought_nothing_is_passed_on_though_the_record_was_renewed_meanwhile() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    let mine = turn(&world.credential, &[], PATIENT).await.expect("free");
    let other = world.another_process();
    let mut waiting = std::pin::pin!(turn(&other, &[], PATIENT));
    assert!(now(&mut waiting).await.is_none());
    let renewed = world.credential.access_token(Wait::Transaction).await;
    assert_eq!(token(&renewed), "A2", "a turn holds up no refresh");
    drop(mine);
    assert!(matches!(waiting.await, Ok(Turn::Taken(_))));
}

#[tokio::test(start_paused = true)]
async fn p12_a_wait_for_a_turn_is_bounded() {
    let world = world(1_000, Duration::ZERO, vec![]).await;
    let _mine = turn(&world.credential, &[], PATIENT).await.expect("free");
    let outcome = turn(&world.another_process(), &[], Duration::from_secs(5)).await;
    assert!(matches!(&outcome, Err(CredentialError::Lock(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn p12_who_would_not_wait_for_a_turn_is_not_told_to() {
    let world = world(1_000, Duration::ZERO, vec![]).await;
    let _mine = turn(&world.credential, &[], PATIENT).await.expect("free");
    let other = world.another_process();
    for (within, is_told) in [(Duration::ZERO, false), (Duration::from_secs(1), true)] {
        let mut told = false;
        let outcome = other.sign_in_turn(&[], within, |_| told = true).await;
        assert!(matches!(outcome, Err(CredentialError::Lock(_))), "{outcome:?}");
        assert_eq!(told, is_told, "{within:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p12_an_import_takes_the_place_of_what_has_ended_and_of_what_it_may_replace() {
    let alive = Record { expires_at_ms: Some(UnixMs(9_000_000)), ..record("A1", "R1") };
    let dead = linchpin_store::DeadToken {
        fingerprint: Secret::new("R1").fingerprint(),
        reason: "invalid_grant".into(),
        at_ms: UnixMs(1),
    };
    let dead = Record { dead: Some(dead), ..record("A1", "R1") };
    for (what, there, replace, saved) in [
        ("alive", &alive, Replace::Ended, false),
        ("ended, and renewable", &record("A1", "R1"), Replace::Ended, false),
        ("not renewable, and good", &Record { refresh_token: None, ..alive.clone() }, Replace::Ended, false),
        ("alive, replaced on demand", &alive, Replace::Always, true),
        ("dead and ended", &dead, Replace::Ended, true),
        ("presented twice without an answer, and ended", &lost("A1", "R1"), Replace::Ended, true),
    ] {
        let world = world(1_100, Duration::ZERO, vec![]).await;
        world.credential.sign_in(there.clone()).await.expect("saved");
        let outcome = world.credential.import(record("A9", "R9"), replace).await.expect("no failure");
        assert_eq!(matches!(outcome, Imported::Saved(_)), saved, "{what}: {outcome:?}");
        let expected = if saved { "A9" } else { "A1" };
        assert_eq!(world.saved().await.access_token.expose(), expected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn p12_an_import_during_a_refresh_is_last_and_wins() {
    let world = world(1_100, Duration::from_secs(1), vec![]).await;
    let credential = world.credential.clone();
    let call = tokio::spawn(async move { credential.access_token(Wait::Transaction).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.another_process().import(record("A9", "R9"), Replace::Always).await.expect("imported");
    assert_eq!(token(&call.await.expect("no panic")), "A2");
    let saved = world.saved().await;
    assert_eq!((saved.access_token.expose(), saved.signed_in_at_ms), ("A9", Some(UnixMs(1_100_000))));
    assert_eq!(world.presented(), ["R1"]);
}
