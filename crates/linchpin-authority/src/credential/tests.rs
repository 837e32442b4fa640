//! Transactions over a store in memory and a provider that keeps a script.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use linchpin_oauth::{Exchange, Revocation, TokenAnswer};
use linchpin_store::{
    Client, ClientAuthMethod, Held, MemoryStore, PlainHttp, Profile, Registration, Secret, ServerUrl, UnixMs,
};

use super::*;
use crate::{Authority, SignInReason};

mod clocks;
mod drops;
mod edges;
#[cfg(unix)]
mod full_disk;
mod hooked;
mod late;
#[cfg(unix)]
mod lost_lock;
mod overtaken;
mod panics;
mod passed;
mod runtimes;
mod told;
mod turns;
mod unsent;

pub(crate) fn record(access: &str, refresh: &str) -> Record {
    Record {
        generation: 1,
        issuer: "https://as.example.com".into(),
        token_endpoint: "https://as.example.com/token".parse().expect("a URL"),
        revocation_endpoint: None,
        token_endpoint_auth_method: ClientAuthMethod::None,
        resource: "https://mcp.example.com/mcp".into(),
        client: Client {
            id: "c".into(),
            secret: None,
            secret_expires_at_ms: None,
            registration: Registration::Dynamic,
            redirect_uri: None,
        },
        access_token: Secret::new(access),
        refresh_token: Some(Secret::new(refresh)),
        scopes: vec!["tools".into()],
        obtained_at_ms: UnixMs(1_000_000),
        expires_at_ms: Some(UnixMs(1_060_000)),
        exchange: None,
        dead: None,
        refused: None,
        client_refused: None,
        retry_at_ms: None,
        signed_in_at_ms: None,
        extra: serde_json::Map::new(),
    }
}

#[derive(Debug, Default)]
struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::SeqCst))
    }
}

/// Rotates (`R1` to `R2`, each call one further) unless the script says something else first.
#[derive(Debug, Default)]
struct Scripted {
    script: Mutex<VecDeque<Exchange>>,
    delay: Duration,
    exchanges: AtomicUsize,
    presented: Mutex<Vec<String>>,
    revoked: AtomicUsize,
}

#[async_trait]
impl TokenEndpoint for Scripted {
    async fn refresh(&self, record: &Record) -> Exchange {
        let token = record.refresh_token.as_ref().expect("a refresh token").expose().to_owned();
        lock(&self.presented).push(token);
        tokio::time::sleep(self.delay).await;
        if let Some(outcome) = lock(&self.script).pop_front() {
            return outcome;
        }
        let number = self.exchanges.fetch_add(1, Ordering::SeqCst) + 2;
        Exchange::Rotated(TokenAnswer {
            access_token: Secret::new(format!("A{number}")),
            refresh_token: Some(Secret::new(format!("R{number}"))),
            expires_in: Some(Duration::from_secs(60)),
            scopes: None,
        })
    }

    async fn revoke(&self, _record: &Record) -> Revocation {
        self.revoked.fetch_add(1, Ordering::SeqCst);
        Revocation::Revoked
    }
}

struct World {
    store: MemoryStore,
    endpoint: Arc<Scripted>,
    clock: Arc<ManualClock>,
    authority: Authority,
    credential: Credential,
}

fn key() -> CredentialKey {
    let server = ServerUrl::parse("https://mcp.example.com/mcp", PlainHttp::LoopbackOnly).expect("a URL");
    CredentialKey::new(Profile::default(), server)
}

/// Signed in with `A1`/`R1`, which live from 1,000 s to 1,060 s; the time is `at_s`.
async fn world(at_s: u64, delay: Duration, script: Vec<Exchange>) -> World {
    let clock = Arc::new(ManualClock(AtomicU64::new(at_s * 1000)));
    let endpoint = Arc::new(Scripted { script: Mutex::new(script.into()), delay, ..Scripted::default() });
    let store = MemoryStore::new();
    let authority = Authority::new(Arc::new(store.clone()), endpoint.clone(), clock.clone());
    let credential = authority.credential(key());
    credential.sign_in(record("A1", "R1")).await.expect("saved");
    World { store, endpoint, clock, authority, credential }
}

impl World {
    /// The same store and provider seen by another process.
    fn another_process(&self) -> Credential {
        Authority::new(Arc::new(self.store.clone()), self.endpoint.clone(), self.clock.clone())
            .credential(key())
    }

    fn presented(&self) -> Vec<String> {
        lock(&self.endpoint.presented).clone()
    }

