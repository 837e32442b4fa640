//! Sentences for chains of events, in which later ones are explained by earlier ones.

use linchpin::history::{Code, Earlier, Evidence, Phrase, Place};
use linchpin::{CredentialKey, PlainHttp, Profile, Secret, ServerUrl, StoreKind};

use super::*;

fn name(token: &str) -> TokenName {
    (&Secret::new(token).fingerprint()).into()
}

/// What process `pid` tells at second `at`.
fn event(pid: u32, at: u64, what: What) -> Event {
    let server = ServerUrl::parse("https://mcp.example.com/mcp", PlainHttp::LoopbackOnly).expect("a URL");
    let key = CredentialKey::new(Profile::default(), server);
    let mut event = Event::new(UnixMs(at * 1000), &key, StoreKind::File, Some(1), what);
    event.pid = pid;
    event
}

fn begun(earlier: Option<u32>) -> What {
    What::ExchangeBegun {
        token: name("R1"),
        presentations: if earlier.is_some() { 2 } else { 1 },
        cause: Cause::Ended,
        access: name("A1"),
        earlier: earlier.map(|pid| Earlier { pid, at_ms: UnixMs(1000) }),
    }
}

fn ended(outcome: Outcome, next: Next) -> What {
    What::ExchangeEnded {
        token: name("R1"),
        presentations: 1,
        tries: 1,
        outcome,
        code: (outcome == Outcome::Refused).then(|| Code::new("invalid_grant")),
        problem: (outcome == Outcome::Unknown)
            .then(|| Phrase::new("closed the connection without an answer")),
        retry_after_ms: None,
        next,
        pause_ms: None,
        registration: None,
    }
}

fn client_refused() -> What {
    let mut what = ended(Outcome::ClientRefused, Next::Keep);
    if let What::ExchangeEnded { pause_ms, code, .. } = &mut what {
        *pause_ms = Some(30_000);
        *code = Some(Code::new("invalid_client"));
    }
    what
}

fn required(reason: Reason) -> What {
    let code = (reason == Reason::Refused).then(|| Code::new("invalid_grant"));
    What::SignInRequired { reason, code, token: Some(name("R1")), access: Some(name("A1")), evidence: None }
}

/// The sentence for the last of them.
fn told(events: &[Event]) -> String {
    let mut story = Story::default();
    events.iter().map(|event| story.tell(event)).last().expect("an event")
}

#[test]
fn why_a_person_has_to_sign_in_is_told_with_what_led_to_it() {
    use Outcome::{Refused, Unknown};
    let refused = event(8, 9, required(Reason::Refused));
    let lost = vec![
        event(7, 1, begun(None)),
        event(7, 2, ended(Unknown, Next::Repeat)),
        event(7, 2, begun(Some(7))),
        event(7, 3, ended(Refused, Next::Bury)),
    ];
    let sentence = told(&[lost, vec![refused.clone()]].concat());
    assert_eq!(
        sentence,
        format!(
            "sign-in required: the provider refused refresh token {} (invalid_grant) after process 7 had presented it \
             at 1970-01-01 00:00:01.000Z and got no usable answer (the provider closed the connection without an \
             answer); it was presented once more, as a provider may honour",
            name("R1")
        )
    );
    // Killed in its exchange.
    let killed =
        vec![event(7, 1, begun(None)), event(8, 2, begun(Some(7))), event(8, 3, ended(Refused, Next::Bury))];
    let sentence = told(&[killed, vec![refused.clone()]].concat());
    assert!(
        sentence.contains("process 7 had presented it")
            && sentence.contains("its outcome is not in the history"),
        "{sentence}"
    );
    // Nothing was lost here: somebody else did it.
    let spent = vec![event(8, 1, begun(None)), event(8, 2, ended(Refused, Next::Bury))];
    let sentence = told(&[spent, vec![refused.clone()]].concat());
    assert!(
        sentence.contains("presented once, by this process") && sentence.contains("another program"),
        "{sentence}"
    );
    // The history begins too late to know.
    assert!(told(&[refused]).ends_with(" (invalid_grant)"));

    let twice = vec![
        event(7, 1, begun(None)),
        event(7, 2, ended(Unknown, Next::Repeat)),
        event(9, 3, begun(Some(7))),
        event(9, 4, ended(Unknown, Next::GiveUp)),
        event(9, 5, required(Reason::OutcomeUnknown)),
    ];
    let sentence = told(&twice);
    let expected = "by process 7 at 1970-01-01 00:00:01.000Z and this process at 1970-01-01 00:00:03.000Z";
    assert!(sentence.contains(expected), "{sentence}");
}

