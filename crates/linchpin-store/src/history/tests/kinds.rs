//! The lines of every kind of event, and of kinds that are not known yet.

use super::*;
use crate::history::{
    Cause, Code, Earlier, Evidence, How, Next, Outcome, Phrase, Place, Reason, RevocationOutcome, TokenName,
};

fn token(text: &str) -> TokenName {
    (&Secret::new(text).fingerprint()).into()
}

fn evidence() -> Evidence {
    Evidence {
        presentations: 2,
        tries: 3,
        unavailable: 1,
        last: Some(Earlier { pid: 8, at_ms: UnixMs(6) }),
        earlier: Some(Earlier { pid: 7, at_ms: UnixMs(5) }),
        problem: Some(Phrase::new("answered 503")),
        refused_at_ms: Some(UnixMs(7)),
    }
}

/// One of each, with what may be left out both there and not.
fn every_kind() -> Vec<What> {
    let (problem, purpose) = (Phrase::new("closed the connection"), Phrase::new("refresh"));
    let place = || Place::new("https://as.example.com");
    vec![
        What::ExchangeBegun {
            token: token("R1"),
            presentations: 2,
            cause: Cause::Refused,
            access: token("A1"),
            earlier: Some(Earlier { pid: 7, at_ms: UnixMs(5) }),
        },
        What::ExchangeBegun {
            token: token("R1"),
            presentations: 1,
            cause: Cause::NearEnd,
            access: token("A1"),
            earlier: None,
        },
        What::ExchangeEnded {
            token: token("R1"),
            presentations: 1,
            tries: 3,
            outcome: Outcome::Unavailable,
            code: None,
            problem: Some(problem.clone()),
            retry_after_ms: Some(5_000),
            next: Next::GiveUp,
            pause_ms: Some(5_000),
            registration: Some(crate::Registration::Preregistered),
        },
        What::ExchangeEnded {
            token: token("R1"),
            presentations: 1,
            tries: 1,
            outcome: Outcome::Refused,
            code: Some(Code::new("invalid_grant")),
            problem: None,
            retry_after_ms: None,
            next: Next::Bury,
            pause_ms: None,
            registration: None,
        },
        What::Renewed {
            token: Some(token("R2")),
            access: token("A2"),
            expires_at_ms: Some(UnixMs(9)),
            failed_saves: 2,
        },
        What::Renewed { token: None, access: token("A2"), expires_at_ms: None, failed_saves: 0 },
        What::SaveFailed { tokens_wait: true, attempt: 3, problem: problem.clone() },
        What::Adopted { access: token("A2"), instead_of: Some(token("A1")) },
        What::Adopted { access: token("A2"), instead_of: None },
        What::Kept { access: token("A2") },
        What::Superseded,
        What::SignInRequired {
            reason: Reason::Refused,
            code: Some(Code::new("invalid_grant")),
            token: Some(token("R1")),
            access: Some(token("A1")),
            evidence: Some(evidence()),
        },
        What::SignInRequired {
            reason: Reason::OutcomeUnknown,
            code: None,
            token: None,
            access: None,
            evidence: None,
        },
        What::RefusedAfterExchange { access: token("A2") },
        What::LockWaited { purpose: purpose.clone(), waited_ms: 1_200 },
        What::LockTimedOut {
            purpose: purpose.clone(),
            waited_ms: 60_000,
            holder: Some(7),
            held_for: Some(purpose.clone()),
        },
        What::LockFailed { purpose, problem: problem.clone() },
        What::LockLost,
        What::SignedIn {
            how: How::Imported,
            issuer: place(),
            token: Some(token("R1")),
            access: token("A1"),
            expires_at_ms: None,
        },
        What::SignInAdopted { access: token("A1") },
        What::SignInFailed { problem: problem.clone() },
        What::SignedOut {
            revocation: RevocationOutcome::Unavailable,
            code: None,
            problem: Some(problem.clone()),
        },
        What::Moved { to: StoreKind::Secrets },
        What::CopyRemoved { from: StoreKind::File },
        What::CopyLeft { from: StoreKind::Keyring, problem: problem.clone() },
        What::StoreDrift { before: StoreKind::Keyring, reason: problem },
        What::OtherProvider { before: place(), named: place() },
    ]
}

#[test]
fn every_kind_is_read_as_it_was_written() {
    let mut kinds = std::collections::HashSet::new();
    for what in every_kind() {
        kinds.insert(std::mem::discriminant(&what));
        let event = Event::new(UnixMs(1_764_000_000_000), &key(1), StoreKind::File, Some(4), what);
        let line = event.to_line();
        assert!(!line.contains('\n') && line.len() < 4096, "{line}");
        assert_eq!(Event::from_line(line.as_bytes()), Some(event), "{line}");
    }
    assert_eq!(kinds.len(), 22, "all of them");
}

/// What programs may rely on.
#[test]
fn a_line_is_flat_json() {
    let event = Event::new(UnixMs(17), &key(1), StoreKind::File, Some(4), every_kind().remove(3));
    let line: serde_json::Value = serde_json::from_str(&event.to_line()).expect("JSON");
    let expected = serde_json::json!({
        "v": 1, "at_ms": 17, "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"),
        "key": key(1).digest(), "server": "https://mcp1.example.com/mcp", "profile": "default", "store": "file",
        "generation": 4, "kind": "exchange_ended", "token": token("R1").as_str(), "presentations": 1, "tries": 1,
        "outcome": "refused", "code": "invalid_grant", "next": "bury",
    });
    assert_eq!(line, expected);
}

#[test]
fn a_later_version_is_read_for_what_is_known_of_it() {
    let line = numbered(1).to_line();
    for (from, to, kind) in [
        ("\"superseded\"", "\"teleported\",\"whereto\":{\"x\":[1]}", Some("teleported")),
        ("\"superseded\"", "\"moved\",\"to\":\"postgres\"", Some("moved")),
        ("\"superseded\"", "\"moved\"", Some("moved")),
        ("\"superseded\"", "\"superseded\",\"more\":1", None),
        ("\"v\":1", "\"v\":2", None),
        ("\"store\":\"file\"", "\"store\":\"postgres\"", None),
    ] {
        let line = line.replace(from, to);
        let event = Event::from_line(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
        let expected = kind.map_or(What::Superseded, |kind| What::Other { kind: kind.to_owned() });
        assert_eq!(event.what, expected, "{line}");
        assert_eq!(event.store.is_none(), line.contains("\"store\":\"postgres\""));
    }
    for no_event in ["{}", "[]", "1", "{\"kind\":\"moved\"}", "{\"kind\":1}", ""] {
        assert_eq!(Event::from_line(no_event.as_bytes()), None, "{no_event}");
    }
}
