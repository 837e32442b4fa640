//! What single operations cost: criterion's benches of the crates, run and read back, beside their targets.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::run::{cargo, check, root};

/// A bench binary: its package and its name.
const BINARIES: [(&str, &str); 2] = [("linchpin-authority", "credential"), ("linchpin", "call")];

const READ: &str = "read of a valid token";
const REFRESH: &str = "refresh without contention, without the exchange";
const CALL: &str = "call";
/// The revisions of the protocol that a call is measured in.
const REVISIONS: [&str; 2] = ["2026-07-28", "2025-11-25"];

/// A token is read in less than this, in ns.
const LONGEST_READ_NS: f64 = 100.0;
/// A transaction takes at most this beyond its exchange, in ms.
const LONGEST_TRANSACTION_MS: f64 = 5.0;
/// A call costs at most this much of the same through rmcp with a fixed token.
const MOST_RMCPS: f64 = 1.1;

/// One bench: where criterion keeps it, and its median in ns.
#[derive(Debug)]
pub(super) struct Figure {
    group: &'static str,
    name: String,
    median_ns: f64,
}

/// Runs the benches.
pub(super) fn measure() -> Result<Vec<Figure>> {
    for (package, bench) in BINARIES {
        check(cargo(&["bench", "--locked", "-p", package, "--bench", bench]))?;
    }
    let mut benches: Vec<(&'static str, String)> =
        [(READ, "current"), (READ, "access_token"), (REFRESH, "file"), (REFRESH, "memory")]
            .map(|(group, name)| (group, name.to_owned()))
            .into();
    for revision in REVISIONS {
        benches.extend([ours(revision), theirs(revision)].map(|name| (CALL, name)));
    }
    benches
        .into_iter()
        .map(|(group, name)| {
            let median_ns = median(group, &name)?;
            Ok(Figure { group, name, median_ns })
        })
        .collect()
}

fn ours(revision: &str) -> String {
    format!("McpClient/{revision}")
}

/// rmcp with a client that keeps its connections, as Linchpin's does.
fn theirs(revision: &str) -> String {
    format!("rmcp, fixed token/{revision}")
}

fn median(group: &str, name: &str) -> Result<f64> {
    let path = root().join("target/criterion").join(group).join(name).join("new/estimates.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let estimates: Value = serde_json::from_slice(&text)?;
    estimates["median"]["point_estimate"].as_f64().with_context(|| format!("no median in {}", path.display()))
}

/// The section of the results.
pub(super) fn text(figures: &[Figure]) -> String {
    let of = |group: &str, name: &str| {
        figures
            .iter()
            .find(|figure| (figure.group, figure.name.as_str()) == (group, name))
            .map(|figure| figure.median_ns)
    };
    let mut text = String::from(
        "\n## Single operations\n\nMedians of criterion. The refresh is a whole transaction with one sign-in in the file, \
         fsync included, and a provider that answers at once. The call goes to the same test server in the same run.\n\n\
         | operation | | median |\n| --- | --- | ---: |\n",
    );
    for Figure { group, name, median_ns } in figures {
        let _ = writeln!(text, "| {group} | {name} | {} |", shown(*median_ns));
    }
    text.push('\n');
    let mut targets = vec![
        ("a valid token is read in less than 100 ns".to_owned(), of(READ, "access_token"), LONGEST_READ_NS),
        (
            "a transaction takes at most 5 ms beyond its exchange".to_owned(),
            of(REFRESH, "file").map(|ns| ns / 1e6),
            LONGEST_TRANSACTION_MS,
        ),
    ];
    targets.extend(REVISIONS.map(|revision| {
        let calls = of(CALL, &ours(revision)).zip(of(CALL, &theirs(revision)));
        (
            format!("a call through McpClient ({revision}) costs at most {MOST_RMCPS} times rmcp's with a fixed token"),
            calls.map(|(ours, theirs)| ours / theirs),
            MOST_RMCPS,
        )
    }));
    for (target, measured, bound) in targets {
        let verdict = match measured {
            Some(measured) if measured <= bound => format!("{measured:.2}, met"),
            Some(measured) => format!("{measured:.2}, **not met**"),
            None => "not measured".to_owned(),
        };
        let _ = writeln!(text, "Target: {target}: {verdict}.\n");
    }
    text
}

fn shown(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}
