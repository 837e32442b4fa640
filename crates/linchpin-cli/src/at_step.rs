//! What `LINCHPIN_AT` says happens at a step of a transaction (feature `kill-points`, which no release has).
//!
//! ```text
//! LINCHPIN_AT="marked,renamed=kill"                 at the first `renamed` after `marked`, die by SIGKILL
//! LINCHPIN_AT="renamed,renamed=stop"                at the second `renamed`, stop as if by SIGSTOP
//! LINCHPIN_AT="locked=wait:/tmp/a"                  make `/tmp/a.reached`, then wait until there is `/tmp/a.go`
//! LINCHPIN_AT="locked=wait:/tmp/a;received=kill"    both
//! ```

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linchpin_store::steps::{Step, at_each};
use rustix::process::{Signal, getpid, kill_process};

use crate::failure::Failure;

const VARIABLE: &str = "LINCHPIN_AT";

/// How often somebody who waits looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Has the process do what the environment says.
pub(crate) fn obey() -> Result<(), Failure> {
    let Some(text) = crate::app::variable(VARIABLE) else { return Ok(()) };
    let orders = text.split(';').map(Order::parse).collect::<Option<Vec<_>>>();
    let orders =
        orders.ok_or_else(|| Failure::usage(format!("{VARIABLE} is `{text}`, which says nothing")))?;
    let orders = Arc::new(orders);
    at_each(move |step| orders.iter().for_each(|order| order.reached(step)));
    Ok(())
}

/// What happens once when these steps have been reached, one after the other.
#[derive(Debug)]
struct Order {
    path: Vec<Step>,
    come: AtomicUsize,
    act: Act,
}

#[derive(Debug, PartialEq, Eq)]
enum Act {
    Kill,
    Stop,
    Wait(PathBuf),
}

impl Order {
    fn parse(text: &str) -> Option<Self> {
        let (path, act) = text.split_once('=')?;
        let path = path.split(',').map(Step::from_name).collect::<Option<_>>()?;
        let act = match act.split_once(':') {
            None if act == "kill" => Act::Kill,
            None if act == "stop" => Act::Stop,
            Some(("wait", file)) => Act::Wait(file.into()),
            _ => return None,
        };
        Some(Self { path, come: AtomicUsize::new(0), act })
    }

    fn reached(&self, step: Step) {
        let come = self.come.load(Ordering::SeqCst);
        if self.path.get(come) == Some(&step) {
            self.come.store(come + 1, Ordering::SeqCst);
            if come + 1 == self.path.len() {
                self.act.perform();
            }
        }
    }
}

impl Act {
    fn perform(&self) {
        match self {
            Self::Kill => signal(Signal::KILL),
            Self::Stop => signal(Signal::STOP),
            Self::Wait(file) => {
                let named = |end: &str| {
                    let mut name = file.clone().into_os_string();
                    name.push(end);
                    PathBuf::from(name)
                };
                if let Err(error) = std::fs::File::create(named(".reached")) {
                    crate::output::note(format!("{VARIABLE}: {error}"));
                }
                while !named(".go").exists() {
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// Sends itself a signal, and lets nothing happen before it has arrived.
fn signal(signal: Signal) {
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = kill_process(getpid(), signal);
    std::thread::sleep(if signal == Signal::KILL { Duration::from_secs(60) } else { Duration::ZERO });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_carried_out_at_the_end_of_its_path_and_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a");
        let order = format!("renamed,marked,renamed=wait:{}", file.display());
        let order = Order::parse(&order).expect("an order");
        let reached = directory.path().join("a.reached");
        std::fs::File::create(directory.path().join("a.go")).expect("made");
        for step in [Step::Marked, Step::Renamed, Step::Renamed, Step::Marked, Step::Synced] {
            order.reached(step);
            assert!(!reached.exists(), "{step}");
        }
        order.reached(Step::Renamed);
        assert!(reached.exists());
        std::fs::remove_file(&reached).expect("removed");
        order.reached(Step::Renamed);
        assert!(!reached.exists(), "once");
    }

    #[test]
    fn what_says_nothing_is_no_order() {
        for text in ["", "renamed", "renamed=", "nowhere=kill", "renamed=sing", "renamed=kill:now", "=kill"] {
            assert!(Order::parse(text).is_none(), "{text}");
        }
        assert_eq!(Order::parse("sent=stop").expect("an order").act, Act::Stop);
    }
}
