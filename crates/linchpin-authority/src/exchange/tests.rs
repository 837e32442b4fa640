use linchpin_store::Secret;

use super::*;

fn progress(tries: u32, presentations: u32, paused_s: u64) -> Progress {
    Progress { tries, presentations, paused: Duration::from_secs(paused_s) }
}

fn not_sent() -> Exchange {
    Exchange::NotSent { problem: "p".into() }
}

fn unavailable(retry_after: Option<u64>) -> Exchange {
    Exchange::Unavailable { problem: "p".into(), retry_after: retry_after.map(Duration::from_secs) }
}

fn unknown() -> Exchange {
    Exchange::Unknown { problem: "p".into() }
}

#[test]
fn p10_what_follows_an_outcome() {
    let ms = Duration::from_millis;
    let shown = |next: Next| match next {
        Next::Again(pause) => format!("again after {} ms", pause.as_millis()),
        Next::GiveUp { retry_after, unknown, .. } => {
            format!("give up for {} ms, {unknown} unknown", retry_after.as_millis())
        }
        Next::Repeat => "repeat".to_owned(),
        Next::Bury { code } => format!("bury {code}"),
        Next::ClientRefused { code } => format!("client {code}"),
        Next::Save(_) => "save".to_owned(),
    };
    let rows = [
        (not_sent(), progress(1, 1, 0), "again after 250 ms"),
        (not_sent(), progress(2, 1, 0), "again after 1000 ms"),
        (not_sent(), progress(3, 1, 1), "give up for 2000 ms, 0 unknown"),
        (not_sent(), progress(2, 2, 0), "again after 1000 ms"),
        (not_sent(), progress(3, 2, 1), "give up for 2000 ms, 1 unknown"),
        (unavailable(None), progress(1, 1, 0), "again after 250 ms"),
        (unavailable(Some(0)), progress(1, 1, 0), "again after 0 ms"),
        (unavailable(Some(4)), progress(2, 1, 4), "again after 4000 ms"),
        (unavailable(Some(10)), progress(2, 1, 4), "give up for 10000 ms, 0 unknown"),
        (unavailable(Some(3600)), progress(1, 1, 0), "give up for 60000 ms, 0 unknown"),
        (unavailable(Some(u64::MAX)), progress(1, 1, 9), "give up for 60000 ms, 0 unknown"),
        (unavailable(None), progress(3, 1, 0), "give up for 2000 ms, 0 unknown"),
        (unknown(), progress(1, 1, 0), "repeat"),
        (unknown(), progress(2, 2, 0), "give up for 2000 ms, 2 unknown"),
        (Exchange::Refused { code: "invalid_grant".into() }, progress(1, 1, 0), "bury invalid_grant"),
        (
            Exchange::ClientRefused { code: "invalid_client".into() },
            progress(1, 1, 0),
            "client invalid_client",
        ),
    ];
    for (outcome, progress, expected) in rows {
        let row = format!("{outcome} {progress:?}");
        assert_eq!(shown(next(outcome, progress)), expected, "{row}");
    }
    assert!(LONGEST_PAUSE > ms(0));
}

#[test]
fn p14_what_an_answer_leaves_out_is_carried_forward() {
    let before = crate::credential::tests::record("A1", "R1");
    let marked = marked(before.clone(), 1, UnixMs(7));
    assert_eq!(marked.exchange.as_ref().map(|mark| &mark.fingerprint), before.refresh_fingerprint().as_ref());

    let answer = TokenAnswer {
        access_token: Secret::new("A2"),
        refresh_token: None,
        expires_in: Some(Duration::from_secs(u64::MAX)),
        scopes: None,
    };
    let after = rotated(marked, answer, UnixMs(9));
    assert_eq!(after.refresh_token, before.refresh_token);
    assert_eq!(after.scopes, before.scopes);
    assert_eq!(after.expires_at_ms, Some(UnixMs::MAX));
    assert_eq!(after.exchange, None);
    assert_eq!(after.generation, before.generation + 2);

    let narrowed = TokenAnswer {
        access_token: Secret::new("A3"),
        refresh_token: Some(Secret::new("R3")),
        expires_in: None,
        scopes: Some(vec!["less".into()]),
    };
    let after = rotated(after, narrowed, UnixMs(10));
    assert_eq!(after.refresh_token, Some(Secret::new("R3")));
    assert_eq!(after.scopes, ["less"]);
    assert_eq!(after.expires_at_ms, None);
}

