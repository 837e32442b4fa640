use linchpin_store::{
    Client, ClientAuthMethod, DeadToken, ExchangeMark, RefusedClient, RefusedToken, Registration, Secret,
};

use super::*;

mod properties;

const NOW: UnixMs = UnixMs(1_000_000_000);

/// A record obtained a minute ago that lives an hour, with access token `A` and refresh token `R`.
fn record() -> Record {
    Record {
        generation: 1,
        issuer: "https://as.example.com".into(),
        token_endpoint: "https://as.example.com/token".parse().expect("a URL"),
        revocation_endpoint: None,
        token_endpoint_auth_method: ClientAuthMethod::None,
        resource: "https://mcp.example.com/mcp".into(),
        client: Client {
            id: "c".into(),
            secret: None,
            secret_expires_at_ms: None,
            registration: Registration::Dynamic,
            redirect_uri: None,
        },
        access_token: Secret::new("A"),
        refresh_token: Some(Secret::new("R")),
        scopes: vec![],
        obtained_at_ms: NOW.before(Duration::from_secs(60)),
        expires_at_ms: Some(NOW.after(Duration::from_secs(3540))),
        exchange: None,
        dead: None,
        refused: None,
        client_refused: None,
        retry_at_ms: None,
        signed_in_at_ms: None,
        extra: serde_json::Map::new(),
    }
}

fn fp(token: &str) -> Fingerprint {
    Secret::new(token).fingerprint()
}

fn with(change: impl FnOnce(&mut Record)) -> Record {
    let mut record = record();
    change(&mut record);
    record
}

fn ended(record: &mut Record) {
    record.expires_at_ms = Some(NOW.before(Duration::from_secs(1)));
}

fn nearly_ended(record: &mut Record) {
    record.expires_at_ms = Some(NOW.after(Duration::from_secs(40)));
}

fn in_its_last_moments(record: &mut Record) {
    record.expires_at_ms = Some(NOW.after(Duration::from_secs(3)));
}

fn dead(token: &str) -> DeadToken {
    DeadToken { fingerprint: fp(token), reason: "invalid_grant".into(), at_ms: NOW }
}

fn mark(token: &str, presentations: u32, ago: u64) -> ExchangeMark {
    let at_ms = NOW.before(Duration::from_secs(ago));
    ExchangeMark { fingerprint: fp(token), presentations, at_ms, pid: 1 }
}

fn refused(token: &str, ago: u64) -> RefusedToken {
    refused_at(token, NOW.before(Duration::from_secs(ago)))
}

fn refused_at(token: &str, at_ms: UnixMs) -> RefusedToken {
    RefusedToken { fingerprint: fp(token), at_ms }
}