/// A gateway may eat the answer of a provider that has spent the token.
#[test]
fn p10_an_answer_that_a_gateway_may_have_made_is_no_proof_that_nothing_was_spent() {
    let answered = |tries, outcome, next| {
        let mut what = ended(outcome, next);
        if let What::ExchangeEnded { tries: all, problem, .. } = &mut what {
            *all = tries;
            *problem = (outcome == Outcome::Unavailable).then(|| Phrase::new("answered 503"));
        }
        what
    };
    let begin = event(8, 1, begun(None));
    let (first, second) = (
        event(8, 2, answered(1, Outcome::Unavailable, Next::Again)),
        event(8, 3, answered(2, Outcome::Unavailable, Next::Again)),
    );
    let refused = |tries| event(8, 4, answered(tries, Outcome::Refused, Next::Bury));
    let required = event(8, 4, required(Reason::Refused));
    for (events, part) in [
        (
            vec![begin.clone(), first.clone(), refused(2), required.clone()],
            "; an answer of the provider or of a gateway before it (the provider answered 503) said that nothing was \
             done, and that request may have spent it",
        ),
        (
            vec![begin.clone(), first, second, refused(3), required.clone()],
            "; 2 answers of the provider or of a gateway",
        ),
        // What was told in between is gone.
        (vec![begin, refused(3), required], "; 2 requests before it are not in the history"),
    ] {
        let sentence = told(&events);
        assert!(sentence.contains(part) && !sentence.contains("once"), "{sentence}");
    }
}

/// Who was killed before it told anything stands in the mark; who knows of the refusal alone says no more than that.
#[test]
fn p10_marks_and_the_event_itself_tell_what_the_history_has_not() {
    let killed = [
        event(8, 2, begun(Some(7))),
        event(8, 3, ended(Outcome::Refused, Next::Bury)),
        event(8, 4, required(Reason::Refused)),
    ];
    let sentence = told(&killed);
    let expected =
        "after process 7 had presented it at 1970-01-01 00:00:01.000Z and its outcome is not in the history";
    assert!(sentence.contains(expected), "{sentence}");

    let with = |reason, evidence| {
        let mut what = required(reason);
        if let What::SignInRequired { evidence: own, .. } = &mut what {
            *own = Some(evidence);
        }
        told(&[event(8, 9, what)])
    };
    let earlier = |pid, at| Some(Earlier { pid, at_ms: UnixMs(at) });
    let (last, problem) = (earlier(8, 3000), Some(Phrase::new("answered 503")));
    let evidence =
        Evidence { presentations: 2, tries: 1, last, earlier: earlier(7, 1000), ..Evidence::default() };
    assert!(with(Reason::Refused, evidence.clone()).contains(expected));
    let sentence = with(Reason::OutcomeUnknown, evidence.clone());
    let both = "by process 7 at 1970-01-01 00:00:01.000Z and this process at 1970-01-01 00:00:03.000Z";
    assert!(sentence.contains(both), "{sentence}");
    let sentence = with(Reason::OutcomeUnknown, Evidence { earlier: None, ..evidence.clone() });
    assert!(sentence.contains(", the last time by this process at 1970-01-01 00:00:03.000Z,"), "{sentence}");
    let eaten = Evidence { earlier: None, tries: 2, unavailable: 1, problem, ..evidence };
    assert!(with(Reason::Refused, eaten).contains("; an answer of the provider or of a gateway"));
    let sentence =
        with(Reason::Refused, Evidence { refused_at_ms: Some(UnixMs(5000)), ..Evidence::default() });
    assert!(sentence.ends_with(" (invalid_grant) at 1970-01-01 00:00:05.000Z"), "{sentence}");
}

