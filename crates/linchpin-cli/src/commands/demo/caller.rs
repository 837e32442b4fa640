//! One process and the calls made through it.

use std::io;
use std::time::Duration;

use linchpin_testkit::process::StdioServer;
use serde_json::{Value, json};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process may take to end once its standard input is closed.
const GOODBYE: Duration = Duration::from_secs(5);
/// What a process answers when a person has to sign in.
const SIGN_IN_REQUIRED: i64 = -32001;
/// After so many of those in a row an agent stops asking.
const GIVES_UP_AFTER: u32 = 2;

/// A process, as an agent has it.
#[derive(Debug)]
pub(super) struct Caller {
    server: StdioServer,
    connected: bool,
    refused_in_a_row: u32,
    tally: Tally,
}

/// What one process did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Calls that were to be made.
    pub(super) made: u64,
    /// Calls with the right answer.
    pub(super) answered: u64,
    /// Whether it ever asked for a sign-in.
    pub(super) sign_in_required: bool,
    /// What the first failed call said.
    pub(super) first_failure: Option<String>,
    /// Whether a secret stood in its output.
    pub(super) secret_shown: bool,
}

/// Why a call has no answer.
#[derive(Debug, PartialEq, Eq)]
enum Missed {
    SignInRequired(String),
    Failed(String),
}

impl Caller {
    pub(super) fn new(server: StdioServer) -> Self {
        Self { server, connected: false, refused_in_a_row: 0, tally: Tally::default() }
    }

    /// Calls the counting tool. A process that does not get through to the server tries again with the next call;
    /// one that asks for a sign-in twice in a row makes no more.
    pub(super) async fn call(&mut self, nonce: &str) {
        self.tally.made += 1;
        if self.refused_in_a_row >= GIVES_UP_AFTER {
            return;
        }
        let missed = match self.ask(nonce).await {
            Ok(()) => {
                self.tally.answered += 1;
                self.refused_in_a_row = 0;
                return;
            }
            Err(missed) => missed,
        };
        let message = match missed {
            Missed::SignInRequired(message) => {
                self.tally.sign_in_required = true;
                self.refused_in_a_row += 1;
                message
            }
            Missed::Failed(message) => {
                self.refused_in_a_row = 0;
                message
            }
        };
        self.tally.first_failure.get_or_insert(message);
    }

    async fn ask(&mut self, nonce: &str) -> Result<(), Missed> {
        if !self.connected {
            result(self.server.initialize(PATIENCE).await)?;
            self.connected = true;
        }
        let params = json!({ "name": "count", "arguments": { "nonce": nonce } });
        let result = result(self.server.request("tools/call", params, PATIENCE).await)?;
        match result["content"][0]["text"].as_str() {
            Some(text) if text == nonce => Ok(()),
            _ => Err(Missed::Failed("the answer is that of another call".to_owned())),
        }
    }

    /// Ends the process as a client does, and not so if it does not listen.
    pub(super) async fn end(mut self) -> Tally {
        if self.server.close(GOODBYE).await.is_err() {
            let _ = self.server.kill().await;
        }
        let secret_shown = self.server.output().contains("planted-");
        Tally { secret_shown, ..self.tally }
    }
}

/// The result of an answer.
fn result(answer: io::Result<Value>) -> Result<Value, Missed> {
    let mut answer = answer.map_err(|error| Missed::Failed(error.to_string()))?;
    if let Some(error) = answer.get("error") {
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        let required = error["code"].as_i64() == Some(SIGN_IN_REQUIRED);
        return Err(if required { Missed::SignInRequired(message) } else { Missed::Failed(message) });
    }
    Ok(answer["result"].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_result_a_failure_or_a_call_for_a_person() {
        let error = |code: i64| json!({ "id": 1, "error": { "code": code, "message": "m" } });
        for (answer, expected) in [
            (Ok(json!({ "id": 1, "result": { "a": 1 } })), Ok(json!({ "a": 1 }))),
            (Ok(error(-32001)), Err(Missed::SignInRequired("m".to_owned()))),
            (Ok(error(-32000)), Err(Missed::Failed("m".to_owned()))),
            (Err(io::Error::other("gone")), Err(Missed::Failed("gone".to_owned()))),
        ] {
            assert_eq!(result(answer), expected);
        }
    }
}
