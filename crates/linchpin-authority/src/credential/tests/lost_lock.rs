//! Somebody removes the lock files while a transaction holds one (F11): the next taker makes a new file, and the
//! token is spent once all the same.
#![expect(clippy::print_stdout, reason = "`--nocapture` shows the figures")]

use std::path::PathBuf;

use linchpin_store::{Directories, FileStore, StoreError, SystemClock};

use super::hooked::{Hooked, Hooks};
use super::*;
use crate::CredentialError;

/// A machine whose file store two processes share.
struct Machine {
    home: tempfile::TempDir,
    endpoint: Arc<Scripted>,
}

impl Machine {
    /// Signed in with `A1`/`R1`, which have ended.
    async fn new(delay: Duration) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let machine = Self { home, endpoint: Arc::new(Scripted { delay, ..Scripted::default() }) };
        machine.process().sign_in(record("A1", "R1")).await.expect("saved");
        machine
    }

    fn directories(&self) -> Directories {
        Directories::under(self.home.path().join("home")).expect("absolute")
    }

    fn process(&self) -> Credential {
        self.process_over(Arc::new(FileStore::new(&self.directories())))
    }

    fn process_over(&self, store: Arc<dyn Store>) -> Credential {
        Authority::new(store, self.endpoint.clone(), Arc::new(SystemClock)).credential(key())
    }

    /// Starts a refresh and waits until the provider has been asked.
    async fn refreshing(&self) -> tokio::task::JoinHandle<Result<AccessToken, CredentialError>> {
        let first = self.process();
        let running = tokio::spawn(async move { first.access_token(Wait::Transaction).await });
        while self.presented().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running
    }

    fn presented(&self) -> Vec<String> {
        lock(&self.endpoint.presented).clone()
    }

    async fn saved(&self) -> Option<Record> {
        FileStore::new(&self.directories()).load(&key()).await.expect("readable")
    }

    fn remove_locks(&self) {
        remove_all(&self.directories().locks());
    }
}

fn remove_all(locks: &std::path::Path) {
    for entry in std::fs::read_dir(locks).expect("readable") {
        std::fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
}

#[tokio::test]
async fn f11_a_lock_removed_during_an_exchange_lets_nobody_spend_the_token_beside_it() {
    let machine = Machine::new(Duration::from_millis(500)).await;
    let first = machine.refreshing().await;
    machine.remove_locks();
    let others = futures_of(3, || {
        let other = machine.process();
        async move { other.access_token(Wait::Transaction).await }
    });
    for other in others {
        assert_eq!(token(&other.await.expect("no panic")), "A2");
    }
    assert_eq!(token(&first.await.expect("no panic")), "A2");
    assert_eq!(machine.presented(), ["R1"], "presented once");
    let saved = machine.saved().await.expect("a record");
    assert_eq!((saved.refresh_token, saved.exchange), (Some(Secret::new("R2")), None));
    println!("f11: the lock file removed during an exchange, 3 other processes: 1 presentation, 0 lost");
}

#[tokio::test]
async fn f11_a_lock_removed_with_its_directory_is_no_other_case() {
    let machine = Machine::new(Duration::from_millis(500)).await;
    let first = machine.refreshing().await;
    std::fs::remove_dir_all(machine.directories().locks()).expect("removed");
    assert_eq!(token(&machine.process().access_token(Wait::Transaction).await), "A2");
    assert_eq!(token(&first.await.expect("no panic")), "A2");
    assert_eq!(machine.presented(), ["R1"]);
}

#[tokio::test]
async fn f11_a_lock_removed_around_the_mark_is_noticed_before_the_token_is_spent() {
    for (removed, marks) in [
        // Nothing was saved under it, so nothing is to be undone.
        (Removed::BeforeFirstSave, &[Some(1), None][..]),
        // Marked, marked anew as a first presentation, saved.
        (Removed::AfterFirstSave, &[Some(1), Some(1), None]),
    ] {
        let machine = Machine::new(Duration::ZERO).await;
        let store = Unlinking::of(&machine, removed);
        let credential = machine.process_over(store.clone());
        assert_eq!(token(&credential.access_token(Wait::Transaction).await), "A2", "{removed:?}");
        assert_eq!(machine.presented(), ["R1"], "{removed:?}");
        assert_eq!(*lock(&store.hooks.sees), marks, "{removed:?}");
    }
}

/// A person's transaction has changed nothing when its lock is taken away, and starts over; any other failure is told.
#[tokio::test]
async fn f11_a_sign_in_starts_over_when_its_lock_is_removed_and_for_nothing_else() {
    for (is_damaged, saves, is_saved) in [(false, 2, true), (true, 1, false)] {
        let machine = Machine::new(Duration::ZERO).await;
        if is_damaged {
            let file = std::fs::File::options().write(true).open(machine.directories().credentials_file());
            file.expect("there").set_len(3).expect("cut");
        }
        let removed = if is_damaged { Removed::AfterFirstSave } else { Removed::BeforeFirstSave };
        let store = Unlinking::of(&machine, removed);
        let outcome = machine.process_over(store.clone()).sign_in(record("B1", "S1")).await;
        assert_eq!(outcome.is_ok(), is_saved, "{outcome:?}");
        assert_eq!(store.hooks.saves.load(Ordering::SeqCst), saves);
    }
}

/// P9: the token waits in memory for as long as the lock is not to be had.
#[tokio::test]
async fn p09_a_new_token_is_saved_once_a_lock_can_be_made_again() {
    let machine = Machine::new(Duration::from_millis(300)).await;
    let first = machine.refreshing().await;
    machine.remove_locks();
    let in_its_place = machine.directories().locks().join(format!("{}.lock", key().digest()));
    std::fs::create_dir(&in_its_place).expect("made");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!first.is_finished() && machine.saved().await.expect("a record").exchange.is_some());
    std::fs::remove_dir(&in_its_place).expect("removed");
    assert_eq!(token(&first.await.expect("no panic")), "A2");
    let saved = machine.saved().await.expect("a record");
    assert_eq!((saved.refresh_token, saved.exchange), (Some(Secret::new("R2")), None));
    assert_eq!(machine.presented(), ["R1"]);
}

