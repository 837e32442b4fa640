//! A caller is dropped at every await of a transaction (F4, P7): the transaction goes on to its end, what it obtained
//! is saved, and its lock is free within the bounds of the exchange.
#![expect(clippy::print_stdout, reason = "`--nocapture` shows the figures")]

use std::pin::pin;
use std::task::Poll;

use linchpin_store::{Directories, FileStore, StoreKind};
use proptest::prelude::*;

use self::stage::{EXCHANGE, PROVIDER, Stage, Steps, free_within};
use super::*;

mod stage;

/// What a caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    AccessToken,
    MinValid,
    Recover,
    SignIn,
    SignOut,
    Move,
}

/// What goes wrong meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    AnswerLost,
    Busy,
    SaveFails,
}

impl Trouble {
    fn script(self) -> Vec<Exchange> {
        match self {
            Self::AnswerLost => vec![lost()],
            Self::Busy => vec![busy()],
            Self::None | Self::SaveFails => Vec::new(),
        }
    }

    /// The second save is that of the new token.
    fn failing(self) -> Vec<usize> {
        if self == Self::SaveFails { vec![1, 2] } else { Vec::new() }
    }

    fn presentations(self) -> u32 {
        if matches!(self, Self::AnswerLost | Self::Busy) { 2 } else { 1 }
    }
}

fn lost() -> Exchange {
    Exchange::Unknown { problem: "closed the connection".into() }
}

fn busy() -> Exchange {
    Exchange::Unavailable { problem: "answered 503".into(), retry_after: None }
}

impl Stage {
    /// What a caller does, whatever comes of it.
    async fn ask(&self, credential: Credential, operation: Operation) {
        match operation {
            Operation::AccessToken => drop(credential.access_token(Wait::Transaction).await),
            Operation::MinValid => {
                drop(credential.access_token_for(Duration::from_secs(600), Wait::Transaction).await);
            }
            Operation::Recover => drop(credential.recover(&a("A1"), Wait::Transaction).await),
            Operation::SignIn => {
                let new = Record { expires_at_ms: Some(UnixMs(9_000_000)), ..record("B1", "S1") };
                drop(credential.sign_in(new).await);
            }
            Operation::SignOut => drop(credential.sign_out().await),
            Operation::Move => drop(credential.move_to(Arc::new(self.target.clone())).await),
        }
    }

    /// Every step of it happened, and once; nobody who comes after has to spend anything.
    async fn is_as_if_nobody_was_dropped(&self, operation: Operation, trouble: Trouble) {
        let saved = self.saved().await;
        let refresh = saved.as_ref().and_then(|record| record.refresh_token.as_ref()).map(Secret::expose);
        let next = self.healthy_process().credential(key()).access_token(Wait::Transaction).await;
        match operation {
            Operation::AccessToken | Operation::MinValid | Operation::Recover => {
                assert_eq!(refresh, Some("R2"), "R2 is durable");
                assert_eq!(saved.expect("a record").exchange, None, "and the mark cleared");
                assert_eq!(token(&next), "A2");
                assert_eq!(self.presented(), vec!["R1"; trouble.presentations() as usize]);
            }
            Operation::SignIn => {
                assert_eq!((refresh, token(&next)), (Some("S1"), "B1"));
                assert_eq!(self.presented(), Vec::<String>::new());
            }
            Operation::SignOut => {
                assert!(saved.is_none() && next.is_err(), "{next:?}");
                assert_eq!(self.scripted.revoked.load(Ordering::SeqCst), 1);
            }
            Operation::Move => {
                let moved = self.target.load(&key()).await.expect("readable").expect("a record");
                assert_eq!((saved, moved.refresh_token), (None, Some(Secret::new("R1"))));
            }
        }
    }
}

/// A store to begin with, and what has to outlive it.
fn open(kind: StoreKind) -> (Arc<dyn Store>, Option<tempfile::TempDir>) {
    if kind == StoreKind::Memory {
        return (Arc::new(MemoryStore::new()), None);
    }
    let home = tempfile::tempdir().expect("a directory");
    let directories = Directories::under(home.path().join("home")).expect("absolute");
    (Arc::new(FileStore::new(&directories)), Some(home))
}

