//! The `linchpin` command. Each subcommand is a file in `commands`; this one starts them and turns what they say
//! into an exit code.

mod app;
mod args;
#[cfg(all(unix, feature = "kill-points"))]
mod at_step;
mod browser;
mod commands;
mod config;
mod failure;
mod output;
mod stdio;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::app::App;
use crate::args::{Cli, Command};
use crate::failure::Failure;

/// How long a refresh that is running may take after everything else is done (P7): its own bounds, and a margin.
const DRAIN: Duration = Duration::from_secs(100);

fn main() -> ExitCode {
    leave_no_core();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage::tell(&error)),
    };
    app::log_to_stderr(&cli.command);
    #[cfg(all(unix, feature = "kill-points"))]
    if let Err(failure) = at_step::obey() {
        output::failure(&failure, false);
        return ExitCode::from(failure.disposition.exit_code());
    }
    let json = cli.command.wants_json();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::configuration(format!("cannot start: {error}")))
        .and_then(|runtime| {
            let outcome = runtime.block_on(run(cli.command));
            // Standard input may be blocked in a read that nothing ends.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::failure(&failure, json);
            ExitCode::from(failure.disposition.exit_code())
        }
    }
}

/// A core dump would hold every token that this process has, and lie about long after it (P20).
fn leave_no_core() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        // Lowering a limit needs no rights; where it fails all the same, nothing else depends on it.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
}

/// Runs a command; when it is interrupted, lets a running refresh end first.
async fn run(command: Command) -> Result<u8, Failure> {
    let app = App::new();
    let interruptible = !matches!(command, Command::Bridge(_));
    let outcome = tokio::select! {
        outcome = commands::run(&app, command) => outcome,
        () = interrupted(), if interruptible => Ok(130),
    };
    if let Some(linchpin) = app.opened()
        && !linchpin.drain(Duration::from_millis(300)).await
    {
        output::note("finishing a refresh that is running; ending it now could cost the sign-in");
        linchpin.drain(DRAIN).await;
    }
    outcome
}

/// Waits for Ctrl-C, or for being told to end: also by a terminal that closes (SIGHUP), since a refresh that is cut off
/// in its exchange can cost the sign-in (P7).
pub(crate) async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        let mut waits = futures::stream::FuturesUnordered::new();
        for kind in kinds {
            // A kind that cannot be waited for does what it always did.
            if let Ok(mut signal) = signal(kind) {
                waits.push(async move { signal.recv().await });
            }
        }
        if futures::StreamExt::next(&mut waits).await.is_none() {
            std::future::pending::<()>().await;
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
