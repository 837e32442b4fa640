use super::*;

fn right() -> Outcome {
    Outcome { calls_made: 200, calls_answered: 200, exchanges: 1, ..Outcome::default() }
}

#[test]
fn p6_a_round_is_right_only_if_every_count_is() {
    let one = Expected { exchanges: 1..=1, repeats: 0 };
    let some = Expected { exchanges: 2..=4, repeats: 0 };
    let repeated = Expected { exchanges: 1..=1, repeats: 1 };
    let (at_least, at_most) = (1, 1);
    for (outcome, expected, problems) in [
        (right(), &one, vec![]),
        (Outcome { exchanges: 4, ..right() }, &some, vec![]),
        (Outcome { repeats: 1, ..right() }, &repeated, vec![]),
        (Outcome { calls_answered: 199, ..right() }, &one, vec![Problem::Unanswered(1)]),
        (Outcome { calls_doubled: 2, ..right() }, &one, vec![Problem::Doubled(2)]),
        (Outcome { exchanges: 0, ..right() }, &one, vec![Problem::Exchanges { seen: 0, at_least, at_most }]),
        (Outcome { exchanges: 8, ..right() }, &one, vec![Problem::Exchanges { seen: 8, at_least, at_most }]),
        (right(), &some, vec![Problem::Exchanges { seen: 1, at_least: 2, at_most: 4 }]),
        (right(), &repeated, vec![Problem::Repeats { seen: 0, expected: 1 }]),
        (Outcome { repeats: 1, ..right() }, &one, vec![Problem::Repeats { seen: 1, expected: 0 }]),
        (
            Outcome { replays: 1, grants_revoked: 1, ..right() },
            &one,
            vec![Problem::Replays(1), Problem::SignInLost],
        ),
        (Outcome { sign_in_required: 1, ..right() }, &one, vec![Problem::SignInLost]),
        (Outcome { secrets_shown: 1, ..right() }, &one, vec![Problem::SecretShown]),
    ] {
        assert_eq!(outcome.problems(expected), problems, "{outcome:?}");
    }
}

#[test]
fn p20_a_message_with_a_secret_in_it_is_not_repeated() {
    let tally = |message: &str| Tally { first_failure: Some(message.to_owned()), ..Tally::default() };
    let tallies = [Tally::default(), tally("bad planted-at-1"), tally("timed out")];
    let outcome = Outcome::new(&Counts::default(), &tallies, Duration::from_millis(5));
    assert_eq!(outcome.first_failure.as_deref(), Some("timed out"));
}

#[test]
fn tallies_add_up() {
    let well = Tally { made: 25, answered: 25, ..Tally::default() };
    let lost = Tally { made: 25, answered: 12, sign_in_required: true, ..Tally::default() };
    let counts = Counts { exchanges: 3, replays: 1, grants_revoked: 1, ..Counts::default() };
    let outcome = Outcome::new(&counts, &[well, lost.clone(), lost], Duration::from_secs(1));
    let expected = Outcome {
        calls_made: 75,
        calls_answered: 49,
        exchanges: 3,
        replays: 1,
        grants_revoked: 1,
        sign_in_required: 2,
        elapsed_ms: 1000,
        ..Outcome::default()
    };
    assert_eq!(outcome, expected);
    assert!(outcome.lost_the_sign_in());
}