/// Runs `operation`, drops its caller at this await, or so much later, and judges. The name of the await and how long
/// the lock was held beyond the drop; `None` when the transaction has no such await.
async fn dropped_at(
    inner: Arc<dyn Store>,
    operation: Operation,
    trouble: Trouble,
    step: usize,
    later: Duration,
) -> Option<(&'static str, Duration)> {
    let steps = Steps::stopping_at(Some(step));
    let stage = Stage::new(inner, Arc::clone(&steps), trouble.script(), trouble.failing()).await;
    let mut caller = Box::pin(stage.ask(stage.authority.credential(key()), operation));
    tokio::select! {
        biased;
        () = steps.stopped.notified() => {}
        () = &mut caller => return None,
    }
    if !later.is_zero() {
        steps.go_on.notify_one();
        let _ = tokio::time::timeout(later, &mut caller).await;
    }
    drop(caller);
    let dropped = Instant::now();
    steps.go_on.notify_one();
    // It goes first: this is about the lock of a transaction that runs, not about one that waits.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let bound = EXCHANGE * (trouble.presentations() + 1);
    let free = stage.inner.lock(&key(), free_within(bound)).await.expect("the lock is free within the bound");
    let held = dropped.elapsed();
    drop(free);
    // What follows the lock (copies elsewhere, a note) is the transaction's too.
    assert!(stage.authority.drain(EXCHANGE).await, "the transaction ends");
    stage.is_as_if_nobody_was_dropped(operation, trouble).await;
    let name = lock(&steps.passed)[step];
    Some((name, held))
}

#[tokio::test(start_paused = true)]
async fn f04_a_caller_dropped_at_any_await_of_any_transaction_loses_nothing() {
    use Operation::{AccessToken, MinValid, Move, Recover, SignIn, SignOut};
    let (mut runs, mut longest) = (0, Duration::ZERO);
    for (store, operation, trouble) in [
        (StoreKind::Memory, AccessToken, Trouble::None),
        (StoreKind::Memory, AccessToken, Trouble::AnswerLost),
        (StoreKind::Memory, AccessToken, Trouble::Busy),
        (StoreKind::Memory, AccessToken, Trouble::SaveFails),
        (StoreKind::Memory, MinValid, Trouble::None),
        (StoreKind::Memory, Recover, Trouble::None),
        (StoreKind::Memory, Recover, Trouble::AnswerLost),
        (StoreKind::Memory, SignIn, Trouble::None),
        (StoreKind::Memory, SignOut, Trouble::None),
        (StoreKind::Memory, Move, Trouble::None),
        // Syncs are what makes these slow.
        (StoreKind::File, AccessToken, Trouble::AnswerLost),
        (StoreKind::File, SignIn, Trouble::None),
        (StoreKind::File, SignOut, Trouble::None),
    ] {
        let mut awaits = Vec::new();
        for step in 0.. {
            let mut at = None;
            // Within the await itself, and in whatever await comes next: the provider's answer, a pause.
            for later in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(10)] {
                let (inner, _home) = open(store);
                at = dropped_at(inner, operation, trouble, step, later).await;
                let Some((_, held)) = at else { break };
                (runs, longest) = (runs + 1, longest.max(held));
            }
            let Some((name, _)) = at else { break };
            awaits.push(name);
        }
        println!(
            "f04: {operation:?}, {trouble:?}, {store} store: dropped at {} awaits: {awaits:?}",
            awaits.len()
        );
        let spends = matches!(operation, AccessToken | MinValid | Recover);
        assert!(awaits.len() >= if spends { 10 } else { 5 }, "every await is seen: {awaits:?}");
        assert_eq!(spends, awaits.contains(&"received"), "{awaits:?}");
    }
    println!(
        "f04: {runs} callers dropped: the outcome durable in {runs}, the lock free at most {} s after the drop \
         (the provider takes {} s, an exchange at most {} s)",
        longest.as_secs(),
        PROVIDER.as_secs(),
        EXCHANGE.as_secs()
    );
}

