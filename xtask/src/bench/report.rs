//! `bench/RESULTS.md`: the figures, and whether they meet the targets.

use std::fmt::Write as _;
use std::process::Command;

use super::contestant::{Contestant, FLOOR, HEADER, HYPER, LINCHPIN, SIGNED_IN};
use super::measure::{IN_FLIGHT, Measured, Measures, Plan, median};
use super::micro::{self, Figure};
use super::stores::{self, Cost};
use crate::run::root;

/// A call's p50, in floors.
const MOST_FLOORS: f64 = 1.4;
/// From start to the first answer, in ms.
const LONGEST_START_MS: f64 = 30.0;
/// Resident memory, in MB.
const MOST_MB: f64 = 12.0;
/// Calls per second, in those of hyper-mcp-remote.
const LEAST_HYPERS: f64 = 2.0;

/// The load average of the last minute: whether anything else was going on.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// The whole file. `load` is the [`load()`] before the measuring.
pub(super) fn text(
    all: &[Measured],
    stores: &[Cost],
    operations: &[Figure],
    plan: &Plan,
    load: &str,
) -> String {
    let mut text = String::from("# Measured side by side\n\n");
    text.push_str("Written by `cargo xtask bench`; every figure is from one run of it.\n\n");
    text.push_str(&circumstances(load));
    text.push_str(&method(plan));
    text.push_str("\n## Targets\n\n");
    text.push_str(&targets(all));
    text.push_str("\n## Calls\n\n");
    text.push_str(&calls(all));
    text.push_str("\n## Start and memory\n\n");
    text.push_str(&start_and_memory(all, plan));
    for Measured { contestant, outcome } in all {
        if let Some(Err(error)) = outcome {
            let _ = writeln!(text, "\n{} ({}) failed: {error:#}", contestant.name, contestant.authorization);
        }
    }
    if !stores.is_empty() {
        text.push_str(&stores::text(stores));
    }
    if !operations.is_empty() {
        text.push_str(&micro::text(operations));
    }
    text.push_str(
        "\n## Again\n\n```\ncargo xtask bench --install-peers   # once: npm, pip and cargo install the peers into \
         target/peers\ncargo xtask bench                   # about three minutes, on a machine that does nothing \
         else\n```\n",
    );
    text
}

/// When, on what, with what.
pub(crate) fn circumstances(load: &str) -> String {
    let says = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(root()).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
    };
    let reads = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = reads("/proc/cpuinfo");
    let processor = processor.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    let processor = processor.split_once(':').map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let unknown = || "unknown".to_owned();
    format!(
        "- {}, commit {}\n- {cores} cores ({processor}), Linux {}, load average {load} when the run began\n- {}; node {}; {}\n",
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        says("git", &["describe", "--always", "--dirty"]).unwrap_or_else(unknown),
        reads("/proc/sys/kernel/osrelease").trim(),
        says("rustc", &["--version"]).unwrap_or_else(unknown),
        says("node", &["--version"]).unwrap_or_else(unknown),
        says("python3", &["--version"]).unwrap_or_else(unknown),
    )
}

fn method(plan: &Plan) -> String {
    format!(
        "\nEverybody bridges stdio to the same test server, a process of its own on loopback with plain http, in \
         rounds that take turns: {} starts, {} rounds of {} calls one at a time, {} rounds of {} calls with \
         {IN_FLIGHT} in flight. A figure is the median over rounds, a ratio the median of the ratios within a round. \
         `sign-in` is a sign-in made with `linchpin login`; `header` is an access token given as a header, which \
         spares a peer discovery, token store and renewal: its best case. The floor forwards lines without \
         understanding them.\n",
        plan.starts, plan.rounds, plan.calls, plan.busy_rounds, plan.busy_calls
    )
}

fn targets(all: &[Measured]) -> String {
    let linchpin = of(all, LINCHPIN, SIGNED_IN);
    let rows = [
        (
            format!("p50 of a call at most {MOST_FLOORS} times the floor"),
            ratio(linchpin, of(all, FLOOR, HEADER), |measures| &measures.p50_ms),
            "times",
            Bound::AtMost(MOST_FLOORS),
        ),
        (
            format!("start to first answer under {LONGEST_START_MS} ms"),
            linchpin.map(|linchpin| median(&linchpin.initialized_ms)),
            "ms",
            Bound::Under(LONGEST_START_MS),
        ),
        (
            format!("memory under {MOST_MB} MB after the calls"),
            linchpin.and_then(|linchpin| linchpin.resident_kib).map(mb),
            "MB",
            Bound::Under(MOST_MB),
        ),
        (
            format!("calls per second with {IN_FLIGHT} in flight at least {LEAST_HYPERS} times {HYPER}'s"),
            ratio(linchpin, of(all, HYPER, HEADER), |measures| &measures.per_second),
            "times",
            Bound::AtLeast(LEAST_HYPERS),
        ),
    ];
    let mut text = String::from("| target (linchpin, with a sign-in) | measured | |\n| --- | ---: | --- |\n");
    for (target, measured, unit, bound) in rows {
        let _ = match measured {
            Some(measured) => {
                writeln!(text, "| {target} | {measured:.2} {unit} | {} |", bound.verdict(measured))
            }
            None => writeln!(text, "| {target} | | not measured |"),
        };
    }
    text
}

