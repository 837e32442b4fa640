//! What came of each scenario, read from the files that the suite writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Scenarios in which a client does right to give up.
const MAY_GIVE_UP: [&str; 8] = [
    "auth/scope-retry-limit",
    "auth/resource-mismatch",
    "auth/iss-supported-missing",
    "auth/iss-wrong-issuer",
    "auth/iss-unexpected",
    "auth/iss-normalized",
    "auth/metadata-issuer-mismatch",
    "http-invalid-tool-headers",
];

/// The outcomes by scenario.
pub(super) type Outcomes = BTreeMap<String, Outcome>;

/// What came of one scenario.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    successes: usize,
    /// The checks that failed.
    pub(super) failures: BTreeSet<String>,
    warnings: BTreeSet<String>,
    /// What the client said when it gave up.
    gave_up: Option<String>,
}

#[derive(Deserialize)]
struct Check {
    id: String,
    status: String,
}

impl Outcome {
    fn new(checks: &str, client: &str) -> Result<Self> {
        let mut outcome = Self { gave_up: client.lines().last().map(str::to_owned), ..Self::default() };
        for Check { id, status } in serde_json::from_str::<Vec<Check>>(checks)? {
            match status.as_str() {
                "SUCCESS" => outcome.successes += 1,
                "FAILURE" => drop(outcome.failures.insert(id)),
                "WARNING" => drop(outcome.warnings.insert(id)),
                _ => {}
            }
        }
        Ok(outcome)
    }

    /// Whether the scenario passed: something was checked, nothing failed, nothing was warned of, and the client did
    /// its work to the end where that is possible. The suite itself asks for less.
    pub(super) fn passed(&self, name: &str) -> bool {
        let ended_well = self.gave_up.is_none() || MAY_GIVE_UP.contains(&name);
        self.successes > 0 && self.failures.is_empty() && self.warnings.is_empty() && ended_well
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} checks passed, {} failed", self.successes, self.failures.len())?;
        let named: Vec<_> = self.failures.union(&self.warnings).map(String::as_str).collect();
        if !named.is_empty() {
            write!(f, " ({})", named.join(", "))?;
        }
        match &self.gave_up {
            Some(why) => write!(f, "; {why}"),
            None => Ok(()),
        }
    }
}

/// Reads every outcome below `results`. A directory is named after its scenario, which may have a slash in it, and the
/// time.
pub(super) fn read(results: &Path) -> Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    let mut directories = vec![results.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            }
        }
        let Ok(checks) = std::fs::read_to_string(directory.join("checks.json")) else { continue };
        let client = std::fs::read_to_string(directory.join("stderr.txt")).unwrap_or_default();
        let name = directory.strip_prefix(results)?.to_str().and_then(scenario).context("no scenario")?;
        let outcome = Outcome::new(&checks, &client).with_context(|| format!("{name} cannot be read"))?;
        outcomes.insert(name, outcome);
    }
    Ok(outcomes)
}

/// `auth/dpop` of `auth/dpop-2026-11-24T11-16-11-126Z`.
fn scenario(directory: &str) -> Option<String> {
    let name = directory.get(..directory.len().checked_sub("-2026-11-24T11-16-11-126Z".len())?)?;
    (directory[name.len()..].starts_with("-2") && directory.ends_with('Z')).then(|| name.to_owned())
}

/// The client scenarios that a revision scores, out of its requirements.
pub(super) fn scored(requirements: &str) -> Vec<String> {
    let lines = requirements.lines().skip_while(|line| line.trim_end() != "client:").skip(1);
    lines.map_while(|line| Some(line.strip_prefix("  - ")?.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scored_is_the_list_of_clients() {
        let text = "# client:\nserver:\n  - ping\n\nclient:\n  - initialize\n  - auth/basic-cimd\n\nnot_scored:\n  - scenario: auth/dpop\n";
        assert_eq!(scored(text), ["initialize", "auth/basic-cimd"]);
        assert!(scored("").is_empty());
    }

    #[test]
    fn a_scenario_passes_when_something_was_checked_and_nothing_failed() {
        let outcome = |checks: &str, client: &str| Outcome::new(checks, client).expect("checks");
        let success = r#"[{"id":"a","status":"SUCCESS"},{"id":"b","status":"INFO"}]"#;
        assert!(outcome(success, "").passed("x"));
        assert!(!outcome(success, "linchpin-conformance: no\n").passed("x"));
        assert!(outcome(success, "linchpin-conformance: no\n").passed("auth/resource-mismatch"));
        assert!(!outcome("[]", "").passed("x"));
        for status in ["FAILURE", "WARNING"] {
            let checks = format!(r#"[{{"id":"a","status":"SUCCESS"}},{{"id":"b","status":"{status}"}}]"#);
            let outcome = outcome(&checks, "");
            assert!(!outcome.passed("x") && outcome.to_string().contains("(b)"), "{outcome}");
        }
        assert!(Outcome::new("{}", "").is_err());
    }

    #[test]
    fn a_directory_is_named_after_its_scenario_and_the_time() {
        assert_eq!(scenario("auth/dpop-2026-11-24T11-16-11-126Z").as_deref(), Some("auth/dpop"));
        assert_eq!(scenario("tools_call-2026-11-24T11-16-11-126Z").as_deref(), Some("tools_call"));
        for other in ["", "auth", "auth/dpop-2026-11-24T11-16-11-126", "x"] {
            assert_eq!(scenario(other), None, "{other}");
        }
    }
}