fn refused_for_good() -> Decision {
    Decision::SignInRequired(SignInReason::Refused { code: "invalid_grant".into() })
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn p06_every_row_of_the_decision() {
    use Decision::{Adopt, Exchange, RetryAt, SignInRequired};
    let first = Exchange { presentations: 1 };
    let start = Cause::Ended(None);
    let near_end = Cause::Ended(Some(fp("A")));
    let older = Cause::Ended(Some(fp("older")));
    let refused_a = Cause::Refused(fp("A"));
    let refused_older = Cause::Refused(fp("older"));
    let soon = NOW.after(Duration::from_secs(20));
    let minute = Cause::Short(fp("A"), Duration::from_secs(60));
    let day = Cause::Short(fp("A"), Duration::from_secs(86_400));
    let older_short = Cause::Short(fp("older"), Duration::from_secs(60));

    let rows: Vec<(&str, Option<Record>, &Cause, Decision)> = vec![
        ("no record", None, &start, SignInRequired(SignInReason::NotSignedIn)),
        ("no record, one refused", None, &refused_a, SignInRequired(SignInReason::NotSignedIn)),
        ("start, fresh", Some(record()), &start, Adopt),
        ("start, ended", Some(with(ended)), &start, first.clone()),
        ("start, last moments", Some(with(in_its_last_moments)), &start, first.clone()),
        (
            "start, near its end: used now, renewed in the background",
            Some(with(|r| r.expires_at_ms = Some(NOW.after(Duration::from_secs(30))))),
            &start,
            Adopt,
        ),
        (
            "near its end, unchanged",
            Some(with(|r| r.expires_at_ms = Some(NOW.after(Duration::from_secs(30))))),
            &near_end,
            first.clone(),
        ),
        ("renewed by another process", Some(record()), &older, Adopt),
        ("renewed by another process, ended again", Some(with(ended)), &older, first.clone()),
        ("fresh after all: the clock was set back", Some(record()), &near_end, Adopt),
        ("refused, unchanged", Some(record()), &refused_a, first.clone()),
        ("refused, another is current", Some(record()), &refused_older, Adopt),
        ("refused, another is current and ended", Some(with(ended)), &refused_older, first.clone()),
        ("no known end, not refused", Some(with(|r| r.expires_at_ms = None)), &near_end, Adopt),
        ("no known end, refused", Some(with(|r| r.expires_at_ms = None)), &refused_a, first.clone()),
        (
            "refused right after its exchange",
            Some(with(|r| r.refused = Some(refused("A", 29)))),
            &refused_a,
            SignInRequired(SignInReason::RefusedAfterExchange),
        ),
        (
            "refused long after that",
            Some(with(|r| r.refused = Some(refused("A", 30)))),
            &refused_a,
            first.clone(),
        ),
        (
            "another was refused",
            Some(with(|r| r.refused = Some(refused("older", 1)))),
            &refused_a,
            first.clone(),
        ),
        (
            "refused right after its exchange, by a clock that was set back since",
            Some(with(|r| r.refused = Some(refused_at("A", NOW.after(Duration::from_secs(86_400)))))),
            &refused_a,
            first.clone(),
        ),
        (
            "refused right after its exchange, by a clock a little ahead",
            Some(with(|r| r.refused = Some(refused_at("A", NOW.after(Duration::from_secs(29)))))),
            &refused_a,
            SignInRequired(SignInReason::RefusedAfterExchange),
        ),
        (
            "refused right after its exchange, and not to be renewed",
            Some(with(|r| {
                r.refused = Some(refused("A", 1));
                r.refresh_token = None;
            })),
            &refused_a,
            SignInRequired(SignInReason::NotRenewable),
        ),
        (
            "refused right after its exchange, and dead",
            Some(with(|r| {
                r.refused = Some(refused("A", 1));
                r.dead = Some(dead("R"));
            })),
            &refused_a,
            refused_for_good(),
        ),
        (
            "noted as refused to another, renewable: this asker was not refused",
            Some(with(|r| r.refused = Some(refused("A", 1)))),
            &start,
            Adopt,
        ),
        ("no record, more life needed", None, &minute, SignInRequired(SignInReason::NotSignedIn)),
        ("more life needed, and there", Some(record()), &minute, Adopt),
        ("more life needed than any token has, in the first half of its life", Some(record()), &day, Adopt),
        (
            "more life needed than any token has, in the second half",
            Some(with(|r| r.expires_at_ms = Some(NOW.after(Duration::from_secs(50))))),
            &day,
            first.clone(),
        ),
        ("more life needed than is left", Some(with(nearly_ended)), &minute, first.clone()),
        ("more life needed than a token had that is replaced", Some(record()), &older_short, Adopt),
        (
            "more life needed, replaced, the new one near its end: its own asker has it renewed",
            Some(with(nearly_ended)),
            &older_short,
            Adopt,
        ),
        ("more life needed, replaced, ended again", Some(with(ended)), &older_short, first.clone()),
        (
            "more life needed, no refresh token: what is there is used",
            Some(with(|r| {
                nearly_ended(r);
                r.refresh_token = None;
            })),
            &minute,
            Adopt,
        ),
        (
            "more life needed, dead: what is there is used",
            Some(with(|r| {
                nearly_ended(r);
                r.dead = Some(dead("R"));
            })),
            &minute,
            Adopt,
        ),
        (
            "more life needed, ended, no refresh token",
            Some(with(|r| {
                ended(r);
                r.refresh_token = None;
            })),
            &minute,
            SignInRequired(SignInReason::NotRenewable),
        ),
        (
            "more life needed, a mark: the one repeat",
            Some(with(|r| {
                nearly_ended(r);
                r.exchange = Some(mark("R", 1, 0));
            })),
            &minute,
            Exchange { presentations: 2 },
        ),
        (
            "more life needed, presented twice: what is there is used",
            Some(with(|r| {
                nearly_ended(r);
                r.exchange = Some(mark("R", 2, 0));
            })),
            &minute,
            Adopt,
        ),
        (
            "more life needed, to be left alone: what is there is used",
            Some(with(|r| {
                nearly_ended(r);
                r.retry_at_ms = Some(soon);
            })),
            &minute,
            Adopt,
        ),
        (
            "ended, no refresh token",
            Some(with(|r| {
                ended(r);
                r.refresh_token = None;
            })),
            &start,
            SignInRequired(SignInReason::NotRenewable),
        ),
        (
            "last moments, no refresh token: in use to its very end",
            Some(with(|r| {
                in_its_last_moments(r);
                r.refresh_token = None;
            })),
            &near_end,
            Adopt,
        ),
        (
            "refused, no refresh token",
            Some(with(|r| r.refresh_token = None)),
            &refused_a,
            SignInRequired(SignInReason::NotRenewable),
        ),
        (
            "ended, dead",
            Some(with(|r| {
                ended(r);
                r.dead = Some(dead("R"));
            })),
            &start,
            refused_for_good(),
        ),
        (
            "last moments, dead",
            Some(with(|r| {
                in_its_last_moments(r);
                r.dead = Some(dead("R"));
            })),
            &near_end,
            Adopt,
        ),
        ("refused, dead", Some(with(|r| r.dead = Some(dead("R")))), &refused_a, refused_for_good()),
        (
            "dead, and another found the access token refused",
            Some(with(|r| {
                r.dead = Some(dead("R"));
                r.refused = Some(refused("A", 100));
            })),
            &start,
            refused_for_good(),
        ),
        ("refused, another is dead", Some(with(|r| r.dead = Some(dead("Q")))), &refused_a, first.clone()),
        (
            "a mark: the one repeat, at once",
            Some(with(|r| r.exchange = Some(mark("R", 1, 0)))),
            &refused_a,
            Exchange { presentations: 2 },
        ),
        (
            "ended, the mark of a process that is gone: the one repeat, however long ago",
            Some(with(|r| {
                ended(r);
                r.exchange = Some(ExchangeMark { pid: std::process::id() + 1, ..mark("R", 1, 86_400) });
            })),
            &start,
            Exchange { presentations: 2 },
        ),
        (
            "a mark over a token that is good: nothing to repeat",
            Some(with(|r| r.exchange = Some(mark("R", 1, 0)))),
            &start,
            Adopt,
        ),
        (
            "the one repeat, but the provider is to be left alone",
            Some(with(|r| {
                r.exchange = Some(mark("R", 1, 0));
                r.retry_at_ms = Some(soon);
            })),
            &refused_a,
            RetryAt(soon),
        ),
        (
            "dead, under the mark of the exchange that killed it",
            Some(with(|r| {
                r.exchange = Some(mark("R", 1, 0));
                r.dead = Some(dead("R"));
            })),
            &refused_a,
            refused_for_good(),
        ),
        (
            "presented more often than this version ever would",
            Some(with(|r| r.exchange = Some(mark("R", u32::MAX, 0)))),
            &refused_a,
            SignInRequired(SignInReason::OutcomeUnknown),
        ),
        (
            "a mark of another token",
            Some(with(|r| r.exchange = Some(mark("Q", 2, 0)))),
            &refused_a,
            first.clone(),
        ),
        (
            "presented twice, the outcome unknown: never again",
            Some(with(|r| r.exchange = Some(mark("R", 2, 86_400)))),
            &refused_a,
            SignInRequired(SignInReason::OutcomeUnknown),
        ),
        (
            "presented twice, the access token not ended",
            Some(with(|r| {
                in_its_last_moments(r);
                r.exchange = Some(mark("R", 2, 0));
            })),
            &near_end,
            Adopt,
        ),
        ("to be left alone", Some(with(|r| r.retry_at_ms = Some(soon))), &refused_a, RetryAt(soon)),
        (
            "to be left alone, not ended",
            Some(with(|r| {
                in_its_last_moments(r);
                r.retry_at_ms = Some(soon);
            })),
            &near_end,
            Adopt,
        ),
        ("left alone long enough", Some(with(|r| r.retry_at_ms = Some(NOW))), &refused_a, first.clone()),
        (
            "an absurd time to be left alone until",
            Some(with(|r| r.retry_at_ms = Some(UnixMs::MAX))),
            &refused_a,
            first,
        ),
    ];
    for (row, record, cause, expected) in rows {
        assert_eq!(decide(record.as_ref(), cause, NOW), expected, "{row}");
    }
}

/// The note that client `id` was refused.
fn client_refused(id: &str, at_ms: UnixMs) -> RefusedClient {
    RefusedClient { client_id: id.into(), code: "invalid_client".into(), at_ms }
}

#[test]
fn p11_after_a_client_was_refused_nobody_exchanges_for_half_a_minute() {
    use Decision::{Adopt, Exchange, RetryAt, SignInRequired};
    let first = Exchange { presentations: 1 };
    let left_alone = Decision::ClientRefused { code: "invalid_client".into() };
    let start = Cause::Ended(None);
    let near_end = Cause::Ended(Some(fp("A")));
    let refused_a = Cause::Refused(fp("A"));
    let minute = Cause::Short(fp("A"), Duration::from_secs(60));
    let second = Duration::from_secs(1);
    let soon = NOW.after(20 * second);
    let just_now = |change: fn(&mut Record)| {
        with(|record| {
            record.client_refused = Some(client_refused("c", NOW.before(second)));
            change(record);
        })
    };
    let ended_and = |change: fn(&mut Record)| Record { expires_at_ms: Some(NOW), ..just_now(change) };
    let at = |id: &str, at_ms: UnixMs| Record {
        client_refused: Some(client_refused(id, at_ms)),
        ..ended_and(|_| {})
    };

    let rows: Vec<(&str, Record, &Cause, Decision)> = vec![
        ("fresh", just_now(|_| {}), &start, Adopt),
        ("ended", just_now(ended), &start, left_alone.clone()),
        ("near its end: in use", just_now(nearly_ended), &near_end, Adopt),
        ("last moments: in use to its very end", just_now(in_its_last_moments), &near_end, Adopt),
        ("more life needed: what is there is used", just_now(nearly_ended), &minute, Adopt),
        ("the access token refused, too", just_now(|_| {}), &refused_a, left_alone.clone()),
        ("at this moment", at("c", NOW), &start, left_alone.clone()),
        ("29 s ago", at("c", NOW.before(29 * second)), &start, left_alone.clone()),
        ("30 s ago: tried again", at("c", NOW.before(30 * second)), &start, first.clone()),
        ("by a clock a little ahead", at("c", NOW.after(29 * second)), &start, left_alone.clone()),
        ("by a clock that was set back since", at("c", NOW.after(30 * second)), &start, first.clone()),
        ("another client", at("d", NOW), &start, first),
        (
            "under the mark of a presentation before it",
            ended_and(|r| r.exchange = Some(mark("R", 1, 40))),
            &start,
            left_alone.clone(),
        ),
        (
            "the same half a minute later: the one repeat",
            Record { exchange: Some(mark("R", 1, 40)), ..at("c", NOW.before(30 * second)) },
            &start,
            Exchange { presentations: 2 },
        ),
        (
            "presented twice, the outcome unknown",
            ended_and(|r| r.exchange = Some(mark("R", 2, 40))),
            &start,
            SignInRequired(SignInReason::OutcomeUnknown),
        ),
        ("dead", ended_and(|r| r.dead = Some(dead("R"))), &start, refused_for_good()),
        (
            "no refresh token",
            ended_and(|r| r.refresh_token = None),
            &start,
            SignInRequired(SignInReason::NotRenewable),
        ),
        (
            "the access token refused right after its own exchange",
            just_now(|r| r.refused = Some(refused("A", 1))),
            &refused_a,
            SignInRequired(SignInReason::RefusedAfterExchange),
        ),
        (
            "to be left alone until a time that was noted after it",
            Record { retry_at_ms: Some(soon), ..at("c", NOW) },
            &start,
            RetryAt(soon),
        ),
        (
            "left alone long enough, and the client refused since",
            Record { retry_at_ms: Some(NOW), ..at("c", NOW) },
            &start,
            left_alone,
        ),
    ];
    for (row, record, cause, expected) in rows {
        assert_eq!(decide(Some(&record), cause, NOW), expected, "{row}");
    }
}

#[test]
fn p10_what_a_client_signs_in_with_is_not_spent_by_being_presented() {
    type Row = (&'static str, fn(&mut Record), Decision);
    let of_client = |change: fn(&mut Record)| {
        with(|record| {
            record.client.registration = Registration::ClientCredentials;
            record.client.secret = Some(Secret::new("S"));
            record.refresh_token = None;
            ended(record);
            change(record);
        })
    };
    let start = Cause::Ended(None);
    let first = Decision::Exchange { presentations: 1 };
    let rows: [Row; 6] = [
        ("ended", |_| {}, first.clone()),
        (
            "refused a moment ago",
            |r| r.client_refused = Some(client_refused("c", NOW)),
            Decision::ClientRefused { code: "invalid_client".into() },
        ),
        ("presented twice without an answer", |r| r.exchange = Some(mark("S", 2, 1)), first.clone()),
        ("refused for good", |r| r.dead = Some(dead("S")), refused_for_good()),
        ("another secret since", |r| r.dead = Some(dead("older")), first),
        (
            "without a secret",
            |r| r.client.secret = None,
            Decision::SignInRequired(SignInReason::NotRenewable),
        ),
    ];
    for (name, change, expected) in rows {
        assert_eq!(decide(Some(&of_client(change)), &start, NOW), expected, "{name}");
    }
}
