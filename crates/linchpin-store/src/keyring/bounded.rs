//! Calls that end in time, whatever the keyring does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::{Backend, KeyringError};
use crate::Hold;

/// How long one call may take.
const BOUND: Duration = Duration::from_secs(3);

/// A keyring whose calls are bounded. For blocking threads.
#[derive(Debug, Clone)]
pub(crate) struct Bounded {
    backend: Arc<dyn Backend>,
    bound: Duration,
    /// Calls that went on after their bound. While there is one, the next would only hang behind it.
    hanging: Arc<AtomicUsize>,
}

impl Bounded {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, bound: BOUND, hanging: Arc::default() }
    }

    #[cfg(test)]
    pub(crate) fn with_bound(self, bound: Duration) -> Self {
        Self { bound, ..self }
    }

    /// Runs `work` on a thread of its own, for as long as the bound allows. `hold` is kept until the work has ended,
    /// also when that is later.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        hold: Option<Hold>,
        work: impl FnOnce(&dyn Backend) -> Result<T, KeyringError> + Send + 'static,
    ) -> Result<T, KeyringError> {
        if self.hanging.load(Ordering::Acquire) > 0 {
            return Err(KeyringError::TimedOut);
        }
        let (sender, receiver) = sync_channel(1);
        let (backend, hanging) = (Arc::clone(&self.backend), Arc::clone(&self.hanging));
        // Counted from the start, and taken off by whichever side ends the call.
        let thread = std::thread::Builder::new().name("keyring".to_owned()).spawn(move || {
            let outcome = work(&*backend);
            // Before the answer: whoever gets it may ask for the lock again at once.
            drop(hold);
            if sender.send(outcome).is_err() {
                hanging.fetch_sub(1, Ordering::Release);
            }
        });
        if let Err(error) = thread {
            return Err(KeyringError::Failed(format!("no thread for it: {error}")));
        }
        match receiver.recv_timeout(self.bound) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                self.hanging.fetch_add(1, Ordering::Release);
                // It may have ended between the two: then its answer lies in the channel and nobody takes it off.
                if let Ok(outcome) = receiver.try_recv() {
                    self.hanging.fetch_sub(1, Ordering::Release);
                    return outcome;
                }
                Err(KeyringError::TimedOut)
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(KeyringError::Failed("its client panicked".to_owned()))
            }
        }
    }
}
