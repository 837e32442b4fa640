//! Sign-in and sign-out as transactions: what finishes last wins, and a refresh in flight can neither bring back
//! what was signed out nor overwrite a newer sign-in (P12).

use std::sync::Arc;
use std::time::Duration;

use linchpin_oauth::Revocation;
use linchpin_store::history::{How, Phrase, What};
use linchpin_store::steps::{Step, reached};
use linchpin_store::{
    CredentialGuard, KeyringError, LockError, LockHolder, LockRequest, Record, SignInTurn, Store, StoreError,
    StoreKind, UnixMs,
};

use crate::CredentialError;
use crate::credential::Shared;

/// How long a person waits for a refresh in flight.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// How often a transaction is begun whose lock is taken away each time.
const TRIES: usize = 3;

/// What a sign-out achieved.
#[derive(Debug)]
#[non_exhaustive]
pub enum SignOut {
    /// There was no sign-in.
    NotSignedIn,
    /// The record is deleted; the provider answered this to the revocation.
    SignedOut {
        /// What the provider said.
        revocation: Revocation,
        /// Copies in other stores that could not be removed.
        leftovers: Vec<Leftover>,
    },
}

/// A copy of a sign-in that could not be removed from another store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Leftover {
    /// The store.
    pub store: StoreKind,
    /// Why not.
    pub error: Arc<StoreError>,
}

/// Whether the store could take a sign-in: it can be read, and its lock can be had or is held by somebody at work.
pub(crate) async fn ready(shared: &Arc<Shared>) -> Result<(), CredentialError> {
    // A damaged predecessor is what a new sign-in repairs; one of a newer Linchpin is not overwritten (P3).
    if let Err(error @ StoreError::NewerRecord { .. }) = shared.store.load(&shared.key).await {
        return Err(CredentialError::Store(Arc::new(error)));
    }
    shared.store.ready().await.map_err(|error| CredentialError::Store(Arc::new(error)))?;
    match shared.store.lock(&shared.key, LockRequest { purpose: "check", within: Duration::ZERO }).await {
        Ok(_) | Err(LockError::TimedOut { .. }) => Ok(()),
        Err(error) => Err(CredentialError::Lock(Arc::new(error))),
    }
}

/// Runs a transaction of a person's. One that finds its lock taken away has changed nothing, and starts over.
async fn afresh<T, F>(shared: &Shared, mut transaction: impl FnMut() -> F) -> Result<T, CredentialError>
where
    F: Future<Output = Result<T, CredentialError>>,
{
    for _ in 1..TRIES {
        match transaction().await {
            Err(error) if error.is_lost_lock() => shared.tell(None, What::LockLost),
            outcome => return outcome,
        }
    }
    transaction().await
}

/// Whose turn it is to send a person through a browser.
#[derive(Debug)]
#[must_use = "dropping a turn passes it on"]
pub enum Turn {
    /// This process's. To be kept until the sign-in is saved.
    Taken(SignInTurn),
    /// Another process signed in while this one waited, and that serves as well.
    Served(Box<Record>),
}

/// Waits for the turn to sign in to a browser, at most `within`; `busy` is told of a process that has it.
pub(crate) async fn turn(
    shared: &Shared,
    scopes: &[String],
    within: Duration,
    busy: impl FnOnce(Option<&LockHolder>),
) -> Result<Turn, CredentialError> {
    // What cannot be read is nobody's sign-in, and is repaired by the next.
    let load = || async { shared.load().await.ok().flatten() };
    let before = load().await.and_then(|record| record.signed_in_at_ms);
    let turn = match shared.sign_in_turn(Duration::ZERO).await {
        Err(CredentialError::Lock(error)) if !within.is_zero() => match &*error {
            LockError::TimedOut { holder, .. } => {
                busy(holder.as_ref());
                shared.sign_in_turn(within).await?
            }
            _ => return Err(CredentialError::Lock(error)),
        },
        turn => turn?,
    };
    Ok(match load().await {
        Some(record) if serves(before, &record, scopes, shared.clock.now()) => Turn::Served(Box::new(record)),
        _ => Turn::Taken(turn),
    })
}

/// Whether `record` is a sign-in that another process finished after `before` was found, good enough for somebody who
/// wants `scopes`.
fn serves(before: Option<UnixMs>, record: &Record, scopes: &[String], now: UnixMs) -> bool {
    record.signed_in_at_ms.is_some()
        && record.signed_in_at_ms != before
        && (record.is_renewable() || record.is_usable(now))
        && scopes.iter().all(|scope| record.scopes.contains(scope))
}

