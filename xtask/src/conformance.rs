//! `cargo xtask conformance`: the MCP conformance suite against `linchpin-conformance` (`conformance/README.md`).
//!
//! Every scenario that a revision scores has to pass. The others, the extensions among them, have to fail in exactly
//! the checks that `conformance/expected-failures.txt` names: one that fails anew is a step back, one that passes now
//! is to be written down.

mod outcome;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use self::outcome::{Outcome, read, scored};
use crate::node::{install, node};
use crate::run::{build, root, say, shown};

/// The revisions whose requirements are frozen.
const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];
/// Where the suite lies in `node_modules`.
const SUITE: &str = "node_modules/@modelcontextprotocol/conformance";
/// One scenario takes this long at most, in ms; all of them run at once.
const TIMEOUT: &str = "90000";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Write down the failures of scenarios that are not scored as the expected ones
    #[arg(long)]
    bless: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let client = build("linchpin-conformance", "linchpin-conformance")?;
    let suite = Suite::install(client)?;
    let mut failed = Vec::new();
    let mut known = BTreeSet::new();
    for revision in REVISIONS {
        let required = suite.path().join("requirements").join(format!("{revision}.yaml"));
        let required = std::fs::read_to_string(&required)
            .with_context(|| format!("cannot read {}", required.display()))?;
        let scored = scored(&required);
        let outcomes = suite.run(revision)?;
        let passed = scored.iter().filter(|name| report("FAILED", name, outcomes.get(*name))).count();
        print(&format!("{revision}: {passed} passed, {} failed of what is scored", scored.len() - passed));
        if passed < scored.len() || scored.is_empty() {
            failed.push(revision);
        }
        for (name, outcome) in outcomes.iter().filter(|(name, _)| !scored.contains(name)) {
            report("not yet", name, Some(outcome));
            known.extend(outcome.failures.iter().map(|check| format!("{revision} {name} {check}")));
        }
    }
    compare(&suite.directory.join("expected-failures.txt"), &known, options.bless)?;
    if !failed.is_empty() {
        bail!("scored scenarios of {} fail", failed.join(" and "));
    }
    Ok(())
}

/// The installed suite.
struct Suite {
    directory: PathBuf,
    node: PathBuf,
    client: PathBuf,
}

impl Suite {
    fn install(client: PathBuf) -> Result<Self> {
        let directory = root().join("conformance");
        install(&directory)?;
        let node = node(&directory)?;
        Ok(Self { directory, node, client })
    }

    fn path(&self) -> PathBuf {
        self.directory.join(SUITE)
    }

    /// Runs the scenarios of a revision, all at once, and reads what came of each. What the suite itself prints lies beside them.
    fn run(&self, revision: &str) -> Result<outcome::Outcomes> {
        let results = root().join("target/conformance").join(revision);
        if results.exists() {
            std::fs::remove_dir_all(&results)?;
        }
        std::fs::create_dir_all(&results)?;
        let client = self.client.to_str().filter(|path| !path.contains(' '));
        let client = client.context("the suite takes no path with blanks")?;
        let log = std::fs::File::create(results.join("suite.log"))?;
        let mut suite = Command::new(&self.node);
        suite.arg(self.path().join("dist/index.js")).args(["client", "--command", client]);
        suite.args(["--requirements", revision, "--timeout", TIMEOUT, "--output-dir"]).arg(&results);
        suite.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        say(&shown(&suite));
        // Its status says what the outcomes say, with less care.
        suite.status().context("cannot run the suite")?;
        read(&results)
    }
}

/// Prints a line for the scenario; whether it passed.
fn report(otherwise: &str, name: &str, outcome: Option<&Outcome>) -> bool {
    let passed = outcome.is_some_and(|outcome| outcome.passed(name));
    let line = outcome.map_or_else(|| "did not run".to_owned(), ToString::to_string);
    print(&format!("  {} {name}: {line}", if passed { "passed" } else { otherwise }));
    passed
}

/// Compares the failures of what is not scored with those written down.
fn compare(path: &Path, known: &BTreeSet<String>, bless: bool) -> Result<()> {
    const HEAD: &str = "# Checks that fail in scenarios that are not scored: revision, scenario, check.\n\
        # Written by `cargo xtask conformance --bless`.\n";
    if bless {
        let lines: Vec<_> = known.iter().map(String::as_str).collect();
        return Ok(std::fs::write(path, format!("{HEAD}{}\n", lines.join("\n")))?);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let expected: BTreeSet<_> =
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let differences: Vec<_> = known
        .difference(&expected)
        .map(|line| format!("  fails now: {line}"))
        .chain(expected.difference(known).map(|line| format!("  fails no more: {line}")))
        .collect();
    print(&format!(
        "not scored: {} checks fail, {} of them as expected",
        known.len(),
        known.intersection(&expected).count()
    ));
    if differences.is_empty() {
        return Ok(());
    }
    bail!("conformance/expected-failures.txt is not what happened:\n{}", differences.join("\n"));
}

#[expect(clippy::print_stdout, reason = "a program for developers")]
fn print(line: &str) {
    println!("{line}");
}
