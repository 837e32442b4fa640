//! What holds of every decision, whatever the record.

use proptest::prelude::*;

use super::*;

fn any_token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["A", "B", "R", "S"])
}

fn any_record() -> impl Strategy<Value = Record> {
    let time = || 0..2_000_000_000u64;
    (
        any_token(),
        prop::option::of(any_token()),
        time(),
        prop::option::of(time()),
        prop::option::of((any_token(), 1..4u32, time())),
        prop::option::of(any_token()),
        prop::option::of((any_token(), time())),
        prop::option::of(time()),
        prop::option::of((prop::sample::select(vec!["c", "d"]), time())),
    )
        .prop_map(|(access, refresh, obtained, ends, exchange, dead_token, refused, retry, client)| {
            Record {
                access_token: Secret::new(access),
                refresh_token: refresh.map(Secret::new),
                obtained_at_ms: UnixMs(obtained),
                expires_at_ms: ends.map(UnixMs),
                exchange: exchange.map(|(token, presentations, at)| ExchangeMark {
                    fingerprint: fp(token),
                    presentations,
                    at_ms: UnixMs(at),
                    pid: 1,
                }),
                dead: dead_token.map(dead),
                refused: refused
                    .map(|(token, at)| RefusedToken { fingerprint: fp(token), at_ms: UnixMs(at) }),
                retry_at_ms: retry.map(UnixMs),
                client_refused: client.map(|(id, at)| client_refused(id, UnixMs(at))),
                ..record()
            }
        })
}

fn any_cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        prop::option::of(any_token()).prop_map(|token| Cause::Ended(token.map(fp))),
        any_token().prop_map(|token| Cause::Refused(fp(token))),
        (any_token(), 0..100_000u64).prop_map(|(token, s)| Cause::Short(fp(token), Duration::from_secs(s))),
    ]
}

proptest! {
    #[test]
    fn p10_a_dead_token_is_never_presented(record in any_record(), cause in any_cause(), now in 0..2_000_000_000u64) {
        if let Decision::Exchange { presentations } = decide(Some(&record), &cause, UnixMs(now)) {
            prop_assert!(record.is_renewable());
            prop_assert!((1..=PRESENTATIONS).contains(&presentations));
        }
    }

    #[test]
    fn p11_nothing_is_presented_for_a_client_that_was_just_refused(
        record in any_record(),
        cause in any_cause(),
        ago in 0..40_000u64,
        id in prop::sample::select(vec!["c", "d"]),
    ) {
        let now = UnixMs(1_000_000_000);
        let at = now.before(Duration::from_millis(ago));
        let record = Record { client_refused: Some(client_refused(id, at)), ..record };
        let in_pause = id == record.client.id && ago < 30_000;
        match decide(Some(&record), &cause, now) {
            Decision::Exchange { .. } => prop_assert!(!in_pause),
            Decision::ClientRefused { code } => {
                prop_assert!(in_pause && record.is_renewable());
                prop_assert_eq!(code, "invalid_client");
            }
            _ => {}
        }
    }

    #[test]
    fn p16_a_refused_token_is_never_adopted(record in any_record(), cause in any_cause(), now in 0..2_000_000_000u64) {
        if decide(Some(&record), &cause, UnixMs(now)) == Decision::Adopt
            && let Cause::Refused(rejected) = &cause
        {
            prop_assert_ne!(&record.access_token.fingerprint(), rejected);
        }
    }

    #[test]
    fn p16_a_late_refusal_of_an_older_token_costs_no_exchange(record in any_record(), now in 0..2_000_000_000u64) {
        let life = Life { obtained: record.obtained_at_ms, ends: record.expires_at_ms };
        prop_assume!(life.freshness(UnixMs(now), 0.0) == Freshness::Fresh && !record.is_refused());
        prop_assert_eq!(decide(Some(&record), &Cause::Refused(fp("older")), UnixMs(now)), Decision::Adopt);
    }
}
