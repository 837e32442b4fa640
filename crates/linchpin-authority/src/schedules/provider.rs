//! A strict provider: it rotates when it receives, ends a grant whose spent token comes back, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use linchpin_oauth::{Exchange, Revocation, TokenAnswer, TokenEndpoint};
use linchpin_store::{Record, Secret};
use shuttle::rand::{Rng as _, thread_rng};

use super::turn;

/// What it does beyond rotating.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manners {
    /// Honours the repeat of the token spent last.
    pub(super) grace: bool,
    /// How many requests or answers get lost at most.
    pub(super) losses: u32,
    /// Has forgotten the client.
    pub(super) refuses_client: bool,
}

#[derive(Debug)]
pub(super) struct StrictProvider {
    manners: Manners,
    books: Mutex<Books>,
}

/// What it counted.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Exchanges running now.
    running: usize,
    /// The most that ever ran at once.
    pub(super) at_once: usize,
    /// New tokens issued for a refresh token.
    pub(super) rotations: usize,
    /// Requests that found their token spent, and no grace.
    pub(super) replays: usize,
    /// How often each refresh token was presented.
    pub(super) presented: BTreeMap<String, usize>,
    /// The token that each spent one was exchanged for.
    spent: BTreeMap<String, String>,
    /// Names of grants that have ended.
    pub(super) ended: BTreeSet<String>,
    lost: u32,
}

impl StrictProvider {
    pub(super) fn new(manners: Manners) -> Self {
        Self { manners, books: Mutex::default() }
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something is lost on the way, as the schedule has it.
    fn loses(&self) -> bool {
        let may = self.books().lost < self.manners.losses;
        let loses = may && thread_rng().gen_bool(0.5);
        self.books().lost += u32::from(loses);
        loses
    }

    fn receive(&self, token: &str) -> Exchange {
        let mut books = self.books();
        let grant = grant(token);
        *books.presented.entry(token.to_owned()).or_default() += 1;
        if self.manners.refuses_client {
            return Exchange::ClientRefused { code: "invalid_client".into() };
        }
        if books.ended.contains(grant) {
            return refused();
        }
        let next = match books.spent.get(token).cloned() {
            // Its successor was not used yet.
            Some(next) if self.manners.grace && !books.spent.contains_key(&next) => next,
            Some(_) => {
                books.replays += 1;
                books.ended.insert(grant.to_owned());
                return refused();
            }
            None => {
                books.rotations += 1;
                let next = format!("{grant} R{}", books.rotations);
                books.spent.insert(token.to_owned(), next.clone());
                next
            }
        };
        Exchange::Rotated(TokenAnswer {
            access_token: Secret::new(format!("access of {next}")),
            refresh_token: Some(Secret::new(next)),
            expires_in: Some(std::time::Duration::from_secs(3600)),
            scopes: None,
        })
    }
}

/// Refresh tokens are called `grant name`.
pub(super) fn grant(token: &str) -> &str {
    token.split(' ').next().expect("a first part")
}

fn refused() -> Exchange {
    Exchange::Refused { code: "invalid_grant".into() }
}

#[async_trait]
impl TokenEndpoint for StrictProvider {
    async fn refresh(&self, record: &Record) -> Exchange {
        {
            let mut books = self.books();
            books.running += 1;
            books.at_once = books.at_once.max(books.running);
        }
        turn().await;
        let token = record.refresh_token.as_ref().expect("a refresh token").expose();
        let unknown = || Exchange::Unknown { problem: "closed the connection".into() };
        let outcome = if self.loses() { unknown() } else { self.receive(token) };
        turn().await;
        let outcome = if self.loses() { unknown() } else { outcome };
        self.books().running -= 1;
        outcome
    }

    async fn revoke(&self, record: &Record) -> Revocation {
        turn().await;
        let token = record.refresh_token.as_ref().expect("a refresh token").expose();
        self.books().ended.insert(grant(token).to_owned());
        turn().await;
        Revocation::Revoked
    }
}
