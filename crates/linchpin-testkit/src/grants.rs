//! Clients, codes, grants and tokens: the provider's memory and its strictness.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rand::Rng as _;
use sha2::{Digest as _, Sha256};

use crate::config::Rotation;
use crate::counts::Counts;

/// A registered client.
#[derive(Debug, Clone)]
pub(crate) struct RegisteredClient {
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) secret: Option<String>,
    pub(crate) auth_method: String,
}

/// A code waiting to be exchanged.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) resource: String,
    pub(crate) scope: String,
}

/// One person's consent to one client: what a replay revokes as a whole.
#[derive(Debug)]
struct Grant {
    client_id: String,
    resource: String,
    scope: String,
    revoked: bool,
    exchanges_now: u64,
}

#[derive(Debug)]
struct Refresh {
    grant: usize,
    spent: Option<Spent>,
}

#[derive(Debug, Clone)]
struct Spent {
    at: Instant,
    successor: Pair,
}

#[derive(Debug)]
struct Access {
    grant: usize,
    ends: Instant,
    refused: bool,
}

/// What a token request yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) scope: String,
}

/// A refresh, with the grant whose exchange runs until [`Grants::exchange_ended`].
#[derive(Debug)]
pub(crate) struct Refreshed {
    pub(crate) pair: Pair,
    pub(crate) grant: usize,
}

/// The provider's memory.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    pub(crate) clients: HashMap<String, RegisteredClient>,
    forgotten: HashSet<String>,
    codes: HashMap<String, Code>,
    consents: Vec<Grant>,
    refresh: HashMap<String, Refresh>,
    access: HashMap<String, Access>,
    planted: Vec<String>,
}

impl Grants {
    /// A client that is known by now.
    pub(crate) fn client(&self, id: &str) -> Option<&RegisteredClient> {
        self.clients.get(id).filter(|_| !self.forgotten.contains(id))
    }

    /// Refuses every client registered until now.
    pub(crate) fn forget_clients(&mut self) {
        self.forgotten.extend(self.clients.keys().cloned());
    }

    pub(crate) fn restore_clients(&mut self) {
        self.forgotten.clear();
    }

