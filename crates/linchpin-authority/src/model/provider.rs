//! The provider of the model: it rotates when it receives a request, and ends a grant whose spent token comes back.

use super::Protocol;
use super::state::{Outcome, State, Token};

impl State {
    /// The provider receives a refresh token; what it answers.
    pub(super) fn receive(&mut self, protocol: &Protocol, token: Token) -> Outcome {
        self.count(token);
        let now = self.now;
        let grant = &mut self.grants[usize::from(token.grant)];
        let newest = grant.spent_at.len();
        if grant.ended {
            return Outcome::Refused;
        }
        let number = usize::from(token.number);
        if number == newest {
            grant.spent_at.push(now);
            self.truth.rotations += 1;
            return Outcome::Rotated(Token { number: token.number + 1, ..token });
        }
        // A repeat: of what was spent a moment ago, or whose successor nobody has used yet.
        if protocol.grace && (grant.spent_at[number] == now || number + 1 == newest) {
            let newest = u8::try_from(newest).expect("small numbers");
            return Outcome::Rotated(Token { number: newest, ..token });
        }
        self.truth.replays = true;
        grant.ended = true;
        Outcome::Refused
    }

    fn count(&mut self, token: Token) {
        let presented = &mut self.truth.presented;
        if let Some(times) = presented.iter_mut().find(|times| **times & token.bit() == 0) {
            *times |= token.bit();
        }
    }
}