/// What became of an import.
#[derive(Debug)]
#[non_exhaustive]
pub enum Imported {
    /// It is saved. With it, copies in other stores that could not be removed.
    Saved(Vec<Leftover>),
    /// A sign-in that is alive was there, and was kept.
    Kept(Box<Record>),
}

/// Whether an import may take the place of a sign-in that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replace {
    /// It may: the person said so.
    Always,
    /// Only one that has ended.
    Ended,
}

/// Saves a sign-in that another program made, as a transaction like any other (P12).
pub(crate) async fn import(
    shared: &Arc<Shared>,
    record: Record,
    replace: Replace,
) -> Result<Imported, CredentialError> {
    afresh(shared, || import_once(shared, record.clone(), replace)).await
}

async fn import_once(
    shared: &Arc<Shared>,
    record: Record,
    replace: Replace,
) -> Result<Imported, CredentialError> {
    let guard = shared.lock(LockRequest { purpose: "import", within: LOCK_WAIT }).await?;
    if replace == Replace::Ended
        && let Some(there) = shared.load().await?
        && (there.is_renewable() || there.is_usable(shared.clock.now()))
    {
        return Ok(Imported::Kept(Box::new(there)));
    }
    Ok(Imported::Saved(put(shared, &guard, record, How::Imported).await?))
}

/// Saves `record` as the result of a new sign-in. The browser wait is over by now; no lock spanned it.
pub(crate) async fn sign_in(shared: &Arc<Shared>, record: Record) -> Result<Vec<Leftover>, CredentialError> {
    afresh(shared, || sign_in_once(shared, record.clone())).await
}

async fn sign_in_once(shared: &Arc<Shared>, record: Record) -> Result<Vec<Leftover>, CredentialError> {
    let guard = shared.lock(LockRequest { purpose: "sign-in", within: LOCK_WAIT }).await?;
    put(shared, &guard, record, How::SignedIn).await
}

/// Saves a sign-in in place of whatever is there, and removes copies elsewhere.
async fn put(
    shared: &Arc<Shared>,
    guard: &CredentialGuard,
    mut record: Record,
    how: How,
) -> Result<Vec<Leftover>, CredentialError> {
    // A damaged predecessor is what a new sign-in repairs; a damaged store fails in `save`.
    let predecessor = match shared.store.load(&shared.key).await {
        Ok(predecessor) => predecessor,
        Err(error @ StoreError::NewerRecord { .. }) => return Err(CredentialError::Store(Arc::new(error))),
        Err(_) => None,
    };
    reached(Step::Reread);
    record.generation = predecessor.map_or(1, |predecessor| predecessor.generation + 1);
    record.signed_in_at_ms = Some(shared.clock.now());
    shared.store.save(guard, &record).await.map_err(|error| CredentialError::Store(Arc::new(error)))?;
    reached(Step::MarkCleared);
    shared.current.finish(Some(&record));
    shared.tell_signed_in(&record, how);
    reached(Step::Published);
    let mut leftovers = Vec::new();
    for store in &shared.copies.at_sign_in {
        match store.delete(guard).await {
            Ok(true) => shared.tell(None, What::CopyRemoved { from: store.kind() }),
            Ok(false) => {}
            Err(error) => leftovers.extend(leftover(shared, store.kind(), error)),
        }
    }
    Ok(leftovers)
}

/// What is worth telling. A keyring that is not there in this session is no place where a copy was left.
fn leftover(shared: &Shared, store: StoreKind, error: StoreError) -> Option<Leftover> {
    use KeyringError::{NoCollection, NotBuilt, Unavailable};
    match error {
        StoreError::Keyring(Unavailable(_) | NoCollection | NotBuilt) => None,
        error => Some(left(shared, store, error)),
    }
}

fn left(shared: &Shared, store: StoreKind, error: StoreError) -> Leftover {
    shared.tell(None, What::CopyLeft { from: store, problem: Phrase::new(&error.to_string()) });
    Leftover { store, error: Arc::new(error) }
}

/// Revokes at the provider (bounded), then deletes. Deletes also when the revocation fails.
pub(crate) async fn sign_out(shared: &Arc<Shared>) -> Result<SignOut, CredentialError> {
    afresh(shared, || sign_out_once(shared)).await
}

