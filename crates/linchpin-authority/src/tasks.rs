//! Tasks of their own for transactions, which nobody's impatience ends (P7), and the wait for the last of them.

use std::pin::Pin;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// A task that is about to begin.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Begins tasks and counts those that run. What runs them is given: the tokio runtime, or an executor that tests
/// schedules.
#[derive(Clone)]
pub(crate) struct Tasks {
    running: TaskTracker,
    run: fn(Task),
    can_run: fn() -> bool,
}

impl Tasks {
    /// On the tokio runtime of whoever begins one.
    pub(crate) fn on_tokio() -> Self {
        let can_run = || tokio::runtime::Handle::try_current().is_ok();
        Self { can_run, ..Self::on(|task| drop(tokio::spawn(task))) }
    }

    /// On what `run` hands them to, which drives each to its end.
    pub(crate) fn on(run: fn(Task)) -> Self {
        Self { running: TaskTracker::new(), run, can_run: || true }
    }

    /// Whether one can be begun here: on tokio, within a runtime only.
    pub(crate) fn can_begin(&self) -> bool {
        (self.can_run)()
    }

    /// Begins `task`.
    pub(crate) fn begin(&self, task: impl Future<Output = ()> + Send + 'static) {
        (self.run)(Box::pin(self.running.track_future(task)));
    }

    /// Begins `task`; what it gives can be waited for, unless it panicked. Dropping the wait leaves the task alone.
    pub(crate) fn own<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, result) = oneshot::channel();
        self.begin(async move {
            // Nobody may be waiting any more.
            let _ = sender.send(task.await);
        });
        result
    }

    /// Waits until no task runs.
    pub(crate) async fn ended(&self) {
        self.running.close();
        self.running.wait().await;
    }
}