#[test]
fn an_adoption_names_the_process_that_obtained_the_token() {
    let renewed =
        What::Renewed { token: Some(name("R2")), access: name("A2"), expires_at_ms: None, failed_saves: 0 };
    let adopted = What::Adopted { access: name("A2"), instead_of: Some(name("A1")) };
    let sentence = told(&[event(7, 1, renewed), event(8, 2, adopted.clone())]);
    let expected =
        format!("adopts access token {} instead of {}, which process 7 obtained", name("A2"), name("A1"));
    assert_eq!(sentence, expected);
    assert!(!told(&[event(8, 2, adopted)]).contains("process"));
}

#[test]
fn each_event_is_one_sentence() {
    let phrase = || Phrase::new("it did not answer within 3 s");
    let place = || Place::new("https://as.example.com");
    for (what, part) in [
        (begun(None), "has ended"),
        (begun(Some(7)), "once more: process 7 presented it at 1970-01-01 00:00:01.000Z"),
        (ended(Outcome::Rotated, Next::Save), "issued new tokens"),
        (ended(Outcome::NotSent, Next::Again), "was not sent"),
        (
            ended(Outcome::ClientRefused, Next::Keep),
            "refused the request (no code); the tokens are kept, and a sign-in may help",
        ),
        (
            client_refused(),
            "refused this client (invalid_client); the tokens are kept, nobody asks again for 30 s, and the next \
             sign-in registers",
        ),
        (
            What::SaveFailed { tokens_wait: true, attempt: 2, problem: phrase() },
            "(attempt 2): it did not answer within 3 s; they are kept in memory",
        ),
        (What::SaveFailed { tokens_wait: false, attempt: 1, problem: phrase() }, "nothing was presented"),
        (What::Kept { access: name("A1") }, "stays in use"),
        (required(Reason::NotRenewable), "issued no refresh token"),
        (required(Reason::NotSignedIn), "there is no sign-in"),
        (required(Reason::RefusedAfterExchange), "renewed just now"),
        (What::RefusedAfterExchange { access: name("A1") }, "30 s"),
        (What::LockWaited { purpose: Phrase::new("refresh"), waited_ms: 1_234 }, "waited 1.3 s"),
        (
            What::LockTimedOut {
                purpose: Phrase::new("refresh"),
                waited_ms: 60_000,
                holder: Some(7),
                held_for: Some(Phrase::new("sign-in")),
            },
            "(refresh) after 60 s, held by process 7 (sign-in)",
        ),
        (What::LockFailed { purpose: Phrase::new("refresh"), problem: phrase() }, "not to be had"),
        (What::LockLost, "starting over"),
        (
            What::SignInAdopted { access: name("A9") },
            "takes over the sign-in that another process made: access",
        ),
        (What::SignInFailed { problem: phrase() }, "came to nothing: it did not answer within 3 s"),
        (What::Moved { to: StoreKind::Secrets }, "moved to the secrets store"),
        (What::CopyRemoved { from: StoreKind::File }, "a copy in the file store was removed"),
        (What::CopyLeft { from: StoreKind::File, problem: phrase() }, "could not be removed: it did not"),
        (
            What::StoreDrift { before: StoreKind::Keyring, reason: phrase() },
            "read from the file store, the last time from the keyring store: it did not",
        ),
        (What::OtherProvider { before: place(), named: place() }, "names another provider"),
        (What::Other { kind: "teleported".into() }, "teleported"),
    ] {
        let sentence = told(&[event(8, 9, what)]);
        assert!(sentence.contains(part), "{sentence}");
        assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "{sentence}");
    }
}

#[test]
fn a_story_without_end_takes_no_more_memory() {
    let mut story = Story::default();
    for number in 0..2 * MOST {
        let access = name(&number.to_string());
        let what = What::Renewed { token: None, access, expires_at_ms: None, failed_saves: 0 };
        story.tell(&event(7, 1, what));
    }
    assert!(story.obtained.len() <= MOST + 1);
}
