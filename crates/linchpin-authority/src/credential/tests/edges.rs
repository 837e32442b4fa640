//! The edges of a credential: who joins whom, what is left alone, what is shown.

use super::*;
use crate::Moved;

fn unavailable() -> Exchange {
    Exchange::Unavailable { problem: "answered 503".into(), retry_after: None }
}

/// Lets everything run that can run without the time going on.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p16_a_refused_token_is_not_what_a_renewal_that_failed_gives_back() {
    // Near its end: a background renewal begins, and a server refuses the same token while it runs.
    let script = vec![unavailable(), unavailable(), unavailable()];
    let world = world(1_040, Duration::from_secs(1), script).await;
    let used = world.credential.current().expect("live");
    let outcome = world.credential.recover(&used, Wait::Transaction).await;
    assert!(matches!(outcome, Err(CredentialError::Temporary { .. })), "{outcome:?}");
    // The renewal kept what it had: who was not refused goes on with it (P11).
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A1");
    assert_eq!(world.presented(), ["R1", "R1", "R1"]);
}

#[tokio::test(start_paused = true)]
async fn p14_after_a_background_renewal_failed_the_next_one_waits() {
    let world = world(1_040, Duration::ZERO, vec![]).await;
    world.store.refuse_saves(Some("the disk is full"));
    assert!(world.credential.current().is_some());
    settle().await;
    world.store.refuse_saves(None);
    for _ in 0..10 {
        assert!(world.credential.current().is_some());
        settle().await;
        tokio::time::advance(Duration::from_millis(400)).await;
    }
    assert_eq!(world.presented().len(), 0, "4 s of requests");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(world.credential.current().is_some());
    settle().await;
    assert_eq!(world.presented().len(), 1, "after 5 s once more");
}