    /// A new secret text of this kind, remembered for the secret scan.
    pub(crate) fn plant(&mut self, kind: &str) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let mut rng = rand::rng();
        let random: String =
            (0..32).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect();
        let secret = format!("planted-{kind}-{random}");
        self.planted.push(secret.clone());
        secret
    }

    /// A secret that somebody else made up.
    pub(crate) fn remember(&mut self, secret: &str) {
        self.planted.push(secret.to_owned());
    }

    pub(crate) fn planted(&self) -> Vec<String> {
        self.planted.clone()
    }

    pub(crate) fn issue_code(&mut self, code: Code) -> String {
        let text = self.plant("code");
        self.codes.insert(text.clone(), code);
        text
    }

    /// Exchanges a code, which works once (RFC 6749 section 4.1.2).
    pub(crate) fn exchange_code(
        &mut self,
        code: &str,
        asked: &CodeExchange<'_>,
        lifetime: Duration,
    ) -> Result<Pair, &'static str> {
        let code = self.codes.remove(code).ok_or("invalid_grant")?;
        let digest = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            Sha256::digest(asked.verifier.as_bytes()),
        );
        if code.client_id != asked.client_id
            || code.redirect_uri != asked.redirect_uri
            || code.challenge != digest
        {
            return Err("invalid_grant");
        }
        if code.resource != asked.resource {
            return Err("invalid_target");
        }
        self.consents.push(Grant {
            client_id: code.client_id,
            resource: code.resource,
            scope: code.scope,
            revoked: false,
            exchanges_now: 0,
        });
        Ok(self.issue(self.consents.len() - 1, lifetime))
    }

    fn issue(&mut self, grant: usize, lifetime: Duration) -> Pair {
        let (access, refresh) = (self.plant("at"), self.plant("rt"));
        self.access.insert(access.clone(), Access { grant, ends: Instant::now() + lifetime, refused: false });
        self.refresh.insert(refresh.clone(), Refresh { grant, spent: None });
        Pair { access, refresh: Some(refresh), scope: self.consents[grant].scope.clone() }
    }

    /// A refresh, rotating at receipt. A spent token gets its successor again within the grace, and revokes the
    /// grant outside it.
    pub(crate) fn refresh(
        &mut self,
        token: &str,
        asked: &RefreshRequest<'_>,
        counts: &mut Counts,
    ) -> Result<Refreshed, &'static str> {
        *counts.presentations.entry(fingerprint(token)).or_default() += 1;
        let Some(presented) = self.refresh.get(token) else {
            counts.presented_dead += 1;
            return Err("invalid_grant");
        };
        let (index, spent) = (presented.grant, presented.spent.clone());
        let grant = &mut self.consents[index];
        if grant.revoked || grant.client_id != asked.client_id {
            counts.presented_dead += 1;
            return Err("invalid_grant");
        }
        if asked.resource != Some(grant.resource.as_str()) {
            return Err("invalid_target");
        }
        let granted: Vec<_> = grant.scope.split(' ').collect();
        if asked.scope.is_some_and(|scope| scope.split(' ').any(|scope| !granted.contains(&scope))) {
            return Err("invalid_scope");
        }
        if let Some(spent) = spent {
            if spent.at.elapsed() < asked.grace {
                counts.repeats += 1;
                grant.exchanges_now += 1;
                return Ok(Refreshed { pair: spent.successor, grant: index });
            }
            counts.replays += 1;
            counts.grants_revoked += 1;
            self.revoke_grant(index);
            return Err("invalid_grant");
        }
        grant.exchanges_now += 1;
        counts.most_exchanges_at_once = counts.most_exchanges_at_once.max(grant.exchanges_now);
        counts.exchanges += 1;
        let mut pair = self.issue(index, asked.lifetime);
        match asked.rotation {
            Rotation::Rotate => {
                let spent = Spent { at: Instant::now(), successor: pair.clone() };
                self.refresh.get_mut(token).expect("it was looked up above").spent = Some(spent);
            }
            Rotation::Keep => pair.refresh = None,
            Rotation::Resend => pair.refresh = Some(token.to_owned()),
        }
        Ok(Refreshed { pair, grant: index })
    }

    /// The answer to an exchange of this grant was given up to the wire.
    pub(crate) fn exchange_ended(&mut self, grant: usize) {
        self.consents[grant].exchanges_now -= 1;
    }

    fn revoke_grant(&mut self, grant: usize) {
        self.consents[grant].revoked = true;
    }

    /// RFC 7009: ends the grant of a refresh token, or one access token. Unknown tokens are no error.
    pub(crate) fn revoke(&mut self, token: &str) {
        if let Some(refresh) = self.refresh.get(token) {
            let grant = refresh.grant;
            self.revoke_grant(grant);
        }
        self.access.remove(token);
    }

    pub(crate) fn revoke_all(&mut self) {
        self.consents.iter_mut().for_each(|grant| grant.revoked = true);
    }

    /// From now on the server refuses the access tokens issued until now; refreshing works.
    pub(crate) fn refuse_access_tokens(&mut self) {
        self.access.values_mut().for_each(|access| access.refused = true);
    }

    /// Whether the server takes this token, and its scopes.
    pub(crate) fn admits(&self, token: &str) -> Option<&str> {
        let access = self.access.get(token)?;
        let grant = &self.consents[access.grant];
        (!access.refused && !grant.revoked && Instant::now() < access.ends).then_some(grant.scope.as_str())
    }

    /// Which consent a token came from.
    pub(crate) fn grant_of(&self, token: &str) -> Option<usize> {
        let access = || self.access.get(token).map(|access| access.grant);
        self.refresh.get(token).map(|refresh| refresh.grant).or_else(access)
    }

    /// Grants that are not revoked.
    pub(crate) fn living(&self) -> usize {
        self.consents.iter().filter(|grant| !grant.revoked).count()
    }
}

/// What a code exchange has to match.
pub(crate) struct CodeExchange<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) verifier: &'a str,
    pub(crate) resource: &'a str,
}

/// What a refresh asks for, and how the provider behaves.
pub(crate) struct RefreshRequest<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) resource: Option<&'a str>,
    pub(crate) scope: Option<&'a str>,
    pub(crate) grace: Duration,
    pub(crate) rotation: Rotation,
    pub(crate) lifetime: Duration,
}

/// The SHA-256 of a token in hexadecimal.
pub(crate) fn fingerprint(token: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(token.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
