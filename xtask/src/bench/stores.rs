//! What the aggregate stores cost as they fill: figures of `linchpin-authority`'s example `store_cost`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::run::cargo;

/// A refresh with a thousand sign-ins in the file may take this long beyond its exchange, in ms.
const LONGEST_REFRESH_MS: f64 = 20.0;

/// One row.
#[derive(Debug, Deserialize)]
pub(super) struct Cost {
    store: String,
    records: u32,
    load_ms: f64,
    save_ms: f64,
    refresh_ms: f64,
}

/// Runs the example.
pub(super) fn measure() -> Result<Vec<Cost>> {
    let mut command =
        cargo(&["run", "-q", "--release", "-p", "linchpin-authority", "--example", "store_cost"]);
    let output = command.output().context("cannot run the example store_cost")?;
    if !output.status.success() {
        bail!("the example store_cost failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).context("a row of store_cost")).collect()
}

/// The section of the results.
pub(super) fn text(costs: &[Cost]) -> String {
    let mut text = String::from(
        "\n## Sign-ins in one file\n\nMedians of 15, with fsync of file and directory. A refresh is the whole transaction \
         without its exchange: two reads, the mark, the new tokens.\n\n| store | sign-ins | load, ms | save, ms | \
         refresh, ms |\n| --- | ---: | ---: | ---: | ---: |\n",
    );
    for Cost { store, records, load_ms, save_ms, refresh_ms } in costs {
        let _ = writeln!(text, "| {store} | {records} | {load_ms:.2} | {save_ms:.2} | {refresh_ms:.2} |");
    }
    text.push('\n');
    for Cost { store, refresh_ms, .. } in costs.iter().filter(|cost| cost.records == 1_000) {
        let verdict = if *refresh_ms < LONGEST_REFRESH_MS { "met" } else { "**not met**" };
        let _ = writeln!(
            text,
            "Target: a refresh with 1,000 sign-ins in `{store}` under {LONGEST_REFRESH_MS} ms: {refresh_ms:.1} ms, {verdict}.\n"
        );
    }
    text
}