async fn sign_out_once(shared: &Arc<Shared>) -> Result<SignOut, CredentialError> {
    let guard = shared.lock(LockRequest { purpose: "sign-out", within: LOCK_WAIT }).await?;
    let pinned = remove(shared, &shared.store, &guard)
        .await
        .map_err(|error| CredentialError::Store(Arc::new(error)))?;
    reached(Step::MarkCleared);
    shared.current.finish(None);
    reached(Step::Published);
    let (mut revocation, mut leftovers) = (pinned, Vec::new());
    for store in &shared.copies.at_sign_out {
        match remove(shared, store, &guard).await {
            // What the provider said of the sign-in that was in use is the answer.
            Ok(copy) => revocation = revocation.or(copy),
            Err(error) => leftovers.extend(leftover(shared, store.kind(), error)),
        }
    }
    if let Some(revocation) = &revocation {
        shared.tell_signed_out(revocation);
    }
    Ok(match revocation {
        Some(revocation) => SignOut::SignedOut { revocation, leftovers },
        None => SignOut::NotSignedIn,
    })
}

/// Revokes and deletes what one store has; what the provider said, or `None` when the store has nothing.
async fn remove(
    shared: &Arc<Shared>,
    store: &Arc<dyn Store>,
    guard: &CredentialGuard,
) -> Result<Option<Revocation>, StoreError> {
    let revocation = match store.load(&shared.key).await {
        Ok(None) => return Ok(None),
        // Not revoked when it could not be removed: the sign-in would lie there, ended and looking alive.
        Ok(Some(record)) => {
            reached(Step::Reread);
            store.ready().await?;
            shared.endpoint.revoke(&record).await
        }
        Err(StoreError::DamagedRecord { .. }) => Revocation::Unavailable {
            problem: "cannot be told which token to revoke, the record is damaged".to_owned(),
            retry_after: None,
        },
        Err(error) => return Err(error),
    };
    store.delete(guard).await?;
    Ok(Some(revocation))
}

/// A record that was moved to another store.
#[derive(Debug)]
#[non_exhaustive]
pub struct Moved {
    /// The copy that could not be removed where it was, if it could not.
    pub leftover: Option<Leftover>,
}

/// Moves the record into `target`.
pub(crate) async fn move_to(
    shared: &Arc<Shared>,
    target: &Arc<dyn Store>,
) -> Result<Option<Moved>, CredentialError> {
    afresh(shared, || move_once(shared, target)).await
}

async fn move_once(shared: &Arc<Shared>, target: &Arc<dyn Store>) -> Result<Option<Moved>, CredentialError> {
    let guard = shared.lock(LockRequest { purpose: "move", within: LOCK_WAIT }).await?;
    let failed = |error| CredentialError::Store(Arc::new(error));
    let Some(record) = shared.load().await? else { return Ok(None) };
    target.save(&guard, &record).await.map_err(failed)?;
    // A copy is removed only after the other was seen to be good.
    if target.load(&shared.key).await.map_err(failed)?.as_ref() != Some(&record) {
        return Err(failed(StoreError::Other("the new store does not give back what it was given")));
    }
    shared.current.finish(None);
    shared.tell(Some(record.generation), What::Moved { to: target.kind() });
    let leftover = match shared.store.delete(&guard).await {
        Ok(_) => None,
        Err(error) => Some(left(shared, shared.store.kind(), error)),
    };
    Ok(Some(Moved { leftover }))
}

/// Notes in the record that the server refused `access` right after its own exchange, for every process to see.
pub(crate) async fn note_refusal(shared: &Arc<Shared>, refused: linchpin_store::RefusedToken) {
    shared.tell(None, What::RefusedAfterExchange { access: (&refused.fingerprint).into() });
    let noted = async {
        let guard = shared.lock(LockRequest { purpose: "note", within: LOCK_WAIT }).await?;
        let Some(mut record) = shared.load().await? else { return Ok(()) };
        let known = record.refused.as_ref().is_some_and(|known| known.fingerprint == refused.fingerprint);
        if known || record.access_token.fingerprint() != refused.fingerprint {
            return Ok(());
        }
        record.refused = Some(refused);
        record.generation += 1;
        shared.store.save(&guard, &record).await.map_err(|error| CredentialError::Store(Arc::new(error)))
    };
    if let Err(error) = noted.await {
        tracing::debug!(server = %shared.key, "cannot note a refused token: {error}");
    }
}

/// Whether an access token obtained at `obtained` counts as refused right after its own exchange.
pub(crate) fn is_right_after(obtained: UnixMs, now: UnixMs) -> bool {
    now.since(obtained) < Duration::from_secs(30)
}
