//! The measuring, in rounds that take turns.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::contestant::Contestant;
use super::process::Process;
use crate::run::say;

/// How much is measured.
pub(super) struct Plan {
    /// Starts of each.
    pub(super) starts: usize,
    /// Rounds of calls one at a time.
    pub(super) rounds: usize,
    /// Calls in each.
    pub(super) calls: usize,
    /// After this many rounds memory is noted, to compare with the end.
    pub(super) settled: usize,
    /// Rounds with many in flight.
    pub(super) busy_rounds: usize,
    /// Calls in each.
    pub(super) busy_calls: usize,
}

impl Plan {
    pub(super) const FULL: Self =
        Self { starts: 21, rounds: 10, calls: 1000, settled: 2, busy_rounds: 7, busy_calls: 2000 };
    pub(super) const QUICK: Self =
        Self { starts: 5, rounds: 5, calls: 200, settled: 1, busy_rounds: 3, busy_calls: 500 };
}

pub(super) const IN_FLIGHT: usize = 32;

/// What one contestant did, by round where there are rounds.
#[derive(Default)]
pub(super) struct Measures {
    pub(super) initialized_ms: Vec<f64>,
    pub(super) first_call_ms: Vec<f64>,
    pub(super) p50_ms: Vec<f64>,
    pub(super) p99_ms: Vec<f64>,
    pub(super) per_second: Vec<f64>,
    pub(super) processor_us: Option<f64>,
    pub(super) settled_kib: Option<u64>,
    pub(super) resident_kib: Option<u64>,
    pub(super) peak_kib: Option<u64>,
}

/// A contestant and what came out.
pub(super) struct Measured {
    pub(super) contestant: Contestant,
    /// `None` when it is not installed.
    pub(super) outcome: Option<Result<Measures>>,
}

/// Measures everybody who is there. One that fails is left out from then on.
pub(super) fn all(contestants: Vec<Contestant>, plan: &Plan) -> Vec<Measured> {
    let mut all: Vec<_> = contestants
        .into_iter()
        .map(|contestant| Measured {
            outcome: contestant.version.is_some().then(|| Ok(Measures::default())),
            contestant,
        })
        .collect();
    say(&format!("{} starts of each", plan.starts));
    for round in 0..plan.starts {
        each(&mut all, round, |_, contestant, measures| start(contestant, measures));
    }
    let mut running: Vec<Option<Process>> = all.iter().map(|_| None).collect();
    each(&mut all, 0, |index, contestant, _| {
        running[index] = Some(warmed_up(contestant)?);
        Ok(())
    });
    for round in 0..plan.rounds {
        say(&format!("one at a time, round {} of {}", round + 1, plan.rounds));
        each(&mut all, round, |index, _, measures| {
            let Some(process) = &mut running[index] else { return Ok(()) };
            one_at_a_time(process, plan, measures)?;
            if round + 1 == plan.settled {
                measures.settled_kib = process.memory_kib("VmRSS");
            }
            Ok(())
        });
    }
    each(&mut all, 0, |index, _, measures| {
        measures.resident_kib = running[index].as_ref().and_then(|process| process.memory_kib("VmRSS"));
        Ok(())
    });
    for round in 0..plan.busy_rounds {
        say(&format!("{IN_FLIGHT} in flight, round {} of {}", round + 1, plan.busy_rounds));
        each(&mut all, round, |index, _, measures| {
            let Some(process) = &mut running[index] else { return Ok(()) };
            busy(process, plan, measures)
        });
    }
    each(&mut all, 0, |index, _, measures| {
        measures.peak_kib = running[index].as_ref().and_then(|process| process.memory_kib("VmHWM"));
        Ok(())
    });
    running.into_iter().flatten().for_each(Process::end);
    all
}

/// Everybody's turn; who begins moves on by one with every round.
fn each(
    all: &mut [Measured],
    round: usize,
    mut turn: impl FnMut(usize, &Contestant, &mut Measures) -> Result<()>,
) {
    for position in 0..all.len() {
        let index = (position + round) % all.len();
        let Measured { contestant, outcome } = &mut all[index];
        if let Some(Ok(measures)) = outcome
            && let Err(error) = turn(index, contestant, measures)
        {
            *outcome = Some(Err(error));
        }
    }
}

fn start(contestant: &Contestant, measures: &mut Measures) -> Result<()> {
    let command = contestant.command();
    let since = Instant::now();
    let mut process = Process::start(command)?;
    let (initialized, first_call) = process.within_patience(|process| {
        let initialized = process.initialize(since)?;
        process.call()?;
        Ok((initialized, since.elapsed()))
    })?;
    process.end();
    measures.initialized_ms.push(ms(initialized));
    measures.first_call_ms.push(ms(first_call));
    Ok(())
}

fn warmed_up(contestant: &Contestant) -> Result<Process> {
    let mut process = Process::start(contestant.command())?;
    process.within_patience(|process| {
        process.initialize(Instant::now())?;
        (0..50).try_for_each(|_| process.call().map(drop))
    })?;
    Ok(process)
}

fn one_at_a_time(process: &mut Process, plan: &Plan, measures: &mut Measures) -> Result<()> {
    let before = process.processor_time();
    let mut taken: Vec<_> = process
        .within_patience(|process| (0..plan.calls).map(|_| process.call().map(ms)).collect::<Result<_>>())?;
    if let (Some(before), Some(after)) = (before, process.processor_time()) {
        let each =
            after.saturating_sub(before).as_secs_f64() * 1e6 / (count(plan.calls) * count(plan.rounds));
        *measures.processor_us.get_or_insert(0.0) += each;
    }
    measures.p50_ms.push(percentile(&mut taken, 50));
    measures.p99_ms.push(percentile(&mut taken, 99));
    Ok(())
}

fn busy(process: &mut Process, plan: &Plan, measures: &mut Measures) -> Result<()> {
    let taken = process.within_patience(|process| process.calls(plan.busy_calls, IN_FLIGHT))?;
    measures.per_second.push(count(plan.busy_calls) / taken.as_secs_f64());
    Ok(())
}

/// The nearest rank; 0 of nothing.
pub(super) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(0.0)
}

pub(super) fn median(values: &[f64]) -> f64 {
    percentile(&mut values.to_vec(), 50)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
fn count(count: usize) -> f64 {
    count as f64
}
