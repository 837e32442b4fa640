//! What the history is told: the decision, its reason, and what followed, in the order in which it happened.

use linchpin_store::history::{Cause as Why, MemoryHistory, Outcome, Reason, What};
use linchpin_store::{LockError, StoreKind};

use super::*;

/// A process whose history is kept.
struct Told {
    world: World,
    history: Arc<MemoryHistory>,
    credential: Credential,
}

async fn told(at_s: u64, script: Vec<Exchange>) -> Told {
    told_with(at_s, script, Copies::default()).await
}

async fn told_with(at_s: u64, script: Vec<Exchange>, copies: Copies) -> Told {
    let world = world(at_s, Duration::from_millis(300), script).await;
    let history = Arc::new(MemoryHistory::default());
    let (endpoint, clock, recorder) = (world.endpoint.clone(), world.clock.clone(), history.clone());
    let store = Arc::new(world.store.clone());
    let credential = Authority::of_installation(store, endpoint, clock, copies, recorder).credential(key());
    Told { world, history, credential }
}

impl Told {
    async fn token(&self) -> Result<AccessToken, CredentialError> {
        self.credential.access_token(Wait::Transaction).await
    }

    fn events(&self) -> Vec<What> {
        self.history.events().into_iter().map(|event| event.what).collect()
    }

    /// The events in words: their kind, and the fields that decide.
    fn story(&self) -> Vec<String> {
        self.events().iter().map(in_words).collect()
    }
}

fn in_words(what: &What) -> String {
    let json = serde_json::to_value(what).expect("JSON");
    let fields = ["kind", "cause", "presentations", "outcome", "next", "reason", "code", "failed_saves"];
    let words = fields.iter().filter_map(|field| json.get(field));
    words
        .map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned))
        .collect::<Vec<_>>()
        .join(" ")
}

fn unknown() -> Exchange {
    Exchange::Unknown { problem: "closed the connection without an answer".into() }
}

fn refused() -> Exchange {
    Exchange::Refused { code: "invalid_grant".into() }
}

fn unavailable(retry_after: u64) -> Exchange {
    let retry_after = Some(Duration::from_secs(retry_after));
    Exchange::Unavailable { problem: "answered 503".into(), retry_after }
}

