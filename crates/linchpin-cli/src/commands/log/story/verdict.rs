//! What became of one refresh token: its presentations as far as they are told, and what may be concluded from them.

use linchpin::UnixMs;
use linchpin::history::{Earlier, Event, Evidence, Next, Outcome, What};

use super::{moment, process};

/// What is known about the presentations of one refresh token since the provider last accepted it.
#[derive(Debug, Clone, Default)]
pub(super) struct Presented {
    attempts: Vec<Attempt>,
    /// Whether the provider has accepted the token before, and issued no other one.
    accepted: bool,
    /// Requests that were answered that nothing was done.
    unavailable: u32,
    /// The words that follow "the provider" for the last of these.
    problem: Option<String>,
    /// Requests that came to an end, and are told.
    ended: u32,
    /// Requests of the transaction that ended last.
    tries: u32,
}

/// A mark, and what came of what was sent under it.
#[derive(Debug, Clone)]
struct Attempt {
    pid: u32,
    at_ms: UnixMs,
    /// Whether an outcome is known, and nothing was sent after it.
    ended: bool,
    /// The words that follow "the provider", of an outcome that says nothing.
    problem: Option<String>,
}

impl Presented {
    /// A presentation begins; `earlier` is what the mark said before it.
    pub(super) fn begin(&mut self, event: &Event, earlier: Option<&Earlier>) {
        self.add(earlier);
        self.attempts.push(Attempt { pid: event.pid, at_ms: event.at_ms, ended: false, problem: None });
    }

    /// A request of process `pid` has ended.
    pub(super) fn end(&mut self, pid: u32, what: &What) {
        let What::ExchangeEnded { outcome, problem, tries, next, .. } = what else { return };
        if *outcome == Outcome::Rotated {
            *self = Self { accepted: true, ..Self::default() };
            return;
        }
        let problem = problem.as_ref().map(|problem| problem.as_str().to_owned());
        self.ended = if *tries <= 1 { 1 } else { self.ended + 1 };
        self.tries = *tries;
        if *outcome == Outcome::Unavailable {
            self.unavailable += 1;
            self.problem.clone_from(&problem);
        }
        let own = self.attempts.iter().rposition(|attempt| attempt.pid == pid);
        match own {
            // Not sent and not tried again: it was no presentation.
            Some(at) if *outcome == Outcome::NotSent && *tries <= 1 && *next == Next::GiveUp => {
                self.attempts.remove(at);
            }
            Some(at) => {
                let attempt = &mut self.attempts[at];
                attempt.ended = *outcome != Outcome::Unknown && *next != Next::Again;
                attempt.problem = problem.filter(|_| *outcome == Outcome::Unknown);
            }
            None => {}
        }
    }

    /// With what the event says itself, which may be more than the history still has.
    pub(super) fn with(mut self, evidence: Option<&Evidence>) -> Self {
        let Some(evidence) = evidence else { return self };
        self.add(evidence.earlier.as_ref());
        self.add(evidence.last.as_ref());
        self.attempts.sort_by_key(|attempt| attempt.at_ms);
        self.unavailable = self.unavailable.max(evidence.unavailable);
        self.tries = self.tries.max(evidence.tries);
        if self.ended == 0 {
            // Of its own transaction, the event tells all that matters.
            self.ended = evidence.tries;
            let problem = evidence.problem.as_ref().map(|problem| problem.as_str().to_owned());
            if evidence.unavailable > 0 {
                self.problem = problem;
            } else if let Some(at) = self.attempts.len().checked_sub(2) {
                self.attempts[at].problem = problem;
            }
        }
        self
    }

    /// Adds a presentation that is known from a mark, unless it is known already.
    fn add(&mut self, mark: Option<&Earlier>) {
        let Some(Earlier { pid, at_ms }) = mark else { return };
        let known = |attempt: &Attempt| attempt.pid == *pid && attempt.at_ms == *at_ms;
        if !self.attempts.iter().any(known) {
            self.attempts.push(Attempt { pid: *pid, at_ms: *at_ms, ended: false, problem: None });
        }
    }

    /// What happened to the token before it was refused: what follows the refusal in the sentence. `None` when too
    /// little is known.
    pub(super) fn before_refusal(&self, event: &Event) -> Option<String> {
        let (last, before) = self.attempts.split_last()?;
        let unanswered = before.iter().rev().find(|attempt| !attempt.ended).map(|attempt| {
            let why = match &attempt.problem {
                Some(problem) => format!("got no usable answer (the provider {problem})"),
                None => {
                    "its outcome is not in the history (the process may have been killed over it)".to_owned()
                }
            };
            let who = process(attempt.pid, event);
            format!(
                " after {who} had presented it at {} and {why}; it was presented once more, as a provider may honour",
                moment(attempt.at_ms)
            )
        });
        let answered = (self.unavailable > 0).then(|| {
            let what = self.problem.as_ref().map(|problem| format!(" (the provider {problem})"));
            let (answers, any) = match self.unavailable {
                1 => ("an answer".to_owned(), "that request"),
                many => (format!("{many} answers"), "any of these requests"),
            };
            format!(
                "; {answers} of the provider or of a gateway before it{} said that nothing was done, and {any} may have \
                 spent it",
                what.unwrap_or_default()
            )
        });
        let untold = self.tries.saturating_sub(self.ended);
        let untold = (untold > 0)
            .then(|| format!("; {untold} requests before it are not in the history, and may have spent it"));
        let told: Vec<_> = [unanswered, answered, untold].into_iter().flatten().collect();
        if !told.is_empty() {
            return Some(told.concat());
        }
        // Earlier ones were answered without being about the token: they spent nothing.
        let since = if self.accepted { " since the provider last accepted it" } else { "" };
        Some(match before {
            [] => format!(
                "; it was presented once{since}, by {}, so it was revoked or too old, or another program spent it",
                process(last.pid, event)
            ),
            _ => format!(
                "; no answer about it was lost{since}, so it was revoked or too old, or another program spent it"
            ),
        })
    }

    /// Who presented it, the latest two.
    pub(super) fn by(&self, event: &Event) -> Option<String> {
        let who = |one: &Attempt| format!("{} at {}", process(one.pid, event), moment(one.at_ms));
        match &self.attempts[..] {
            [] => None,
            [last] => Some(format!(", the last time by {}", who(last))),
            [.., earlier, last] => Some(format!(" by {} and {}", who(earlier), who(last))),
        }
    }
}
