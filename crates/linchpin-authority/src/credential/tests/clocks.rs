//! Clocks that jump, stand still or run backwards (F14): nothing panics, and no access token costs more than one
//! exchange.
#![expect(clippy::print_stdout, reason = "`--nocapture` shows the figures")]

use super::*;

const DAY: i64 = 24 * 60 * 60;
const HOUR: i64 = 60 * 60;

/// Ten minutes of calls, one a second from each of three processes, while the clock jumps by so many seconds at each
/// of these moments. What was presented, and how many calls had a token.
async fn minutes_of_calls(jumps: &[(u64, i64)], server_refuses: bool) -> (Vec<String>, usize) {
    let world = world(1_000, Duration::from_millis(300), vec![]).await;
    let processes = [world.credential.clone(), world.another_process(), world.another_process()];
    let mut now_s = 10 * DAY;
    world.set_time(u64::try_from(now_s).expect("after 1970"));
    // The first call finds a token that has ended long ago.
    let mut answered = 0;
    for second in 0..600 {
        if let Some((_, by)) = jumps.iter().find(|(at, _)| *at == second) {
            now_s += by;
        }
        now_s += 1;
        world.set_time(u64::try_from(now_s).expect("after 1970"));
        for process in &processes {
            let token = process.access_token(Wait::Transaction).await.expect("a token");
            answered += 1;
            // A server with a clock of its own refuses what has really ended: it ends every 60 s.
            if server_refuses && second % 60 == 0 {
                process.recover(&token, Wait::Transaction).await.expect("renewed");
            }
        }
        // What runs in the background has its time.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    (world.presented(), answered)
}

#[tokio::test(start_paused = true)]
async fn f14_a_clock_that_jumps_costs_one_exchange_per_access_token() {
    for (what, jumps) in [
        ("steady", &[][..]),
        ("a day forward", &[(200, DAY)]),
        ("a day back", &[(200, -DAY)]),
        ("a day forward and back", &[(200, DAY), (300, -DAY)]),
        ("back and forth each minute", &[(100, -DAY), (160, DAY), (220, -DAY), (280, DAY), (340, -DAY)]),
        ("suspended for an hour", &[(200, HOUR)]),
        ("suspended for an hour, again and again", &[(100, HOUR), (200, HOUR), (300, HOUR), (400, HOUR)]),
        ("a second back, again and again", &[(50, -1), (100, -1), (150, -1), (200, -1), (250, -1)]),
    ] {
        for server_refuses in [false, true] {
            let (presented, answered) = minutes_of_calls(jumps, server_refuses).await;
            let mut once = presented.clone();
            once.sort_unstable();
            once.dedup();
            println!(
                "f14: {what}{}: {answered}/1800 calls had a token, {} exchanges, each refresh token presented once",
                if server_refuses { ", a server that refuses" } else { "" },
                presented.len()
            );
            assert_eq!(once.len(), presented.len(), "{what}: {presented:?}");
            // Tokens live 60 s and are renewed at half-life; a jump, or a refusal, may end one early.
            let refusals = if server_refuses { 30 } else { 0 };
            assert!((1..=22 + jumps.len() + refusals).contains(&presented.len()), "{what}: {presented:?}");
            assert_eq!(answered, 1_800);
        }
    }
}

/// The clock is set back while the answer is under way: the new token's life is counted from when it was asked for,
/// and nobody renews again.
#[tokio::test(start_paused = true)]
async fn f14_a_clock_that_runs_backwards_during_a_refresh_costs_no_second_one() {
    for jump in [-DAY, -HOUR, -61, -1, 1, 59, 61, HOUR, DAY] {
        let world = world(100 * 24 * 3600, Duration::from_secs(2), vec![]).await;
        let credential = world.credential.clone();
        let call = tokio::spawn(async move { credential.access_token(Wait::Transaction).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.set_time(u64::try_from(100 * DAY + jump).expect("after 1970"));
        let renewed = call.await.expect("no panic");
        assert_eq!(token(&renewed), "A2", "{jump}");
        // Everybody asks again at once, here and elsewhere.
        for process in [world.credential.clone(), world.another_process(), world.another_process()] {
            let next = process.access_token(Wait::Transaction).await.expect("a token");
            assert!(["A2", "A3"].contains(&next.secret().expose()), "{jump}: {next:?}");
        }
        let presented = world.presented();
        println!("f14: the clock {jump:+} s during a refresh: {} exchanges", presented.len());
        // One that the jump ended is renewed once more, by its own refresh token.
        let ended = jump >= 54;
        assert_eq!(presented, if ended { vec!["R1", "R2"] } else { vec!["R1"] }, "{jump}");
        let saved = world.saved().await;
        assert_eq!((saved.exchange, saved.dead), (None, None), "{jump}");
    }
}

/// What a provider asked to wait, or a refusal noted a moment ago, does not outlast a clock that was set back.
#[tokio::test(start_paused = true)]
async fn f14_a_clock_set_back_locks_nobody_out() {
    let busy =
        Exchange::Unavailable { problem: "answered 503".into(), retry_after: Some(Duration::from_secs(50)) };
    let world = world(10 * 24 * 3600, Duration::ZERO, vec![busy]).await;
    assert!(world.credential.access_token(Wait::Transaction).await.is_err());
    assert!(world.another_process().access_token(Wait::Transaction).await.is_err(), "left alone for 50 s");
    world.set_time(9 * 24 * 3600);
    assert_eq!(token(&world.another_process().access_token(Wait::Transaction).await), "A2");
    println!("f14: Retry-After 50 s, then a day back: asked again at once, {:?}", world.presented());
    assert_eq!(world.presented(), ["R1", "R1"]);
}

/// What a provider says of a lifetime, in the order of the row: a token is renewed at most once per life, and one
/// shorter than a minute at half of it.
#[tokio::test(start_paused = true)]
async fn f14_absurd_lifetimes_cost_at_most_one_exchange_per_access_token() {
    for (what, lifetime, expected) in [
        ("missing, 0 or negative", None, 1..=1),
        ("1 s", Some(Duration::from_secs(1)), 1..=601),
        ("10 s", Some(Duration::from_secs(10)), 60..=121),
        ("40 s", Some(Duration::from_secs(40)), 15..=31),
        ("2^63 s", Some(Duration::from_secs(1 << 63)), 1..=1),
        ("2^64 - 1 s", Some(Duration::from_secs(u64::MAX)), 1..=1),
    ] {
        let answers = (2..700).map(|number| {
            Exchange::Rotated(TokenAnswer {
                access_token: Secret::new(format!("A{number}")),
                refresh_token: Some(Secret::new(format!("R{number}"))),
                expires_in: lifetime,
                scopes: None,
            })
        });
        let world = world(1_100, Duration::from_millis(10), answers.collect()).await;
        let other = world.another_process();
        for second in 0..600 {
            world.set_time(1_101 + second);
            for process in [&world.credential, &other] {
                process.access_token(Wait::Transaction).await.expect("a token");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let presented = world.presented();
        let mut once = presented.clone();
        once.dedup();
        println!("f14: expires_in {what}: {} exchanges in 600 s, each token presented once", presented.len());
        assert_eq!(once.len(), presented.len(), "{what}: {presented:?}");
        assert!(expected.contains(&presented.len()), "{what}: {}", presented.len());
    }
}