#[tokio::test(start_paused = true)]
async fn p11_after_the_client_was_refused_no_background_renewal_presents_anything_for_half_a_minute() {
    let world = world(2_000, Duration::ZERO, vec![client_refused(), client_refused()]).await;
    // Near its end for the whole of the last minute.
    let longer = Record { expires_at_ms: Some(UnixMs(2_050_000)), ..record("A1", "R1") };
    world.credential.sign_in(longer).await.expect("saved");
    let mut presented = Vec::new();
    for at_s in 2_000..2_040 {
        world.set_time(at_s);
        assert_eq!(world.credential.current(), Some(a("A1")), "in use at {at_s} s");
        settle().await;
        presented.push(world.presented().len());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!((presented[0], presented[29], presented[39]), (1, 1, 2), "{presented:?}");
}

#[tokio::test(start_paused = true)]
async fn p14_a_renewal_that_kept_the_token_begins_no_other_at_once() {
    // A provider that is out of order, and lets itself be asked again at any time.
    let down = || Exchange::Unavailable { problem: "answered 503".into(), retry_after: Some(Duration::ZERO) };
    let world = world(1_040, Duration::ZERO, (0..30).map(|_| down()).collect()).await;
    for _ in 0..10 {
        assert!(world.credential.current().is_some());
        settle().await;
        tokio::time::advance(Duration::from_millis(400)).await;
    }
    assert_eq!(world.presented().len(), 3, "one transaction's tries");
}

#[tokio::test(start_paused = true)]
async fn p12_a_new_sign_in_is_current_at_once_whatever_it_has_in_common_with_the_old() {
    let world = world(1_010, Duration::ZERO, vec![]).await;
    let longer = Record { expires_at_ms: Some(UnixMs(9_000_000)), ..record("A1", "R9") };
    world.credential.sign_in(longer).await.expect("saved");
    world.set_time(2_000);
    assert!(world.credential.current().is_some(), "the same access token, and it lives longer");
    let other = Record { expires_at_ms: Some(UnixMs(9_000_000)), ..record("A9", "R9") };
    world.credential.sign_in(other).await.expect("saved");
    assert_eq!(world.credential.current(), Some(a("A9")), "another one of the same life");
}

/// Panics at its first request.
#[derive(Debug, Default)]
struct Broken(AtomicUsize);

#[async_trait]
impl TokenEndpoint for Broken {
    async fn refresh(&self, _: &Record) -> Exchange {
        assert_ne!(self.0.fetch_add(1, Ordering::SeqCst), 0, "a bug in an endpoint");
        Exchange::Refused { code: "invalid_grant".into() }
    }

    async fn revoke(&self, _: &Record) -> Revocation {
        Revocation::Revoked
    }
}

#[tokio::test(start_paused = true)]
async fn p07_a_transaction_that_panics_is_an_error_and_holds_up_nobody() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    let endpoint = Arc::new(Broken::default());
    let authority = Authority::new(Arc::new(world.store.clone()), endpoint.clone(), world.clock.clone());
    let credential = authority.credential(key());
    let outcome = credential.access_token(Wait::Transaction).await;
    assert!(matches!(outcome, Err(CredentialError::Interrupted { .. })), "{outcome:?}");
    let outcome = credential.access_token(Wait::Transaction).await;
    assert!(matches!(outcome, Err(CredentialError::SignInRequired { .. })), "{outcome:?}");
    assert_eq!(endpoint.0.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn p17_that_a_renewed_token_is_refused_is_noted_once_for_every_process() {
    let world = world(1_010, Duration::ZERO, vec![]).await;
    let renewed = world.credential.recover(&a("A1"), Wait::Transaction).await.expect("renewed");
    let before = world.saved().await;
    world.credential.refused_again(&renewed);
    settle().await;
    let noted = world.saved().await;
    assert_eq!(noted.generation, before.generation + 1);
    assert_eq!(
        noted.refused.as_ref().map(|refused| refused.fingerprint.clone()),
        Some(a("A2").fingerprint().clone())
    );
    world.credential.refused_again(&renewed);
    settle().await;
    assert_eq!(world.saved().await.generation, noted.generation, "said once");
    let outcome = world.another_process().recover(&a("A2"), Wait::Transaction).await;
    assert!(
        matches!(
            outcome,
            Err(CredentialError::SignInRequired { reason: SignInReason::RefusedAfterExchange, .. })
        ),
        "{outcome:?}"
    );
    // Another token than the current one is no news.
    world.credential.refused_again(&a("A1"));
    // Nor is one that was good for half a minute.
    world.set_time(1_040);
    world.credential.refused_again(&renewed);
    settle().await;
    assert_eq!(world.saved().await, noted);
    assert_eq!(world.presented(), ["R1"]);

    // The one after it, half a minute later.
    world.set_time(1_041);
    let renewed = world.credential.recover(&renewed, Wait::Transaction).await.expect("renewed");
    world.credential.refused_again(&renewed);
    settle().await;
    let noted = world.saved().await.refused.map(|refused| refused.fingerprint);
    assert_eq!(noted, Some(a("A3").fingerprint().clone()));
}

#[tokio::test(start_paused = true)]
async fn p17_only_the_current_token_right_after_its_exchange_is_noted_and_once_by_all() {
    for (at_s, is_noted) in [(1_011, true), (1_039, true), (1_040, false), (1_041, false)] {
        let world = world(1_010, Duration::ZERO, vec![]).await;
        let renewed = world.credential.recover(&a("A1"), Wait::Transaction).await.expect("renewed");
        let other = world.another_process();
        assert_eq!(token(&other.access_token(Wait::Transaction).await), "A2");
        world.set_time(at_s);
        world.credential.refused_again(&renewed);
        settle().await;
        let noted = world.saved().await;
        assert_eq!(noted.refused.is_some(), is_noted, "at {at_s} s");
        // Another process is refused it too: that is no news, nor a later time.
        world.set_time(at_s + 1);
        other.refused_again(&renewed);
        settle().await;
        assert_eq!(world.saved().await, noted, "at {at_s} s");
    }
    // What this process has is not what is saved by now.
    let world = world(1_010, Duration::ZERO, vec![]).await;
    let renewed = world.credential.recover(&a("A1"), Wait::Transaction).await.expect("renewed");
    world.another_process().sign_in(record("A9", "R9")).await.expect("saved");
    world.credential.refused_again(&renewed);
    settle().await;
    assert_eq!(world.saved().await.refused, None);
}

#[tokio::test(start_paused = true)]
async fn p17_what_a_process_knows_to_be_refused_counts_before_the_record_says_so() {
    // Whatever the record says of a token before it.
    let older = RefusedToken { fingerprint: a("A0").fingerprint().clone(), at_ms: UnixMs(1) };
    for refused in [None, Some(older)] {
        let world = world(1_010, Duration::ZERO, vec![]).await;
        let there = Record { expires_at_ms: Some(UnixMs(9_000_000)), refused, ..record("A1", "R1") };
        world.credential.sign_in(Record { obtained_at_ms: UnixMs(1_010_000), ..there }).await.expect("saved");
        world.store.refuse_saves(Some("the note of it cannot be saved"));
        world.credential.refused_again(&a("A1"));
        settle().await;
        world.store.refuse_saves(None);
        let outcome = world.credential.recover(&a("A1"), Wait::Transaction).await;
        assert!(
            matches!(
                outcome,
                Err(CredentialError::SignInRequired { reason: SignInReason::RefusedAfterExchange, .. })
            ),
            "{outcome:?}"
        );
        assert_eq!(world.presented().len(), 0);
        // Of another token it says nothing.
        world.credential.sign_in(record("A5", "R5")).await.expect("saved");
        assert_eq!(token(&world.credential.recover(&a("A5"), Wait::Transaction).await), "A2");
    }
}

#[tokio::test(start_paused = true)]
async fn p14_a_need_for_a_longer_life_renews_in_the_second_half_and_keeps_what_cannot_be_renewed() {
    let asked = async |at_s: u64, min_valid_s: u64, script| {
        let world = world(at_s, Duration::ZERO, script).await;
        let token =
            world.credential.access_token_for(Duration::from_secs(min_valid_s), Wait::Transaction).await;
        (token.expect("live").secret().expose().to_owned(), world.presented().len())
    };
    // A1 lives from 1,000 s to 1,060 s.
    assert_eq!(asked(1_010, 50, vec![]).await, ("A1".into(), 0));
    assert_eq!(asked(1_025, 600, vec![]).await, ("A1".into(), 0), "in the first half of its life");
    assert_eq!(asked(1_031, 30, vec![]).await, ("A2".into(), 1));
    assert_eq!(asked(1_100, 1, vec![]).await, ("A2".into(), 1));
    let down = || vec![unavailable(), unavailable(), unavailable()];
    assert_eq!(asked(1_035, 30, down()).await, ("A1".into(), 3), "it has not ended (P11)");
}

#[tokio::test(start_paused = true)]
async fn p18_a_wait_ends_and_the_next_request_finds_the_result() {
    let world = world(1_100, Duration::from_secs(2), vec![]).await;
    let begun = Instant::now();
    let outcome = world.credential.access_token(Wait::within(Duration::from_millis(200))).await;
    assert!(matches!(outcome, Err(CredentialError::TimedOut { .. })), "{outcome:?}");
    assert_eq!(begun.elapsed(), Duration::from_millis(200));
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A2");
    assert_eq!(world.presented(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_is_shown_moved_and_known_to_have_a_place() {
    let world = world(1_010, Duration::ZERO, vec![]).await;
    let there = world.credential.record().await.expect("readable").expect("signed in");
    assert_eq!(there.access_token.expose(), "A1");
    world.credential.ready_for_sign_in().await.expect("ready");

    let target = MemoryStore::new();
    let moved = world.credential.move_to(Arc::new(target.clone())).await.expect("moved");
    assert!(matches!(moved, Some(Moved { leftover: None })), "{moved:?}");
    assert_eq!(world.store.load(&key()).await.expect("readable"), None);
    assert_eq!(target.load(&key()).await.expect("readable"), Some(there));
    assert_eq!(world.credential.current(), None, "its place is another");
    let again = world.credential.move_to(Arc::new(target.clone())).await.expect("no failure");
    assert!(again.is_none());

    world.store.refuse_saves(Some("planted: the store is full"));
    let refused = world.credential.ready_for_sign_in().await;
    assert!(matches!(refused, Err(CredentialError::Store(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn p12_a_move_whose_target_refuses_leaves_the_sign_in_where_it_is() {
    let world = world(1_010, Duration::ZERO, vec![]).await;
    let target = MemoryStore::new();
    target.refuse_saves(Some("full"));
    assert!(world.credential.move_to(Arc::new(target.clone())).await.is_err());
    assert_eq!(world.saved().await.access_token.expose(), "A1");
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A1");
}

#[tokio::test]
async fn p20_debug_texts_name_the_sign_in_and_its_store() {
    let world = world(1_010, Duration::ZERO, vec![]).await;
    assert!(format!("{:?}", world.credential).contains("mcp.example.com"));
    assert!(format!("{:?}", world.authority).contains("MemoryStore"));
}