#[tokio::test(start_paused = true)]
async fn each_outcome_is_told_with_what_follows() {
    let rotated = "exchange_ended 1 rotated save";
    for (script, expected) in [
        (vec![], vec!["exchange_begun ended 1", rotated, "renewed"]),
        (
            vec![unknown()],
            vec![
                "exchange_begun ended 1",
                "exchange_ended 1 unknown repeat",
                "exchange_begun ended 2",
                "exchange_ended 2 rotated save",
                "renewed",
            ],
        ),
        (
            vec![unknown(), unknown()],
            vec![
                "exchange_begun ended 1",
                "exchange_ended 1 unknown repeat",
                "exchange_begun ended 2",
                "exchange_ended 2 unknown give_up",
                "sign_in_required outcome_unknown",
            ],
        ),
        (
            vec![refused()],
            vec![
                "exchange_begun ended 1",
                "exchange_ended 1 refused bury invalid_grant",
                "sign_in_required refused invalid_grant",
            ],
        ),
        (
            vec![client_refused()],
            vec!["exchange_begun ended 1", "exchange_ended 1 client_refused keep invalid_client"],
        ),
        (
            vec![Exchange::NotSent { problem: "refused the connection".into() }],
            vec!["exchange_begun ended 1", "exchange_ended 1 not_sent again", rotated, "renewed"],
        ),
        (vec![unavailable(60)], vec!["exchange_begun ended 1", "exchange_ended 1 unavailable give_up"]),
    ] {
        let told = told(1_100, script).await;
        let _ = told.token().await;
        assert_eq!(told.story(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_what_was_asked_for_are_told() {
    let told = told(1_100, vec![unavailable(60)]).await;
    assert!(told.token().await.is_err());
    let What::ExchangeEnded { tries, retry_after_ms, pause_ms, ref problem, .. } = told.events()[1] else {
        panic!("{:?}", told.events())
    };
    assert_eq!((tries, retry_after_ms, pause_ms), (1, Some(60_000), Some(60_000)));
    assert_eq!(problem.as_ref().expect("told").as_str(), "answered 503");
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_an_exchange_is_told() {
    for (at_s, cause) in
        [(1_100, Why::Ended), (1_050, Why::NearEnd), (1_001, Why::Refused), (4_000, Why::Short)]
    {
        let told = told(at_s, vec![]).await;
        if cause == Why::Short {
            // Far from its end, and in the second half of its life.
            let record = Record { expires_at_ms: Some(UnixMs(4_600_000)), ..record("A1", "R1") };
            told.credential.sign_in(record).await.expect("saved");
        }
        let before = told.token().await.expect("a token");
        match cause {
            Why::Refused => drop(told.credential.recover(&before, Wait::Transaction).await),
            Why::Short => {
                let needed = Duration::from_secs(1_000);
                drop(told.credential.access_token_for(needed, Wait::Transaction).await);
            }
            // The first call reads the record, and the second finds the token near its end.
            Why::NearEnd => {
                told.token().await.expect("still good");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            _ => {}
        }
        let begun = told.events().into_iter().find_map(|what| match what {
            What::ExchangeBegun { cause, .. } => Some(cause),
            _ => None,
        });
        assert_eq!(begun, Some(cause));
    }
}

#[tokio::test(start_paused = true)]
async fn an_adoption_is_told_and_a_read_is_not() {
    let told = told(1_001, vec![]).await;
    let first = told.token().await.expect("a token");
    assert_eq!(told.story(), [""; 0], "a token that was there is read");
    told.world.another_process().recover(&first, Wait::Transaction).await.expect("renewed");
    assert_eq!(told.credential.recover(&first, Wait::Transaction).await.expect("adopted"), a("A2"));
    let adopted =
        What::Adopted { access: a("A2").fingerprint().into(), instead_of: Some(first.fingerprint().into()) };
    assert_eq!(told.events(), std::slice::from_ref(&adopted));

    // One whose token ended, and was renewed by somebody else before it asked.
    let told = self::told(1_001, vec![]).await;
    let ended = told.token().await.expect("a token");
    told.world.set_time(1_090);
    told.world.another_process().recover(&ended, Wait::Transaction).await.expect("renewed");
    told.world.set_time(1_101);
    assert_eq!(told.token().await.expect("adopted"), a("A2"));
    assert_eq!(told.events(), [adopted]);

    // A process that waited for another one, and knew no token before.
    let told = self::told(1_100, vec![]).await;
    let other = told.world.another_process();
    let (_, token) = tokio::join!(other.access_token(Wait::Transaction), told.token());
    assert_eq!(token.expect("adopted"), a("A2"));
    assert_eq!(told.story(), ["adopted"]);
}

#[tokio::test(start_paused = true)]
async fn a_required_sign_in_is_told_once_until_something_else_happens() {
    let told = told(1_100, vec![refused()]).await;
    for _ in 0..10 {
        assert!(told.token().await.is_err());
    }
    assert_eq!(told.story().len(), 3, "{:?}", told.story());
    told.credential.sign_out().await.expect("signed out");
    for _ in 0..10 {
        assert!(told.token().await.is_err());
    }
    assert_eq!(told.story()[3..], ["signed_out", "sign_in_required not_signed_in"]);
}

#[tokio::test(start_paused = true)]
async fn every_reason_for_a_sign_in_is_told_with_its_tokens() {
    let told = told(1_100, vec![]).await;
    let guard = told.world.store.lock(&key(), LOCK).await.expect("free");
    let record = Record { refresh_token: None, ..told.world.saved().await };
    told.world.store.save(&guard, &record).await.expect("saved");
    drop(guard);
    assert!(told.token().await.is_err());
    let access = Some((&record.access_token.fingerprint()).into());
    let expected = What::SignInRequired {
        reason: Reason::NotRenewable,
        code: None,
        token: None,
        access,
        evidence: None,
    };
    assert_eq!(told.events(), [expected]);

    // A token that is refused right after its own exchange.
    let told = self::told(1_100, vec![]).await;
    let token = told.token().await.expect("renewed");
    told.credential.refused_again(&token);
    let again = told.credential.recover(&token, Wait::Transaction).await;
    assert!(matches!(again, Err(CredentialError::SignInRequired { .. })), "{again:?}");
    let story = told.story();
    assert!(story.contains(&"refused_after_exchange".to_owned()), "{story:?}");
    assert_eq!(story.last().expect("told"), "sign_in_required refused_after_exchange");
}

const LOCK: LockRequest = LockRequest { purpose: "test", within: Duration::from_secs(1) };

#[tokio::test(start_paused = true)]
async fn waits_for_a_lock_are_told() {
    let told = told(1_100, vec![]).await;
    let guard = told.world.store.lock(&key(), LOCK).await.expect("free");
    let error = told.token().await.expect_err("held");
    assert!(
        matches!(error, CredentialError::Lock(ref error) if matches!(**error, LockError::TimedOut { .. }))
    );
    let [What::LockTimedOut { waited_ms, ref purpose, .. }] = told.events()[..] else {
        panic!("{:?}", told.events())
    };
    assert_eq!((waited_ms, purpose.as_str()), (50_000, "refresh"));
    let release = async {
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        drop(guard);
    };
    let (token, ()) = tokio::join!(told.token(), release);
    assert_eq!(token.expect("renewed"), a("A2"));
    assert_eq!(
        told.story()[1..],
        ["lock_waited", "exchange_begun ended 1", "exchange_ended 1 rotated save", "renewed"]
    );
    // A short one is nothing to tell.
    told.world.set_time(1_300);
    let guard = told.world.store.lock(&key(), LOCK).await.expect("free");
    let release = async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        drop(guard);
    };
    tokio::join!(told.token(), release).0.expect("renewed");
    assert_eq!(told.story()[5], "exchange_begun ended 1");
}

#[tokio::test(start_paused = true)]
async fn p08_p09_saves_that_fail_are_told() {
    let told = told(1_100, vec![]).await;
    told.world.store.refuse_saves(Some("the disk is full"));
    assert!(told.token().await.is_err());
    let unsaved = |tokens_wait, attempt| What::SaveFailed {
        tokens_wait,
        attempt,
        problem: linchpin_store::history::Phrase::new("the disk is full"),
    };
    assert_eq!(told.events(), [unsaved(false, 1)], "nothing was presented");
    told.world.store.refuse_saves(None);
    let trouble = async {
        while told.world.presented().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        told.world.store.refuse_saves(Some("the disk is full"));
        tokio::time::sleep(Duration::from_millis(400)).await;
        told.world.store.refuse_saves(None);
    };
    tokio::join!(told.token(), trouble).0.expect("saved in the end");
    let events = told.events();
    assert_eq!(in_words(&events[2]), "exchange_ended 1 rotated save");
    assert_eq!(events[3..5], [unsaved(true, 1), unsaved(true, 2)]);
    assert_eq!((in_words(&events[5]), events.len()), ("renewed 2".to_owned(), 6));
}

#[tokio::test(start_paused = true)]
async fn p11_that_the_client_was_refused_is_told_once_with_its_pause() {
    let told = told(1_100, vec![client_refused()]).await;
    for _ in 0..3 {
        assert!(told.token().await.is_err());
    }
    let [_, What::ExchangeEnded { pause_ms, .. }] = told.events()[..] else { panic!("{:?}", told.story()) };
    assert_eq!(pause_ms, Some(30_000));

    // Where a token stays in use, that is told too.
    let told = self::told(1_057, vec![client_refused()]).await;
    assert_eq!(told.token().await.expect("live"), a("A1"));
    assert_eq!(told.story().last().expect("told"), "kept");
}

#[tokio::test(start_paused = true)]
async fn p11_a_token_that_stays_in_use_is_told() {
    // Near its end, and the provider refuses to renew it.
    let told = told(1_050, vec![refused()]).await;
    for _ in 0..2 {
        told.token().await.expect("still good");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let story = told.story();
    assert_eq!(story, ["exchange_begun near_end 1", "exchange_ended 1 refused bury invalid_grant", "kept"]);
}

#[tokio::test(start_paused = true)]
async fn sign_in_move_and_sign_out_are_told_with_their_copies() {
    let other = MemoryStore::new();
    let copy: Arc<dyn Store> = Arc::new(other.clone());
    let copies = Copies { at_sign_in: vec![copy.clone()], at_sign_out: vec![copy.clone()] };
    let told = told_with(1_001, vec![], copies).await;
    let guard = other.lock(&key(), LOCK).await.expect("free");
    other.save(&guard, &record("A0", "R0")).await.expect("saved");
    drop(guard);
    told.credential.sign_in(record("A7", "R7")).await.expect("saved");
    told.credential.move_to(Arc::new(MemoryStore::new())).await.expect("moved");
    told.credential.sign_in(record("A8", "R8")).await.expect("saved");
    told.credential.sign_out().await.expect("signed out");
    told.credential.sign_out().await.expect("nothing to do");
    assert_eq!(told.story(), ["signed_in", "copy_removed", "moved", "signed_in", "signed_out"]);
    assert_eq!(told.events()[1], What::CopyRemoved { from: StoreKind::Memory });
    let event = &told.history.events()[0];
    assert_eq!(
        (event.at_ms, event.generation, event.store),
        (UnixMs(1_001_000), Some(2), Some(StoreKind::Memory))
    );
    assert_eq!((event.pid, event.is_about(&key())), (std::process::id(), true));
}

/// A copy that stays is one more sign-in that somebody can use.
#[tokio::test]
async fn p05_a_copy_that_cannot_be_removed_is_named_and_told() {
    let home = tempfile::tempdir().expect("a directory");
    let directories = linchpin_store::Directories::under(home.path().join("home")).expect("absolute");
    let copy: Arc<dyn Store> = Arc::new(linchpin_store::FileStore::new(&directories));
    let guard = copy.lock(&key(), LOCK).await.expect("free");
    copy.save(&guard, &record("A0", "R0")).await.expect("saved");
    drop(guard);
    let file = std::fs::File::options().write(true).open(directories.credentials_file()).expect("there");
    file.set_len(3).expect("cut");
    let copies = Copies { at_sign_in: vec![copy.clone()], at_sign_out: vec![copy] };
    let told = told_with(1_001, vec![], copies).await;
    let leftovers = told.credential.sign_in(record("A7", "R7")).await.expect("saved all the same");
    assert_eq!(leftovers.iter().map(|left| left.store).collect::<Vec<_>>(), [StoreKind::File]);
    match told.credential.sign_out().await.expect("signed out all the same") {
        SignOut::SignedOut { leftovers, .. } => assert_eq!(leftovers.len(), 1, "{leftovers:?}"),
        SignOut::NotSignedIn => panic!("it was"),
    }
    assert_eq!(told.story(), ["signed_in", "copy_left", "copy_left", "signed_out"]);
}

/// Whatever happens: no token in any line.
#[tokio::test(start_paused = true)]
async fn p20_no_line_of_the_history_has_a_token() {
    for script in [vec![], vec![unknown(), unknown()], vec![refused()], vec![unavailable(1), unknown()]] {
        let told = told(1_100, script).await;
        let long = "planted-".to_owned() + &"x".repeat(60);
        told.credential.sign_in(record(&long, &format!("{long}-refresh"))).await.expect("saved");
        let _ = told.token().await;
        let _ = told.credential.sign_out().await;
        let lines: Vec<_> =
            told.history.events().iter().map(linchpin_store::history::Event::to_line).collect();
        assert!(lines.len() >= 3 && !lines.concat().contains("planted"), "{lines:?}");
        assert!(told.events().iter().all(|what| !matches!(
            what,
            What::ExchangeEnded { outcome: Outcome::Rotated, problem: Some(_), .. }
        )));
    }
}

/// The events before it may be gone: the event itself says who presented the token, and when.
#[tokio::test(start_paused = true)]
async fn p10_a_refusal_after_an_unknown_outcome_names_both_presentations() {
    let told = told(1_100, vec![refused()]).await;
    let guard = told.world.store.lock(&key(), LOCK).await.expect("free");
    let mut once = crate::exchange::marked(record("A1", "R1"), 1, UnixMs(1_090_000));
    once.exchange.as_mut().expect("marked").pid = 7;
    told.world.store.save(&guard, &once).await.expect("saved");
    drop(guard);
    told.token().await.expect_err("refused");
    let Some(What::SignInRequired { evidence: Some(evidence), .. }) = told.events().pop() else {
        panic!("{:?}", told.events())
    };
    let who = |earlier: Option<linchpin_store::history::Earlier>| {
        earlier.map(|earlier| (earlier.pid, earlier.at_ms.0))
    };
    assert_eq!(who(evidence.earlier), Some((7, 1_090_000)));
    assert_eq!(who(evidence.last), Some((std::process::id(), 1_100_000)));
    assert_eq!((evidence.presentations, evidence.tries), (2, 1));
}

/// A mark of a token that is not there any more says nothing about this one.
#[tokio::test(start_paused = true)]
async fn p10_a_mark_of_another_token_is_no_earlier_presentation() {
    for (marked, is_earlier) in [("R1", true), ("R0", false)] {
        let told = told(1_100, vec![]).await;
        let mark = crate::exchange::marked(record("A1", marked), 1, UnixMs(1_090_000)).exchange;
        let guard = told.world.store.lock(&key(), LOCK).await.expect("free");
        let there = Record { exchange: mark, ..record("A1", "R1") };
        told.world.store.save(&guard, &there).await.expect("saved");
        drop(guard);
        assert_eq!(token(&told.token().await), "A2");
        let Some(What::ExchangeBegun { earlier, .. }) = told.events().into_iter().next() else {
            panic!("{:?}", told.events())
        };
        assert_eq!(earlier.is_some(), is_earlier, "{marked}");
    }
}