#[tokio::test]
async fn p12_a_sign_out_or_sign_in_past_a_removed_lock_wins() {
    let machine = Machine::new(Duration::from_millis(300)).await;
    let first = machine.refreshing().await;
    machine.remove_locks();
    machine.process().sign_out().await.expect("signed out");
    let error = first.await.expect("no panic").expect_err("signed out");
    assert!(
        matches!(error, CredentialError::SignInRequired { reason: SignInReason::NotSignedIn, .. }),
        "{error}"
    );
    assert!(machine.saved().await.is_none(), "nothing is brought back");

    let machine = Machine::new(Duration::from_millis(300)).await;
    let first = machine.refreshing().await;
    machine.remove_locks();
    let again = Record { expires_at_ms: None, ..record("B1", "S1") };
    machine.process().sign_in(again).await.expect("saved");
    assert_eq!(token(&first.await.expect("no panic")), "B1");
    assert_eq!(machine.saved().await.expect("a record").refresh_token, Some(Secret::new("S1")));
}

fn futures_of<F: Future<Output: Send + 'static> + Send + 'static>(
    count: usize,
    make: impl Fn() -> F,
) -> Vec<tokio::task::JoinHandle<F::Output>> {
    (0..count).map(|_| tokio::spawn(make())).collect()
}

/// When the lock files are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removed {
    BeforeFirstSave,
    AfterFirstSave,
}

/// Removes the lock files around the first save through it.
#[derive(Debug)]
struct Unlinking {
    locks: PathBuf,
    removed: Removed,
    saves: AtomicUsize,
    /// The presentations of each saved record's mark.
    sees: Mutex<Vec<Option<u32>>>,
}

impl Unlinking {
    fn of(machine: &Machine, removed: Removed) -> Arc<Hooked<Self>> {
        let locks = machine.directories().locks();
        let hooks = Self { locks, removed, saves: AtomicUsize::new(0), sees: Mutex::default() };
        Hooked::over(FileStore::new(&machine.directories()), hooks)
    }
}

#[async_trait]
impl Hooks for Unlinking {
    async fn save(
        &self,
        beneath: &dyn Store,
        guard: &CredentialGuard,
        record: &Record,
    ) -> Result<(), StoreError> {
        let is_first = self.saves.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first && self.removed == Removed::BeforeFirstSave {
            remove_all(&self.locks);
        }
        beneath.save(guard, record).await?;
        lock(&self.sees).push(record.exchange.as_ref().map(|mark| mark.presentations));
        if is_first && self.removed == Removed::AfterFirstSave {
            remove_all(&self.locks);
        }
        Ok(())
    }
}