enum Bound {
    AtMost(f64),
    Under(f64),
    AtLeast(f64),
}

impl Bound {
    fn verdict(&self, measured: f64) -> &'static str {
        let met = match *self {
            Self::AtMost(bound) => measured <= bound,
            Self::Under(bound) => measured < bound,
            Self::AtLeast(bound) => measured >= bound,
        };
        if met { "met" } else { "**not met**" }
    }
}

fn calls(all: &[Measured]) -> String {
    let floor = of(all, FLOOR, HEADER);
    let hyper = of(all, HYPER, HEADER);
    let mut text = format!(
        "| | version | authorization | p50, ms | p99, ms | p50 to the floor's | processor time, µs | calls/s, \
         {IN_FLIGHT} in flight | to hyper's |\n| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for measured in all {
        row(&mut text, measured, 6, |measures| {
            let some = Some(measures);
            vec![
                format!("{:.3}", median(&measures.p50_ms)),
                format!("{:.3}", median(&measures.p99_ms)),
                times(ratio(some, floor, |measures| &measures.p50_ms)),
                measures.processor_us.map_or_else(String::new, |us| format!("{us:.0}")),
                format!("{:.0}", median(&measures.per_second)),
                times(ratio(some, hyper, |measures| &measures.per_second)),
            ]
        });
    }
    text.push_str("\nProcessor time is the contestant's own, of a call one at a time.\n");
    text
}

fn start_and_memory(all: &[Measured], plan: &Plan) -> String {
    let mut text = format!(
        "| | version | authorization | start to first answer, ms | to the first call's answer, ms | memory after {} \
         calls, MB | grown since call {}, KiB | peak after {} calls with {IN_FLIGHT} in flight, MB |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        plan.rounds * plan.calls,
        plan.settled * plan.calls,
        plan.busy_rounds * plan.busy_calls,
    );
    for measured in all {
        row(&mut text, measured, 5, |measures| {
            let megabytes = |kib: Option<u64>| kib.map_or_else(String::new, |kib| format!("{:.1}", mb(kib)));
            let grown = measures.resident_kib.zip(measures.settled_kib);
            vec![
                format!("{:.1}", median(&measures.initialized_ms)),
                format!("{:.1}", median(&measures.first_call_ms)),
                megabytes(measures.resident_kib),
                grown.map_or_else(String::new, |(after, before)| {
                    format!("{:+}", i128::from(after) - i128::from(before))
                }),
                megabytes(measures.peak_kib),
            ]
        });
    }
    text
}

/// A row of `columns` figures; of nothing but the reason when there are none.
fn row(text: &mut String, one: &Measured, columns: usize, figures: impl FnOnce(&Measures) -> Vec<String>) {
    let Contestant { name, authorization, version, .. } = &one.contestant;
    let figures = match &one.outcome {
        Some(Ok(measures)) => figures(measures),
        Some(Err(_)) => [vec!["failed".to_owned()], vec![String::new(); columns - 1]].concat(),
        None => [vec!["not installed".to_owned()], vec![String::new(); columns - 1]].concat(),
    };
    let version = version.as_deref().unwrap_or_default();
    let _ = writeln!(text, "| {name} | {version} | {authorization} | {} |", figures.join(" | "));
}

fn of<'a>(all: &'a [Measured], name: &str, authorization: &str) -> Option<&'a Measures> {
    let measured = all.iter().find(|measured| measured.contestant.is(name, authorization))?;
    measured.outcome.as_ref()?.as_ref().ok()
}

/// The median of the ratios within a round.
fn ratio(
    one: Option<&Measures>,
    other: Option<&Measures>,
    figure: fn(&Measures) -> &Vec<f64>,
) -> Option<f64> {
    let ratios: Vec<_> = figure(one?).iter().zip(figure(other?)).map(|(one, other)| one / other).collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^52 KiB")]
fn mb(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