/// Polls `future` so many times at most, and then drops it; whether it was done by then.
async fn polled(times: usize, future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn f04_a_caller_dropped_after_any_number_of_polls_loses_nothing() {
    use Operation::{AccessToken, MinValid, Move, Recover, SignIn, SignOut};
    let mut runs = 0;
    for operation in [AccessToken, MinValid, Recover, SignIn, SignOut, Move] {
        for polls in 0.. {
            let store = Arc::new(MemoryStore::new());
            let stage = Stage::new(store, Steps::stopping_at(None), Vec::new(), Vec::new()).await;
            let done = polled(polls, stage.ask(stage.authority.credential(key()), operation)).await;
            // A transaction that nobody waits for any more has its time.
            tokio::time::sleep(2 * EXCHANGE).await;
            assert!(stage.authority.drain(Duration::ZERO).await);
            if polls == 0 {
                assert!(lock(&stage.steps.passed).is_empty(), "what was never polled has begun nothing");
            } else {
                stage.is_as_if_nobody_was_dropped(operation, Trouble::None).await;
            }
            runs += 1;
            if done {
                println!("f04: {operation:?}: done at the poll number {polls}, dropped after each before it");
                assert!(polls >= 2, "{operation:?}");
                break;
            }
        }
    }
    println!("f04: {runs} callers polled and dropped, nothing lost");
}

/// One of several callers: of which process, what it asks for, and when it is dropped.
#[derive(Debug, Clone, Copy)]
struct Caller {
    process: usize,
    operation: Operation,
    arrives_ms: u64,
    dropped_at: Option<(usize, u64)>,
}

prop_compose! {
    fn caller()(
        process in 0..2usize,
        operation in prop::sample::select(vec![Operation::AccessToken, Operation::MinValid, Operation::Recover]),
        arrives_ms in prop::sample::select(vec![0, 1, 5_000, 25_000]),
        dropped_at in prop::option::weighted(0.8, (0..24usize, prop::sample::select(vec![0, 1, 100, 10_000]))),
    ) -> Caller {
        Caller { process, operation, arrives_ms, dropped_at }
    }
}

/// What the provider does to one presentation.
fn outcomes() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 0..3)
}

/// Lets the callers loose and judges what is left.
async fn callers_come_and_go(callers: Vec<Caller>, outcomes: Vec<bool>, failing: Vec<usize>) {
    let script: Vec<_> = outcomes.iter().map(|is_lost| if *is_lost { lost() } else { busy() }).collect();
    let lost_answers = outcomes.iter().filter(|is_lost| **is_lost).count();
    let store = Arc::new(MemoryStore::new());
    let stage = Arc::new(Stage::new(store, Steps::stopping_at(None), script, failing).await);
    let processes = [stage.authority.clone(), stage.another_process()];
    let tasks: Vec<_> = callers
        .iter()
        .map(|&Caller { process, operation, arrives_ms, dropped_at }| {
            let (stage, credential) = (Arc::clone(&stage), processes[process].credential(key()));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(arrives_ms)).await;
                let drop = async {
                    match dropped_at {
                        None => std::future::pending().await,
                        Some((step, later_ms)) => {
                            stage.steps.passed(step).await;
                            tokio::time::sleep(Duration::from_millis(later_ms)).await;
                        }
                    }
                };
                tokio::select! {
                    biased;
                    () = drop => {}
                    () = stage.ask(credential, operation) => {}
                    () = tokio::time::sleep(20 * EXCHANGE) => panic!("a caller hangs"),
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    tokio::time::sleep(20 * EXCHANGE).await;
    for process in &processes {
        assert!(process.drain(Duration::ZERO).await, "every transaction ends");
    }
    drop(stage.inner.lock(&key(), free_within(Duration::ZERO)).await.expect("the lock is free"));

    let issued = stage.scripted.exchanges.load(Ordering::SeqCst);
    let saved = stage.saved().await.expect("nothing is deleted");
    let newest = format!("R{}", issued + 1);
    assert_eq!(
        saved.refresh_token.as_ref().map(Secret::expose),
        Some(newest.as_str()),
        "the newest is durable"
    );
    assert!(issued <= 1, "one expiry, {issued} exchanges");
    assert!(stage.endpoint.most_at_once.load(Ordering::SeqCst) <= 1);
    // A presentation that nobody knows the outcome of is made once more, one without effect freely.
    let presented = stage.presented().len();
    assert!(presented <= issued + outcomes.len(), "{presented} presentations");

    // And the sign-in can be used, if two answers were not lost.
    stage.clock.0.store(1_200_000, Ordering::SeqCst);
    let next = stage.healthy_process().credential(key()).access_token(Wait::Transaction).await;
    assert_eq!(next.is_ok(), lost_answers < 2, "{next:?}");
    assert!(stage.presented().iter().filter(|presented| *presented == "R1").count() <= 1 + outcomes.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn f04_whoever_of_several_callers_is_dropped_whenever_nothing_is_lost(
        callers in prop::collection::vec(caller(), 1..6),
        outcomes in outcomes(),
        failing in prop::collection::vec(1..5usize, 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(callers_come_and_go(callers, outcomes, failing));
    }
}
