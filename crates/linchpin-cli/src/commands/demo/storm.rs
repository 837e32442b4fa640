//! A storm: real processes that call tools at the same time while something happens to their token.

use std::time::Duration;

use futures::future::join_all;
use linchpin_testkit::process::StdioServer;
use tokio::sync::Barrier;
use tokio::time::Instant;

use super::caller::Caller;
use super::contender::Contender;
use super::round::{Pace, Round};
use super::stage::Stage;
use super::verdict::Outcome;
use crate::failure::Failure;

/// One round of one contender.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storm {
    pub(super) contender: Contender,
    pub(super) round: Round,
    pub(super) processes: u16,
    pub(super) calls: u16,
}

impl Storm {
    /// Starts the processes, lets them call, and ends them. Dropping the future kills them.
    pub(super) async fn run(self, stage: &Stage) -> Result<Outcome, Failure> {
        stage.kit.reset_counts();
        let begun = Instant::now();
        let halfway = Barrier::new(usize::from(self.processes));
        let mut callers = Vec::with_capacity(usize::from(self.processes));
        for _ in 0..self.processes {
            let server = StdioServer::start(self.contender.command(stage)).map_err(|error| {
                Failure::configuration(format!("the demo cannot start a process of its own: {error}"))
            })?;
            callers.push(Caller::new(server));
        }
        let calling =
            (0..).zip(&mut callers).map(|(number, caller)| self.call(number, caller, stage, &halfway));
        join_all(calling).await;
        let elapsed = begun.elapsed();
        let counts = stage.kit.counts();
        let tallies = join_all(callers.into_iter().map(Caller::end)).await;
        Ok(Outcome::new(&counts, &tallies, elapsed))
    }

    /// The calls of one process. All meet halfway, and the round strikes there.
    async fn call(self, process: u16, caller: &mut Caller, stage: &Stage, halfway: &Barrier) {
        let begun = Instant::now();
        for call in 0..self.calls {
            if call == self.calls / 2 {
                if halfway.wait().await.is_leader() {
                    self.round.strike(&stage.kit);
                }
                halfway.wait().await;
            }
            if let Pace::Over(time) = self.round.pace() {
                tokio::time::sleep_until(begun + self.moment(process, call, time)).await;
            }
            caller.call(&format!("{}-{process}-{call}", self.round.id())).await;
        }
    }

    /// When a call is due that is spread over `time`: the processes take turns.
    fn moment(self, process: u16, call: u16, time: Duration) -> Duration {
        let turn = f64::from(process) / f64::from(self.processes);
        time.mul_f64((f64::from(call) + turn) / f64::from(self.calls))
    }
}
