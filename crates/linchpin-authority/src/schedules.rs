//! The real transactions under schedules of their awaits that nobody would think of.
//!
//! Each process is an authority of its own over one store and one strict provider; every await of a transaction is a
//! point at which another may go on. Random schedules, and schedules that let few tasks overtake at the worst moments
//! (PCT), are run by `shuttle`, which prints how to replay one that fails. The transactions are not changed for it:
//! only what runs their tasks is another executor.
//!
//! Nothing here sleeps, so pauses of the protocol (a provider out of order, a lock that was taken away) are not
//! explored here; `model` and `histories` have them.
#![expect(clippy::print_stderr, reason = "figures that the report of a test run shows")]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use linchpin_store::{Clock, CredentialKey, PlainHttp, Profile, Record, Secret, ServerUrl, UnixMs};
use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

use crate::tasks::Tasks;
use crate::{
    AccessToken, Authority, Credential, CredentialError, Imported, Replace, SignInReason, SignOut, Wait,
};

mod provider;
mod store;

use provider::{Manners, StrictProvider, grant};
use store::{SteppedStore, UserAction};

/// Schedules of each kind and scenario.
const SCHEDULES: usize = 500;
/// In how many places PCT lets another task overtake.
const DEPTH: usize = 3;

/// Gives everybody else a turn.
async fn turn() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Any number of turns up to `most`, as the schedule has it.
async fn turns(most: usize) {
    for _ in 0..thread_rng().gen_range(0..=most) {
        turn().await;
    }
}

#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> UnixMs {
        UnixMs(1_100_000)
    }
}

/// One machine in one schedule: signed in with `first R0`, whose access token has ended.
#[derive(Clone)]
struct World {
    store: Arc<SteppedStore>,
    provider: Arc<StrictProvider>,
}

fn key() -> CredentialKey {
    let server = ServerUrl::parse("https://mcp.example.com/mcp", PlainHttp::LoopbackOnly).expect("a URL");
    CredentialKey::new(Profile::default(), server)
}

fn first() -> Record {
    crate::credential::tests::record("access of first R0", "first R0")
}

/// What a person brings from the browser.
fn from_browser(name: &str) -> Record {
    let access = format!("browser {name}");
    Record {
        obtained_at_ms: StoppedClock.now(),
        expires_at_ms: Some(UnixMs(9_000_000)),
        ..crate::credential::tests::record(&access, &format!("{name} R0"))
    }
}

impl World {
    fn new(manners: Manners) -> Self {
        let store = Arc::new(SteppedStore::holding(first()));
        Self { store, provider: Arc::new(StrictProvider::new(manners)) }
    }

    fn without_lock() -> Self {
        let store = Arc::new(SteppedStore::holding_without_lock(first()));
        Self { store, provider: Arc::new(StrictProvider::new(Manners::default())) }
    }

    fn process(&self) -> Credential {
        let tasks = Tasks::on(|task| drop(spawn(task)));
        let (store, provider) = (self.store.clone(), self.provider.clone());
        Authority::new(store, provider, Arc::new(StoppedClock)).run_by(tasks).credential(key())
    }

    /// What holds at the end of every schedule, whatever was done.
    fn check(&self) {
        let record = self.store.record();
        let held = record.as_ref().map(|record| {
            let refresh = record.refresh_token.as_ref().expect("a refresh token").expose();
            (record.access_token.expose().to_owned(), grant(refresh).to_owned())
        });
        let books = self.provider.books();
        match self.store.last_user_action() {
            Some(UserAction::SignedIn(access)) => {
                let held = held.as_ref().map(|(access, _)| access);
                assert_eq!(held, Some(&access), "the sign-in that finished last is lost (P12)");
            }
            Some(UserAction::SignedOut) => assert_eq!(held, None, "what was signed out came back (P12)"),
            None => {
                let (_, grant) = held.as_ref().expect("nobody signed out");
                assert_eq!(grant, "first", "nobody signed in");
            }
        }
        assert!(books.at_once <= 1, "{} exchanges at once (P6)", books.at_once);
        assert!(books.rotations <= 1, "{} rotations for one expiry (P6)", books.rotations);
        assert!(books.presented.values().all(|times| *times <= 2), "presented {:?} (P10)", books.presented);
        for record in self.store.deleted() {
            let refresh = record.refresh_token.expect("a refresh token");
            assert!(books.ended.contains(grant(refresh.expose())), "deleted and still good at the provider");
        }
    }

    /// What holds when nothing was lost on the way.
    fn check_without_losses(&self) {
        self.check();
        let books = self.provider.books();
        assert_eq!(books.replays, 0, "a spent token came back");
        assert!(books.presented.values().all(|times| *times == 1), "presented {:?}", books.presented);
    }
}

/// A task that wants a token, and gives up at some moment that the schedule chooses when `impatient`.
fn call(process: &Credential, impatient: bool) -> JoinHandle<Option<Result<AccessToken, CredentialError>>> {
    let process = process.clone();
    spawn(async move {
        let call = process.access_token(Wait::Transaction);
        if impatient { dropped_at_some_turn(call).await } else { Some(call.await) }
    })
}

/// Runs `future`, and drops it at some turn if it has not ended by then.
async fn dropped_at_some_turn<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..thread_rng().gen_range(0..60) {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(outcome) = polled {
            return Some(outcome);
        }
        turn().await;
    }
    None
}

fn sign_in(process: Credential, name: &'static str) -> JoinHandle<()> {
    spawn(async move {
        turns(8).await;
        process.sign_in(from_browser(name)).await.expect("saved");
    })
}

fn import(process: Credential, replace: Replace) -> JoinHandle<Imported> {
    spawn(async move {
        turns(8).await;
        process.import(from_browser("imported"), replace).await.expect("imported")
    })
}

fn sign_out(process: Credential) -> JoinHandle<SignOut> {
    spawn(async move {
        turns(8).await;
        process.sign_out().await.expect("signed out")
    })
}

fn is_token_or_signed_out(outcome: &Result<AccessToken, CredentialError>) -> bool {
    matches!(outcome, Ok(_) | Err(CredentialError::SignInRequired { reason: SignInReason::NotSignedIn, .. }))
}

/// Explores `scenario` under both kinds of schedules; how many were run.
fn explore(name: &str, scenario: impl Fn() + Clone + Send + Sync + 'static) {
    let random = run(RandomScheduler::new(SCHEDULES), scenario.clone());
    let pct = run(PctScheduler::new(DEPTH, SCHEDULES), scenario);
    eprintln!("{name}: {} schedules", random + pct);
    assert_eq!(random + pct, 2 * SCHEDULES);
}

fn run(scheduler: impl Scheduler + 'static, scenario: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    Runner::new(scheduler, config).run(scenario)
}

/// Lets everybody come to the end, and all tasks that nobody waits for.
fn join<T>(tasks: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    tasks.into_iter().map(|task| block_on(task).expect("no panic")).collect()
}

mod scenarios;