#[test]
fn p11_burying_changes_nothing_but_the_note() {
    let before = marked(crate::credential::tests::record("A1", "R1"), 1, UnixMs(7));
    let after = buried(before.clone(), "invalid_grant", None, UnixMs(8));
    assert!(!after.is_renewable());
    assert_eq!(after.access_token, before.access_token);
    assert_eq!(after.refresh_token, before.refresh_token);
    assert_eq!(after.exchange, None);
    assert_eq!(after.refused, None);
    assert_eq!(after.generation, before.generation + 1);
    let rejected = before.access_token.fingerprint();
    let after = buried(before, "invalid_grant", Some(&rejected), UnixMs(8));
    assert!(after.is_refused() && !after.is_usable(UnixMs(1)));
}

#[test]
fn p11_a_refused_client_is_noted_until_a_renewal_and_costs_no_token() {
    let plain = crate::credential::tests::record("A1", "R1");
    let once = marked(Record { retry_at_ms: Some(UnixMs(6)), ..plain.clone() }, 1, UnixMs(7));
    let after = client_refused(once.clone(), "invalid_client", 0, UnixMs(8));
    let refused = RefusedClient { client_id: "c".into(), code: "invalid_client".into(), at_ms: UnixMs(8) };
    let generation = once.generation + 1;
    assert_eq!(after, Record { client_refused: Some(refused), generation, ..plain }, "and nothing else");

    // A presentation before it may have been acted on all the same.
    let after = client_refused(marked(once, 2, UnixMs(8)), "invalid_client", 1, UnixMs(9));
    assert_eq!(after.exchange.as_ref().map(|mark| mark.presentations), Some(1));
    // It outlasts what says nothing about the client.
    let given_up = given_up(after.clone(), 0, Some(UnixMs(10)));
    assert_eq!(given_up.client_refused, after.client_refused);

    let answer =
        TokenAnswer { access_token: Secret::new("A2"), refresh_token: None, expires_in: None, scopes: None };
    assert_eq!(rotated(after, answer, UnixMs(11)).client_refused, None);
}

#[test]
fn f11_a_mark_older_than_the_lock_may_be_of_an_exchange_that_is_running() {
    let plain = crate::credential::tests::record("A1", "R1");
    let under_mark = marked(plain.clone(), 1, UnixMs(5_000));
    let other_token = Record { refresh_token: Some(Secret::new("R2")), ..under_mark.clone() };
    let made = |ms| Some(UnixMs(ms));
    for (record, lock_made, now, expected) in [
        (&under_mark, made(5_000), 5_000, true),
        (&under_mark, made(6_000), 40_999, true),
        (&under_mark, made(6_000), 41_000, false),
        (&under_mark, made(4_999), 5_000, false),
        // Made by a clock that was ahead and is right again: nobody waits until it has caught up.
        (&under_mark, made(86_400_000), 86_365_001, true),
        (&under_mark, made(86_400_000), 86_365_000, false),
        (&under_mark, None, 5_000, false),
        (&other_token, made(6_000), 6_000, false),
        (&plain, made(6_000), 6_000, false),
    ] {
        assert_eq!(may_be_running(record, lock_made, UnixMs(now)), expected, "{lock_made:?} {now}");
    }
}

#[test]
fn f11_a_presentation_that_never_was_is_taken_back_unless_somebody_changed_the_record() {
    let plain = crate::credential::tests::record("A1", "R1");
    let once = marked(plain.clone(), 1, UnixMs(5_000));
    let twice = marked(once.clone(), 2, UnixMs(6_000));
    let presented =
        |record: Option<Record>| record.map(|record| record.exchange.map(|mark| mark.presentations));
    assert_eq!(presented(never_sent(&once, &once)), Some(None));
    assert_eq!(presented(never_sent(&twice, &twice)), Some(Some(1)));
    assert_eq!(presented(never_sent(&once, &twice)), None);
    assert_eq!(presented(never_sent(&plain, &plain)), None);
}