    async fn saved(&self) -> Record {
        self.store.load(&key()).await.expect("readable").expect("a record")
    }

    fn set_time(&self, at_s: u64) {
        self.clock.0.store(at_s * 1000, Ordering::SeqCst);
    }
}

fn token(outcome: &Result<AccessToken, CredentialError>) -> &str {
    outcome.as_ref().expect("a token").secret().expose()
}

fn a(name: &str) -> AccessToken {
    AccessToken::new(Secret::new(name), None)
}

#[tokio::test(start_paused = true)]
async fn p06_eight_processes_and_fifty_tasks_make_one_exchange() {
    let world = world(1_100, Duration::from_millis(300), vec![]).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| world.another_process())
        .flat_map(|process| (0..50).map(move |_| process.clone()))
        .map(|credential| tokio::spawn(async move { credential.access_token(Wait::Transaction).await }))
        .collect();
    for task in tasks {
        assert_eq!(token(&task.await.expect("no panic")), "A2");
    }
    assert_eq!(world.presented(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn p16_a_late_refusal_adopts_what_was_installed_meanwhile() {
    let world = world(1_001, Duration::ZERO, vec![]).await;
    let other = world.another_process();
    assert_eq!(token(&other.access_token(Wait::Transaction).await), "A1");
    assert_eq!(token(&world.credential.recover(&a("A1"), Wait::Transaction).await), "A2");
    // Another process, and this one once more: both were refused with the old token.
    assert_eq!(token(&other.recover(&a("A1"), Wait::Transaction).await), "A2");
    assert_eq!(token(&world.credential.recover(&a("A1"), Wait::Transaction).await), "A2");
    assert_eq!(world.presented(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn p07_a_dropped_caller_does_not_cancel_the_exchange() {
    let world = world(1_100, Duration::from_secs(2), vec![]).await;
    let caller = world.credential.access_token(Wait::within(Duration::from_millis(200)));
    assert!(matches!(caller.await, Err(CredentialError::TimedOut { .. })));
    drop(
        tokio::time::timeout(Duration::from_millis(1), world.credential.access_token(Wait::Transaction))
            .await,
    );
    assert!(world.authority.drain(Duration::from_secs(10)).await);
    assert_eq!(world.saved().await.refresh_token, Some(Secret::new("R2")));
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A2");
    assert_eq!(world.presented(), ["R1"]);
}

/// What waits for a lock has begun nothing: the end of the process does not wait for it.
#[tokio::test(start_paused = true)]
async fn p07_the_end_of_a_process_waits_for_exchanges_and_not_for_locks() {
    let world = world(1_100, Duration::from_secs(2), vec![]).await;
    let exchanging = world.another_process();
    let call = tokio::spawn(async move { exchanging.access_token(Wait::Transaction).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let credential = world.credential.clone();
    let waiting = tokio::spawn(async move { credential.access_token(Wait::Transaction).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    assert!(world.authority.drain(Duration::from_secs(60)).await);
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    assert!(matches!(waiting.await.expect("no panic"), Err(CredentialError::Interrupted { .. })));
    assert_eq!(token(&call.await.expect("no panic")), "A2");
}

#[tokio::test(start_paused = true)]
async fn p08_nothing_is_spent_that_could_not_be_saved() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    world.store.refuse_saves(Some("the disk is full"));
    let outcome = world.credential.access_token(Wait::Transaction).await;
    assert!(matches!(outcome, Err(CredentialError::Store(_))), "{outcome:?}");
    assert!(world.presented().is_empty());
    world.store.refuse_saves(None);
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A2");
}

#[tokio::test(start_paused = true)]
async fn p09_a_token_that_cannot_be_saved_is_kept_until_it_can() {
    let world = world(1_100, Duration::from_secs(1), vec![]).await;
    let credential = world.credential.clone();
    let call = tokio::spawn(async move { credential.access_token(Wait::Transaction).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.store.refuse_saves(Some("the disk is full"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.saved().await.refresh_token, Some(Secret::new("R1")));
    assert!(!call.is_finished(), "nobody sees the token before it is saved");
    assert_eq!(world.credential.current(), None, "nor does another task of this process");
    world.store.refuse_saves(None);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(token(&call.await.expect("no panic")), "A2");
    assert_eq!(world.saved().await.refresh_token, Some(Secret::new("R2")));
    assert_eq!(world.presented(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn p10_a_lost_answer_is_repeated_once_and_a_refusal_is_final() {
    let lost = || Exchange::Unknown { problem: "closed the connection".into() };
    let refused = || Exchange::Refused { code: "invalid_grant".into() };
    let world = world(1_100, Duration::ZERO, vec![lost(), refused()]).await;
    for credential in [world.credential.clone(), world.another_process(), world.another_process()] {
        match credential.access_token(Wait::Transaction).await {
            Err(CredentialError::SignInRequired { reason: SignInReason::Refused { code }, .. }) => {
                assert_eq!(code, "invalid_grant");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.presented(), ["R1", "R1"]);
    let saved = world.saved().await;
    assert_eq!(saved.refresh_token, Some(Secret::new("R1")), "nothing is deleted");
    assert!(!saved.is_renewable());
}

#[tokio::test(start_paused = true)]
async fn p10_an_answer_lost_twice_is_never_asked_for_again() {
    let lost = || Exchange::Unknown { problem: "closed the connection".into() };
    let world = world(1_100, Duration::ZERO, vec![lost(), lost()]).await;
    for credential in [world.credential.clone(), world.another_process(), world.another_process()] {
        match credential.access_token(Wait::Transaction).await {
            Err(CredentialError::SignInRequired { reason: SignInReason::OutcomeUnknown, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    world.set_time(90_000);
    assert!(world.another_process().access_token(Wait::Transaction).await.is_err());
    assert_eq!(world.presented(), ["R1", "R1"]);
    assert_eq!(world.saved().await.refresh_token, Some(Secret::new("R1")), "nothing is deleted");
}

/// What a program that knows nothing of locks holds.
struct NoLock;

impl Held for NoLock {}

/// Somebody replaced the record past the lock while the old token was being presented: the refusal says nothing about
/// the new one.
#[tokio::test(start_paused = true)]
async fn p11_a_refusal_is_noted_only_over_the_token_it_refused() {
    let refused = Exchange::Refused { code: "invalid_grant".into() };
    let world = world(1_100, Duration::from_secs(1), vec![refused]).await;
    let credential = world.credential.clone();
    let call = tokio::spawn(async move { credential.access_token(Wait::Transaction).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let new = Record { expires_at_ms: Some(UnixMs(9_000_000)), ..record("B1", "S1") };
    let no_guard = CredentialGuard::new(key(), NoLock);
    world.store.save(&no_guard, &new).await.expect("saved");
    assert_eq!(token(&call.await.expect("no panic")), "B1");
    let saved = world.saved().await;
    assert_eq!((saved.dead, saved.refresh_token), (None, Some(Secret::new("S1"))));
    assert_eq!(world.presented(), ["R1"]);
}

/// Another process is in the middle of the one repeat: its mark is no reason to give up.
#[tokio::test(start_paused = true)]
async fn p10_the_mark_of_a_running_repeat_is_waited_for() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    let request = LockRequest { purpose: "test", within: Duration::ZERO };
    let guard = world.store.lock(&key(), request).await.expect("free");
    let marked = crate::exchange::marked(record("A1", "R1"), 2, UnixMs(1_099_000));
    world.store.save(&guard, &marked).await.expect("saved");
    let waiting = tokio::spawn({
        let credential = world.another_process();
        async move { credential.access_token(Wait::Transaction).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished(), "the exchange is still running");
    let mut renewed = record("A2", "R2");
    renewed.obtained_at_ms = UnixMs(1_100_000);
    renewed.expires_at_ms = Some(UnixMs(4_700_000));
    world.store.save(&guard, &renewed).await.expect("saved");
    drop(guard);
    assert_eq!(token(&waiting.await.expect("no panic")), "A2");
    assert_eq!(world.presented(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn p10_a_repeat_that_was_not_sent_stays_allowed() {
    let lost = Exchange::Unknown { problem: "closed the connection".into() };
    let away = || Exchange::NotSent { problem: "refused the connection".into() };
    let world = world(1_100, Duration::ZERO, vec![lost, away(), away(), away()]).await;
    let outcome = world.credential.access_token(Wait::Transaction).await;
    assert!(matches!(outcome, Err(CredentialError::Temporary { .. })), "{outcome:?}");
    world.set_time(1_103);
    assert_eq!(token(&world.another_process().access_token(Wait::Transaction).await), "A2");
}

#[tokio::test(start_paused = true)]
async fn p10_a_mark_left_by_a_killed_process_allows_one_repeat() {
    let world = world(1_100, Duration::ZERO, vec![]).await;
    let guard = world
        .store
        .lock(&key(), LockRequest { purpose: "test", within: Duration::ZERO })
        .await
        .expect("free");
    let marked = crate::exchange::marked(record("A1", "R1"), 1, UnixMs(1_099_000));
    world.store.save(&guard, &marked).await.expect("saved");
    drop(guard);
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A2");
    assert_eq!(world.saved().await.exchange, None);
}

#[tokio::test(start_paused = true)]
async fn p11_a_provider_out_of_order_costs_no_sign_in() {
    let busy = || Exchange::Unavailable { problem: "answered 503".into(), retry_after: None };
    let world = world(1_100, Duration::ZERO, vec![busy(), busy()]).await;
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A2");
    assert_eq!(world.presented(), ["R1", "R1", "R1"]);
}

#[tokio::test(start_paused = true)]
async fn p11_after_three_tries_every_process_leaves_the_provider_alone() {
    let busy = || Exchange::Unavailable {
        problem: "answered 503".into(),
        retry_after: Some(Duration::from_secs(20)),
    };
    let world = world(1_100, Duration::ZERO, vec![busy()]).await;
    for credential in [world.credential.clone(), world.another_process()] {
        match credential.access_token(Wait::Transaction).await {
            Err(CredentialError::Temporary { retry_after: Some(after), .. }) => {
                assert_eq!(after, Duration::from_secs(20));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.presented(), ["R1"]);
    world.set_time(1_121);
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A2");
}

#[tokio::test(start_paused = true)]
async fn p11_a_token_that_has_not_ended_stays_in_use_when_its_refresh_fails() {
    let refused = Exchange::Refused { code: "invalid_grant".into() };
    let world = world(1_057, Duration::ZERO, vec![refused]).await;
    // In its last moments a request waits for the renewal, which fails; the token is good for three more seconds.
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A1");
    world.set_time(1_060);
    assert!(matches!(
        world.credential.access_token(Wait::Transaction).await,
        Err(CredentialError::SignInRequired { .. })
    ));
    assert_eq!(world.presented(), ["R1"]);
}

fn client_refused() -> Exchange {
    Exchange::ClientRefused { code: "invalid_client".into() }
}

#[tokio::test(start_paused = true)]
async fn p11_a_refused_client_keeps_its_tokens_and_no_process_asks_again_for_half_a_minute() {
    let world = world(1_100, Duration::ZERO, vec![client_refused(), client_refused()]).await;
    let ask = async |credential: Credential| {
        let outcome = credential.access_token(Wait::Transaction).await;
        assert!(
            matches!(&outcome, Err(CredentialError::ClientRefused { code, .. }) if code == "invalid_client"),
            "{outcome:?}"
        );
    };
    ask(world.credential.clone()).await;
    let saved = world.saved().await;
    assert!(saved.is_renewable());
    assert_eq!(saved.exchange, None);
    assert_eq!(saved.client_refusal().map(|refused| refused.at_ms), Some(UnixMs(1_100_000)));

    // Neither the lock is taken for that nor a request sent, and nothing is saved.
    let lock = LockRequest { purpose: "test", within: Duration::ZERO };
    let guard = world.store.lock(&key(), lock).await.expect("free");
    world.set_time(1_129);
    for credential in [world.credential.clone(), world.another_process(), world.another_process()] {
        ask(credential).await;
    }
    drop(guard);
    assert_eq!(world.saved().await, saved);
    assert_eq!(world.presented(), ["R1"]);

    // Tried again once, and left alone again.
    world.set_time(1_130);
    ask(world.another_process()).await;
    ask(world.credential.clone()).await;
    assert_eq!(world.presented(), ["R1", "R1"]);
    // Somebody has restored the client.
    world.set_time(1_160);
    assert_eq!(token(&world.another_process().access_token(Wait::Transaction).await), "A2");
    assert_eq!(world.saved().await.client_refused, None);
}

#[tokio::test(start_paused = true)]
async fn p11_a_token_that_has_not_ended_stays_in_use_when_the_client_is_refused() {
    let world = world(1_057, Duration::ZERO, vec![client_refused()]).await;
    // In its last moments, for a process that has not used it before, and for one that finds the note.
    for credential in [world.another_process(), world.another_process()] {
        assert_eq!(token(&credential.access_token(Wait::Transaction).await), "A1");
    }
    // Unless the server refuses it.
    let outcome = world.another_process().recover(&a("A1"), Wait::Transaction).await;
    assert!(matches!(outcome, Err(CredentialError::ClientRefused { .. })), "{outcome:?}");
    assert_eq!(world.presented(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn p12_a_new_sign_in_is_renewed_at_once_whatever_became_of_the_client_before_it() {
    let world = world(1_100, Duration::ZERO, vec![client_refused()]).await;
    assert!(world.credential.access_token(Wait::Transaction).await.is_err());
    world.another_process().sign_in(record("B1", "S1")).await.expect("saved");
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A2");
    assert_eq!(world.presented(), ["R1", "S1"]);
}

#[tokio::test(start_paused = true)]
async fn p12_a_sign_out_during_a_refresh_wins() {
    let world = world(1_100, Duration::from_secs(1), vec![]).await;
    let credential = world.credential.clone();
    let call = tokio::spawn(async move { credential.access_token(Wait::Transaction).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let signed_out = world.another_process().sign_out().await.expect("signed out");
    assert!(
        matches!(signed_out, SignOut::SignedOut { revocation: Revocation::Revoked, .. }),
        "{signed_out:?}"
    );
    assert_eq!(token(&call.await.expect("no panic")), "A2");
    assert_eq!(world.store.load(&key()).await.expect("readable"), None);
    assert!(world.another_process().current().is_none());
    let outcome = world.credential.recover(&a("A2"), Wait::Transaction).await;
    assert!(matches!(
        outcome,
        Err(CredentialError::SignInRequired { reason: SignInReason::NotSignedIn, .. })
    ));
    assert_eq!(world.presented(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn p12_what_signed_out_uses_its_token_no_more() {
    let world = world(1_010, Duration::ZERO, vec![]).await;
    assert!(world.credential.current().is_some());
    let signed_out = world.credential.sign_out().await.expect("signed out");
    assert!(matches!(signed_out, SignOut::SignedOut { .. }), "{signed_out:?}");
    assert_eq!(world.credential.current(), None);
    assert!(world.credential.access_token(Wait::Transaction).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn p12_a_sign_in_during_a_refresh_wins() {
    let world = world(1_100, Duration::from_secs(1), vec![]).await;
    let credential = world.credential.clone();
    let call = tokio::spawn(async move { credential.access_token(Wait::Transaction).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let new = Record { expires_at_ms: Some(UnixMs(9_000_000)), ..record("B1", "S1") };
    world.another_process().sign_in(new).await.expect("saved");
    assert!(call.is_finished(), "the refresh in flight was waited for");
    call.await.expect("no panic").expect("a token");
    let saved = world.saved().await;
    assert_eq!(saved.refresh_token, Some(Secret::new("S1")));
    assert!(saved.generation > 2, "the sign-in comes after the refresh");
    assert_eq!(token(&world.credential.recover(&a("A2"), Wait::Transaction).await), "B1");
}

#[tokio::test(start_paused = true)]
async fn p14_a_token_near_its_end_is_used_and_renewed_once_in_the_background() {
    let world = world(1_040, Duration::from_millis(300), vec![]).await;
    for _ in 0..20 {
        assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A1");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(token(&world.credential.access_token(Wait::Transaction).await), "A2");
    assert_eq!(world.presented(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn p17_a_token_refused_right_after_its_exchange_is_not_exchanged_again() {
    let world = world(1_001, Duration::ZERO, vec![]).await;
    let renewed = world.credential.recover(&a("A1"), Wait::Transaction).await.expect("renewed");
    world.credential.refused_again(&renewed);
    tokio::task::yield_now().await;
    for credential in [world.credential.clone(), world.another_process()] {
        let outcome = credential.recover(&renewed, Wait::Transaction).await;
        assert!(
            matches!(
                outcome,
                Err(CredentialError::SignInRequired { reason: SignInReason::RefusedAfterExchange, .. })
            ),
            "{outcome:?}"
        );
    }
    assert_eq!(world.presented(), ["R1"]);
    world.set_time(1_031);
    assert_eq!(token(&world.another_process().recover(&renewed, Wait::Transaction).await), "A3");
}

#[tokio::test(start_paused = true)]
async fn p20_errors_and_debug_texts_show_no_token() {
    let refused = Exchange::Refused { code: "invalid_grant".into() };
    let world = world(1_100, Duration::ZERO, vec![refused]).await;
    let error = world.credential.access_token(Wait::Transaction).await.expect_err("refused");
    let shown = format!("{error} {error:?} {:?} {:?}", world.credential, world.authority);
    for secret in ["A1", "R1"] {
        assert!(!shown.contains(&format!("\"{secret}\"")), "{shown}");
    }
    assert!(error.to_string().contains("linchpin login https://mcp.example.com/mcp"), "{error}");
}
