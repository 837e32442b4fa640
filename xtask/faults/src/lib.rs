//! `cargo xtask faults`: real processes of the built command against a strict provider, killed at each step of a
//! transaction, ordered by barriers, and left running while processes die (F3, F11, F19, F29).
//!
//! The command is built with the feature `kill-points` and told by `LINCHPIN_AT` what to do at a step. What happened is
//! judged by what the provider counted and by what the next process sees, never by what the dead one said.
#![cfg(unix)]

mod kills;
mod machine;
mod orders;
mod points;
mod random;
mod report;
mod soak;
mod tally;
mod waits;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use linchpin_testkit::session::Session;

use crate::machine::{Kind, VISITOR};
use crate::report::Report;

/// Kill, order and soak real processes of the command
#[derive(Debug, clap::Parser)]
#[command(bin_name = "cargo xtask faults")]
struct Options {
    /// 200 runs a point and 2000 random kills, written to bench/FAULTS.md; without it, a few, and nothing is written
    #[arg(long)]
    full: bool,
    /// Only these parts (repeat): kills, random, orders, waits
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// In place of the rest: bridges with calls going through for this long (60s, 30m), one killed every 10 s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    soak: Option<Duration>,
    /// Of the kills at each point, begin no more after this long (40m); the table says how many there were
    #[arg(long, value_name = "TIME", value_parser = duration)]
    within: Option<Duration>,
    /// How many machines are tried at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The command, built with `--features kill-points`
    #[arg(long, value_name = "FILE")]
    linchpin: PathBuf,
    /// Where the report is; sections of other parts in it stay
    #[arg(long, value_name = "FILE")]
    report: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Kills,
    Random,
    Orders,
    Waits,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write it like 60s or 30m");
    text.parse::<jiff::SignedDuration>().ok().and_then(|time| time.try_into().ok()).ok_or_else(wrong)
}

/// What tells the command what to do at a step.
const VARIABLE: &str = "LINCHPIN_AT";

/// What every part needs.
pub(crate) struct Campaign {
    linchpin: PathBuf,
    jobs: usize,
    full: bool,
    keyring: Option<Session>,
    /// How often the keyring did not answer in time, and was asked again: a machine that is busy, no fault of a refresh.
    silences: Arc<AtomicUsize>,
    begun: Instant,
    within: Option<Duration>,
}

impl Campaign {
    /// The stores of this machine.
    fn kinds(&self) -> Vec<Kind> {
        let keyring = self.keyring.as_ref().map(|_| Kind::Keyring);
        [Kind::File, Kind::Secrets].into_iter().chain(keyring).collect()
    }

    /// Whether no more is to be begun.
    fn is_over(&self) -> bool {
        self.within.is_some_and(|within| self.begun.elapsed() >= within)
    }

    /// How often the keyring was too busy since this was asked last, for a report.
    fn silences(&self) -> String {
        match self.silences.swap(0, Ordering::Relaxed) {
            0 => String::new(),
            times => {
                format!(
                    " The keyring did not answer within 3 s {times} times (exit 5); the process was run again."
                )
            }
        }
    }

    /// Tells whoever waits for a full run how far it is.
    fn progress(&self, how_far: &str) {
        if self.full {
            report::warn(&format!("{:.0} s: {how_far}", self.begun.elapsed().as_secs_f64()));
        }
    }
}

/// The whole program: what the command line asks for, and whether every target was met.
pub fn main() -> ExitCode {
    // As the browser of a sign-in, which gets the page's address as its one argument.
    if std::env::var_os(VISITOR).is_some() {
        return visit();
    }
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::warn(&format!("faults: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn visit() -> ExitCode {
    let Some(page) = std::env::args().nth(1) else { return ExitCode::FAILURE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let visited = runtime.map(|runtime| runtime.block_on(linchpin_testkit::browse(&page)));
    if visited.is_ok_and(|page| page.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(options: &Options) -> Result<()> {
    let linchpin = options.linchpin.canonicalize().context("the command is not there")?;
    if std::fs::read(&linchpin)?.windows(VARIABLE.len()).all(|bytes| bytes != VARIABLE.as_bytes()) {
        bail!("{} does not obey {VARIABLE}; build it with `--features kill-points`", linchpin.display());
    }
    let keyring = options.soak.is_none().then(Session::with_keyring).flatten();
    let campaign = Campaign {
        linchpin,
        jobs: options.jobs.max(1),
        full: options.full,
        keyring,
        silences: Arc::default(),
        begun: Instant::now(),
        within: options.within,
    };
    let mut report = Report::default();
    if let Some(time) = options.soak {
        soak::run(&campaign, time, &mut report)?;
    } else {
        let wanted = |part| options.only.is_empty() || options.only.contains(&part);
        if wanted(Part::Kills) {
            kills::run(&campaign, &mut report)?;
        }
        if wanted(Part::Random) {
            random::run(&campaign, &mut report)?;
        }
        if wanted(Part::Orders) {
            orders::run(&campaign, &mut report)?;
        }
        if wanted(Part::Waits) {
            waits::run(&campaign, &mut report)?;
        }
    }
    report::say(&format!("faults: {:.0} s", campaign.begun.elapsed().as_secs_f64()));
    // The minute that CI takes is no record.
    if options.full || options.soak.is_some_and(|time| time >= Duration::from_secs(600)) {
        report.write(&options.report)?;
    }
    if report.misses() > 0 {
        bail!("{} targets missed", report.misses());
    }
    Ok(())
}
