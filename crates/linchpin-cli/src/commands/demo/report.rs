//! What is shown: tables for people, one document for programs.

use linchpin::Disposition;
use serde::Serialize;

use super::contender::Contender;
use super::round::Round;
use super::verdict::Outcome;
use super::{Duration, EXCHANGE};
use crate::args::Demo;
use crate::failure::Failure;
use crate::output;

/// Everything, as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    /// Whether Linchpin's own rounds all came out right.
    pub(super) ok: bool,
    processes: u16,
    calls_per_process: u16,
    exchange_ms: u128,
    linchpin: Rows,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rmcp: Option<Rows>,
}

/// The rounds of one contender.
#[derive(Debug, Serialize)]
pub(super) struct Rows {
    #[serde(skip)]
    contender: Contender,
    /// Sign-ins that a person would have made.
    pub(super) sign_ins: u64,
    rounds: Vec<Row>,
}

/// One round.
#[derive(Debug, Serialize)]
struct Row {
    round: String,
    #[serde(skip)]
    shown: String,
    #[serde(flatten)]
    outcome: Outcome,
    /// What is wrong with it, measured by what Linchpin promises.
    problems: Vec<String>,
}

impl Rows {
    pub(super) fn new(contender: Contender) -> Self {
        Self { contender, sign_ins: 0, rounds: Vec::new() }
    }

    pub(super) fn push(&mut self, round: Round, outcome: Outcome) {
        let expected = round.expected(Duration::from_millis(outcome.elapsed_ms));
        let problems = outcome.problems(&expected).iter().map(ToString::to_string).collect();
        self.rounds.push(Row { round: round.id(), shown: round.to_string(), outcome, problems });
    }

    fn sum(&self, count: impl Fn(&Outcome) -> u64) -> u64 {
        self.rounds.iter().map(|row| count(&row.outcome)).sum()
    }
}

impl Document {
    pub(super) fn new(args: &Demo, linchpin: Rows, rmcp: Option<Rows>) -> Self {
        Self {
            ok: linchpin.rounds.iter().all(|row| row.problems.is_empty()),
            processes: args.processes,
            calls_per_process: args.calls,
            exchange_ms: EXCHANGE.as_millis(),
            linchpin,
            rmcp,
        }
    }

    /// An error that names the first round that did not come out right.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let Some(row) = self.linchpin.rounds.iter().find(|row| !row.problems.is_empty()) else {
            return Ok(());
        };
        let said = row.outcome.first_failure.as_ref().map(|said| format!(" (the first of them: {said})"));
        Err(Failure::new(
            Disposition::Answered,
            format!(
                "linchpin did not keep its promise in the round `{}`: {}{}; please report this with the output \
                 of `linchpin demo --json`",
                row.shown,
                row.problems.join(", "),
                said.unwrap_or_default(),
            ),
        ))
    }
}

/// What is about to happen.
pub(super) fn introduction(args: &Demo) -> String {
    format!(
        "A storm on one sign-in: {} and {} each per round. The provider takes {} ms for an exchange,
\
         issues a new refresh token every time, and ends the sign-in when a spent one comes back.",
        counted(u64::from(args.processes), "process", "processes"),
        counted(u64::from(args.calls), "call", "calls"),
        EXCHANGE.as_millis(),
    )
}

/// The table of one contender.
pub(super) fn show(rows: &Rows) -> Result<(), Failure> {
    output::line("")?;
    output::line(format!("{}:", rows.contender.described()))?;
    output::table(
        &["ROUND", "CALLS", "EXCHANGES", "REPLAYS", "SIGN-INS LOST"],
        rows.rounds.iter().map(cells).collect(),
    )
}

fn cells(row: &Row) -> Vec<String> {
    let Outcome { calls_made, calls_answered, exchanges, repeats, replays, grants_revoked, .. } = row.outcome;
    let exchanges = match repeats {
        0 => exchanges.to_string(),
        _ => format!("{exchanges} and {}", counted(repeats, "repeat", "repeats")),
    };
    let lost = match row.outcome.sign_in_required {
        0 => grants_revoked.to_string(),
        out => format!("{grants_revoked} ({} out)", counted(out, "process", "processes")),
    };
    vec![row.shown.clone(), format!("{calls_answered}/{calls_made}"), exchanges, replays.to_string(), lost]
}

/// What was seen, and what to do next.
pub(super) fn closing(document: &Document) -> Result<(), Failure> {
    output::line("")?;
    output::line(summary(&document.linchpin))?;
    if let Some(rmcp) = &document.rmcp {
        output::line(summary(rmcp))?;
    }
    if document.ok {
        output::line(
            "\nNext: `linchpin login URL` signs in to a server of yours, for every agent on this machine.",
        )?;
    }
    Ok(())
}

fn summary(rows: &Rows) -> String {
    let asked = match rows.sign_ins {
        1 => "one sign-in lasted".to_owned(),
        times => format!("a person had to sign in {times} times"),
    };
    format!(
        "{}: {asked}; {} of {} answered.",
        rows.contender.name(),
        rows.sum(|outcome| outcome.calls_answered),
        counted(rows.sum(|outcome| outcome.calls_made), "call", "calls"),
    )
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(answered: u64) -> Document {
        let outcome = |answered| Outcome {
            calls_made: 50,
            calls_answered: answered,
            exchanges: 1,
            first_failure: Some("timed out".to_owned()),
            ..Outcome::default()
        };
        let args =
            Demo { processes: 2, calls: 25, no_contrast: false, output: crate::args::Output { json: true } };
        let mut linchpin = Rows::new(Contender::Linchpin);
        linchpin.push(Round::ExpiredAtStart, outcome(50));
        linchpin.push(Round::Refused(1), outcome(answered));
        let mut rmcp = Rows::new(Contender::Rmcp);
        rmcp.push(Round::ExpiredAtStart, outcome(0));
        Document::new(&args, linchpin, Some(rmcp))
    }

    #[test]
    fn linchpins_own_rounds_decide_and_the_first_wrong_one_is_named() {
        let right = document(50);
        assert!(right.ok && right.verdict().is_ok());

        let wrong = document(48);
        assert!(!wrong.ok);
        let failure = wrong.verdict().expect_err("two calls were lost");
        assert_eq!(failure.disposition.exit_code(), 1);
        let told = failure.to_string();
        assert!(
            told.contains("the server refuses the token (1)") && told.contains("unanswered calls: 2"),
            "{told}"
        );
        assert!(told.contains("timed out") && !told.contains("ended token"), "{told}");
    }

    #[test]
    fn the_document_keeps_its_field_names() {
        let json = serde_json::to_value(document(50)).expect("JSON");
        let names = |value: &serde_json::Value| {
            value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&json), "ok processes calls_per_process exchange_ms linchpin rmcp");
        assert_eq!(names(&json["rmcp"]), "sign_ins rounds");
        assert_eq!(
            names(&json["linchpin"]["rounds"][0]),
            "round calls_made calls_answered calls_doubled exchanges repeats replays grants_revoked \
             sign_in_required secrets_shown elapsed_ms first_failure problems"
        );
    }
}
