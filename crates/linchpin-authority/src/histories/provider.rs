//! A provider that is strict about what was spent, and otherwise does what the history says.

use std::collections::HashMap;
use std::time::Duration;

use linchpin_oauth::{Exchange, TokenAnswer};
use linchpin_store::{Record, Secret};
use proptest::prelude::*;

/// What becomes of one presentation of a refresh token, or of the step before it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// The provider rotates: with another refresh token or the same, and a lifetime or none.
    Rotates(bool, Option<Duration>),
    /// It rotates and the answer is lost.
    AnswerLost,
    /// The request is lost, which looks the same from here.
    RequestLost,
    NotSent,
    Unavailable(Option<Duration>),
    Refused,
    /// Refused, and somebody who knows nothing of locks had signed in meanwhile.
    RefusedAndReplaced,
    ClientRefused,
    /// The process dies once the mark is saved.
    DiesUnsent,
    /// The process dies once the provider has the request, which it acts on or not.
    Dies {
        acts: bool,
    },
    /// The lock turns out to be taken away before anything was sent.
    LockLost,
    /// It rotates, and meanwhile another process finds the lock file removed and takes a new lock.
    Overtaken,
    /// The mark cannot be saved: whether it can be read all the same, and whether it could be cleared.
    MarkFails {
        lies_there: bool,
        cleared: bool,
    },
}

#[derive(Debug)]
pub(super) struct Provider {
    /// Whether it honours a repeat.
    grace: bool,
    issued: u32,
    /// What each spent token was exchanged for.
    spent: HashMap<String, (String, Option<String>)>,
}

impl Provider {
    pub(super) fn new(grace: bool) -> Self {
        Self { grace, issued: 0, spent: HashMap::new() }
    }

    /// The tokens of a new sign-in.
    pub(super) fn new_grant(&mut self, renewable: bool, expires_in: Option<Duration>) -> TokenAnswer {
        self.issued += 1;
        let refresh_token = renewable.then(|| Secret::new(format!("R{}", self.issued)));
        let access_token = Secret::new(format!("A{}", self.issued));
        TokenAnswer { access_token, refresh_token, expires_in, scopes: None }
    }

    /// Presents the record's refresh token.
    pub(super) fn receive(&mut self, record: &Record, fate: &Fate) -> Exchange {
        let problem = || "had an accident".to_owned();
        let unknown = || Exchange::Unknown { problem: problem() };
        match *fate {
            Fate::Rotates(another, expires_in) => self.rotate(record, another, expires_in),
            Fate::Overtaken => self.rotate(record, true, Some(Duration::from_secs(60))),
            Fate::AnswerLost | Fate::Dies { acts: true } => {
                let _ = self.rotate(record, true, None);
                unknown()
            }
            Fate::RequestLost | Fate::Dies { acts: false } => unknown(),
            Fate::NotSent => Exchange::NotSent { problem: problem() },
            Fate::Unavailable(retry_after) => Exchange::Unavailable { problem: problem(), retry_after },
            Fate::Refused | Fate::RefusedAndReplaced => Exchange::Refused { code: "invalid_grant".into() },
            Fate::ClientRefused => Exchange::ClientRefused { code: "invalid_client".into() },
            Fate::DiesUnsent | Fate::LockLost | Fate::MarkFails { .. } => {
                unreachable!("nothing was presented")
            }
        }
    }

    fn rotate(&mut self, record: &Record, another: bool, expires_in: Option<Duration>) -> Exchange {
        let presented = record.refresh_token.as_ref().expect("a refresh token").expose().to_owned();
        if let Some((access, refresh)) = self.spent.get(&presented) {
            if !self.grace {
                return Exchange::Refused { code: "invalid_grant".into() };
            }
            return Exchange::Rotated(TokenAnswer {
                access_token: Secret::new(access.clone()),
                refresh_token: refresh.clone().map(Secret::new),
                expires_in,
                scopes: None,
            });
        }
        let answer = self.new_grant(another, expires_in);
        if let Some(refresh) = &answer.refresh_token {
            let exchanged_for = (answer.access_token.expose().to_owned(), Some(refresh.expose().to_owned()));
            self.spent.insert(presented, exchanged_for);
        }
        Exchange::Rotated(answer)
    }
}

pub(super) fn any_fate() -> impl Strategy<Value = Fate> {
    let lifetime = prop::option::weighted(0.9, (0..120u64).prop_map(Duration::from_secs));
    let retry_after = prop::option::of(
        prop_oneof![3 => 0..20u64, 1 => Just(3_600), 1 => Just(u64::MAX)].prop_map(Duration::from_secs),
    );
    prop_oneof![
        4 => (any::<bool>(), lifetime).prop_map(|(another, lifetime)| Fate::Rotates(another, lifetime)),
        3 => Just(Fate::AnswerLost),
        2 => Just(Fate::RequestLost),
        2 => Just(Fate::NotSent),
        2 => retry_after.prop_map(Fate::Unavailable),
        1 => Just(Fate::Refused),
        1 => Just(Fate::RefusedAndReplaced),
        2 => Just(Fate::ClientRefused),
        2 => Just(Fate::DiesUnsent),
        2 => any::<bool>().prop_map(|acts| Fate::Dies { acts }),
        2 => Just(Fate::LockLost),
        1 => Just(Fate::Overtaken),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(lies_there, cleared)| Fate::MarkFails { lies_there, cleared }),
    ]
}
