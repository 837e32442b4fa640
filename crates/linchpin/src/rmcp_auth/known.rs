//! What is known of the tokens that rmcp has.

use std::collections::VecDeque;
use std::time::Duration;

use linchpin_authority::AccessToken;
use linchpin_store::{Fingerprint, Record, UnixMs};
use tokio::time::Instant;

/// A refresh that rmcp asks for this soon after a new token is about the one before it. So long a token that was just
/// obtained is not exchanged again either.
const LATE: Duration = Duration::from_secs(30);
/// Tokens that are remembered.
const MOST_TOKENS: usize = 8;

/// Which sign-in a record is of: the same through every refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) issuer: String,
    pub(super) client_id: String,
    signed_in: Option<UnixMs>,
}

impl Identity {
    pub(super) fn of(record: &Record) -> Self {
        let signed_in = record.signed_in_at_ms;
        Self { issuer: record.issuer.clone(), client_id: record.client.id.clone(), signed_in }
    }
}

/// What belongs to an access token.
#[derive(Debug, Clone)]
pub(super) struct Known {
    fingerprint: Fingerprint,
    pub(super) identity: Identity,
    pub(super) scopes: Vec<String>,
}

impl Known {
    pub(super) fn new(token: &AccessToken, record: &Record) -> Self {
        let fingerprint = token.fingerprint().clone();
        Self { fingerprint, identity: Identity::of(record), scopes: record.scopes.clone() }
    }

    pub(super) fn is_of(&self, token: &AccessToken) -> bool {
        self.fingerprint == *token.fingerprint()
    }
}

/// The latest tokens that rmcp got, oldest first.
#[derive(Debug, Default)]
pub(super) struct Tokens(VecDeque<Token>);

#[derive(Debug)]
struct Token {
    fingerprint: Fingerprint,
    since: Instant,
    /// Whether rmcp looked it up to send it.
    handed_out: bool,
}

impl Tokens {
    /// Notes that rmcp gets it.
    pub(super) fn see(&mut self, fingerprint: &Fingerprint) {
        if self.knows(fingerprint) {
            return;
        }
        if self.0.len() == MOST_TOKENS {
            self.0.pop_front();
        }
        let (fingerprint, since) = (fingerprint.clone(), Instant::now());
        self.0.push_back(Token { fingerprint, since, handed_out: false });
    }

    pub(super) fn knows(&self, fingerprint: &Fingerprint) -> bool {
        self.0.iter().any(|token| token.fingerprint == *fingerprint)
    }

    /// Notes that rmcp sends it.
    pub(super) fn hand_out(&mut self, fingerprint: &Fingerprint) {
        self.see(fingerprint);
        for token in self.0.iter_mut().filter(|token| token.fingerprint == *fingerprint) {
            token.handed_out = true;
        }
    }

    /// Whether a refresh that rmcp asks for while this token is current is about this token, and not about one that it
    /// sent before.
    pub(super) fn may_be_refused(&self, fingerprint: &Fingerprint) -> bool {
        let Some(at) = self.0.iter().position(|token| token.fingerprint == *fingerprint) else {
            return false;
        };
        let token = &self.0[at];
        let has_predecessor = self.0.iter().take(at).any(|token| token.handed_out);
        token.handed_out && !(has_predecessor && token.since.elapsed() < LATE)
    }
}

#[cfg(test)]
mod tests {
    use linchpin_store::Secret;

    use super::*;

    fn token(text: &str) -> Fingerprint {
        Secret::new(text).fingerprint()
    }

    #[tokio::test(start_paused = true)]
    async fn p16_a_refresh_is_charged_to_the_token_that_rmcp_may_have_sent() {
        let (a, b) = (token("a"), token("b"));
        let mut tokens = Tokens::default();
        assert!(!tokens.may_be_refused(&a), "rmcp never had it");
        tokens.hand_out(&a);
        assert!(tokens.may_be_refused(&a), "the only one it had");
        tokens.see(&b);
        assert!(!tokens.may_be_refused(&b), "obtained and not yet sent");
        tokens.hand_out(&b);
        assert!(!tokens.may_be_refused(&b), "a late refusal of the one before");
        tokio::time::advance(LATE).await;
        assert!(tokens.may_be_refused(&b));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_tokens_are_forgotten() {
        let mut tokens = Tokens::default();
        for number in 0..=MOST_TOKENS {
            tokens.hand_out(&token(&number.to_string()));
        }
        assert!(!tokens.knows(&token("0")) && tokens.knows(&token("1")));
    }
}
