//! At most one refresh of a sign-in runs in a process; whoever wants a token meanwhile waits for its result.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Credential, Shared, lock};
use crate::decide::Cause;
use crate::{AccessToken, CredentialError, Wait, refresh};

/// After a background renewal failed, the next request that could start one waits this long.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

impl Credential {
    /// Joins the running transaction or starts one, and waits for its result at most `wait`.
    pub(super) async fn transact(&self, cause: Cause, wait: Wait) -> Result<AccessToken, CredentialError> {
        loop {
            let (joined, mut result) = self.join_or_start(&cause);
            let waited = async {
                let result = result.wait_for(Option::is_some).await;
                result.map_or_else(|_| None, |result| result.clone())
            };
            let outcome = match wait {
                Wait::Transaction => waited.await,
                Wait::Until(end) => match tokio::time::timeout_at(end, waited).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Err(CredentialError::TimedOut { key: Box::new(self.0.key.clone()) }),
                },
            };
            match outcome {
                Some(Ok(token)) if cause.known() != Some(token.fingerprint()) || joined == cause => {
                    return Ok(token);
                }
                Some(Err(error)) => return Err(error),
                // It ran for another reason and kept the token that this caller cannot use, or it panicked.
                Some(Ok(_)) => {}
                None => return Err(CredentialError::Interrupted { key: Box::new(self.0.key.clone()) }),
            }
        }
    }

    fn join_or_start(&self, cause: &Cause) -> (Cause, Outcome) {
        let mut running = lock(&self.0.running);
        if let Some(running) = running.as_ref() {
            return (running.cause.clone(), running.result.clone());
        }
        let (sender, result) = watch::channel(None);
        *running = Some(Running { cause: cause.clone(), result: result.clone() });
        // Whatever runs tasks may do so at once.
        drop(running);
        // Made before there is a task: one that never runs, or is dropped with its runtime, is cleared all the same.
        let clear = Clear { shared: Arc::clone(&self.0), result: result.clone() };
        let owned_cause = cause.clone();
        self.0.tasks.begin(async move {
            // After the guard, so that whoever learns that it was cut off finds it cleared.
            let (clear, sender) = (clear, sender);
            let outcome = refresh::refresh(&clear.shared, &owned_cause).await;
            drop(clear);
            if sender.receiver_count() == 0
                && let Err(error) = &outcome
            {
                tracing::warn!("{error}");
            }
            let _ = sender.send(Some(outcome));
        });
        (cause.clone(), result)
    }

    pub(super) fn renew_in_background(&self, token: &AccessToken) {
        if !self.0.tasks.can_begin() {
            return;
        }
        let mut not_before = lock(&self.0.current.renew_not_before);
        let now = Instant::now();
        if not_before.is_some_and(|not_before| now < not_before) || lock(&self.0.running).is_some() {
            return;
        }
        *not_before = Some(now + RENEWAL_PAUSE);
        drop(not_before);
        let _ = self.join_or_start(&Cause::Ended(Some(token.fingerprint().clone())));
    }
}

type Outcome = watch::Receiver<Option<Result<AccessToken, CredentialError>>>;

/// The refresh that runs in this process.
pub(super) struct Running {
    cause: Cause,
    result: Outcome,
}

/// Whatever a run comes to, the next caller starts another.
struct Clear {
    shared: Arc<Shared>,
    result: Outcome,
}

impl Drop for Clear {
    fn drop(&mut self) {
        let mut running = lock(&self.shared.running);
        running.take_if(|running| running.result.same_channel(&self.result));
    }
}
