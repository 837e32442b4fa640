//! What is explored: refreshes, sign-ins and sign-outs in all orders (F19), and callers who go away (F4).

use super::*;

#[test]
fn p06_a_storm_under_any_schedule_makes_one_exchange() {
    explore("storm of 3 processes with 2 calls each", || {
        let world = World::new(Manners::default());
        let calls: Vec<_> = (0..3)
            .map(|_| world.process())
            .flat_map(|process| [call(&process, false), call(&process, false)])
            .collect();
        for outcome in join(calls).into_iter().flatten() {
            assert_eq!(outcome.expect("a token").secret().expose(), "access of first R1");
        }
        world.check_without_losses();
        assert_eq!(world.provider.books().rotations, 1);
    });
}

#[test]
fn f19_a_sign_in_during_a_refresh_wins_under_any_schedule() {
    explore("sign-in during a refresh", || {
        let world = World::new(Manners::default());
        let one = world.process();
        let calls = [call(&one, false), call(&world.process(), false)];
        // In a process that refreshes, too.
        let person = sign_in(one.clone(), "second");
        join([person]);
        assert!(join(calls).iter().flatten().all(Result::is_ok));
        world.check_without_losses();
        let current = one.current().expect("signed in");
        assert_eq!(current.secret().expose(), "browser second", "a process goes on with what it replaced");
        assert_eq!(world.store.last_user_action(), Some(UserAction::SignedIn("browser second".into())));
    });
}

#[test]
fn f19_a_sign_out_during_a_refresh_wins_under_any_schedule() {
    explore("sign-out during a refresh", || {
        let world = World::new(Manners::default());
        let one = world.process();
        let calls = [call(&one, false), call(&world.process(), false)];
        // In a process that refreshes, too.
        let person = sign_out(one.clone());
        join([person]);
        assert!(join(calls).iter().flatten().all(is_token_or_signed_out));
        world.check_without_losses();
        assert_eq!(one.current(), None, "a process goes on with what it signed out");
        assert_eq!(world.store.record(), None);
    });
}

#[test]
fn f19_a_sign_in_and_a_sign_out_during_a_refresh_end_as_the_last_of_them() {
    explore("sign-in and sign-out during a refresh", || {
        let world = World::new(Manners::default());
        let calls = [call(&world.process(), false), call(&world.process(), false)];
        let (comes, goes) = (sign_in(world.process(), "second"), sign_out(world.process()));
        join([comes]);
        join([goes]);
        assert!(join(calls).iter().flatten().all(is_token_or_signed_out));
        world.check_without_losses();
    });
}

#[test]
fn f19_two_sign_ins_during_a_refresh_end_as_the_last_of_them() {
    explore("two sign-ins during a refresh", || {
        let world = World::new(Manners::default());
        let calls = [call(&world.process(), false), call(&world.process(), false)];
        let people = [sign_in(world.process(), "second"), sign_in(world.process(), "third")];
        join(people);
        assert!(join(calls).iter().flatten().all(Result::is_ok));
        world.check_without_losses();
    });
}

#[test]
fn f19_an_import_is_like_a_sign_in_and_replaces_nothing_alive_unless_told_to() {
    explore("import and sign-out during a refresh", || {
        let world = World::new(Manners::default());
        let calls = [call(&world.process(), false), call(&world.process(), false)];
        let (comes, goes) = (import(world.process(), Replace::Always), sign_out(world.process()));
        assert!(matches!(join([comes])[..], [Imported::Saved(_)]));
        join([goes]);
        assert!(join(calls).iter().flatten().all(is_token_or_signed_out));
        world.check_without_losses();
    });
    explore("import of what is wanted only if nothing is there, sign-in and sign-out", || {
        let world = World::new(Manners::default());
        let calls = [call(&world.process(), false)];
        let comes = import(world.process(), Replace::Ended);
        let people = [sign_in(world.process(), "second")];
        let goes = sign_out(world.process());
        let imported = join([comes]);
        join(people);
        let was_there = matches!(join([goes])[..], [SignOut::SignedOut { .. }]);
        if matches!(imported[..], [Imported::Saved(_)]) {
            assert!(was_there, "something that is alive was replaced");
        }
        assert!(join(calls).iter().flatten().all(is_token_or_signed_out));
        world.check_without_losses();
    });
}

#[test]
fn p16_a_refusal_that_several_processes_get_makes_one_exchange_under_any_schedule() {
    explore("401 to 3 processes", || {
        let world = World::new(Manners::default());
        let refused = AccessToken::new(Secret::new("access of first R0"), None);
        let calls: Vec<_> = (0..3)
            .map(|_| (world.process(), refused.clone()))
            .map(|(process, refused)| {
                spawn(async move {
                    turns(12).await;
                    process.recover(&refused, Wait::Transaction).await.expect("recovered")
                })
            })
            .collect();
        for token in join(calls) {
            assert_eq!(token.secret().expose(), "access of first R1");
        }
        world.check_without_losses();
        assert_eq!(world.provider.books().rotations, 1);
    });
}

#[test]
fn p11_a_refused_client_is_presented_for_once_under_any_schedule() {
    explore("storm of 3 processes with 2 calls each, the client refused", || {
        let world = World::new(Manners { refuses_client: true, ..Manners::default() });
        let calls: Vec<_> = (0..3)
            .map(|_| world.process())
            .flat_map(|process| [call(&process, false), call(&process, false)])
            .collect();
        for outcome in join(calls).into_iter().flatten() {
            assert!(matches!(outcome, Err(CredentialError::ClientRefused { .. })), "{outcome:?}");
        }
        world.check_without_losses();
        assert_eq!(world.provider.books().presented.len(), 1);
        // The tokens are kept, and nobody is in doubt about them.
        let saved = world.store.record().expect("a record");
        assert_eq!((saved.refresh_token, saved.exchange), (first().refresh_token, None));
    });
    explore("a sign-in while the client is refused", || {
        let world = World::new(Manners { refuses_client: true, ..Manners::default() });
        let calls = [call(&world.process(), false), call(&world.process(), false)];
        join([sign_in(world.process(), "second")]);
        join(calls);
        world.check_without_losses();
        let saved = world.store.record().expect("a record");
        assert_eq!((saved.access_token.expose(), saved.client_refused), ("browser second", None));
    });
}

#[test]
fn p10_lost_answers_cost_two_presentations_and_with_grace_nothing() {
    explore("an answer lost, with grace", || {
        let world = World::new(Manners { grace: true, losses: 1, ..Manners::default() });
        let calls = [call(&world.process(), false), call(&world.process(), false)];
        for outcome in join(calls).into_iter().flatten() {
            assert_eq!(outcome.expect("a token").secret().expose(), "access of first R1");
        }
        world.check();
        assert_eq!(world.provider.books().replays, 0);
    });
    explore("two answers lost, without grace", || {
        let world = World::new(Manners { losses: 2, ..Manners::default() });
        let calls = [call(&world.process(), false), call(&world.process(), false)];
        for outcome in join(calls).into_iter().flatten() {
            match outcome {
                Ok(_) | Err(CredentialError::SignInRequired { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        world.check();
        assert!(world.provider.books().replays <= 1, "one repeat of what was lost, and no more");
        assert!(world.store.record().is_some(), "nothing is deleted (P11)");
    });
}

#[test]
fn f04_callers_who_go_away_at_any_await_lose_nothing_under_any_schedule() {
    explore("callers, a sign-in and a sign-out who go away", || {
        let world = World::new(Manners::default());
        let one = world.process();
        let calls = [call(&one, true), call(&one, true), call(&world.process(), true)];
        let (comes, goes) = (world.process(), world.process());
        let people = [
            spawn(async move { drop(dropped_at_some_turn(comes.sign_in(from_browser("second"))).await) }),
            spawn(async move { drop(dropped_at_some_turn(goes.sign_out()).await) }),
        ];
        join(calls);
        join(people);
        // Somebody who comes later waits for what they began.
        let later = join([call(&world.process(), false)]);
        assert!(later.iter().flatten().all(is_token_or_signed_out));
        world.check_without_losses();
    });
    explore("callers who go away from a refresh", || {
        let world = World::new(Manners::default());
        let one = world.process();
        join([call(&one, true), call(&one, true), call(&world.process(), true)]);
        let later = join([call(&world.process(), false)]).pop().flatten().expect("not impatient");
        assert_eq!(later.expect("a token").secret().expose(), "access of first R1");
        world.check_without_losses();
        let saved = world.store.record().expect("a record");
        assert_eq!(saved.refresh_token, Some(Secret::new("first R1")), "the new token is saved (P9)");
        assert_eq!(saved.exchange, None);
    });
}

/// What would be found if it were there: a lock that lets everybody in.
#[test]
fn p06_a_lock_that_excludes_nobody_is_found_out() {
    type Scenario = fn();
    let scenarios: [(&[&str], Scenario); 3] = [
        (&["a spent token came back", "exchanges at once"], || {
            let world = World::without_lock();
            join([call(&world.process(), false), call(&world.process(), false)]);
            world.check_without_losses();
        }),
        (&["what was signed out came back"], || {
            let world = World::without_lock();
            let calls = [call(&world.process(), false)];
            join([sign_out(world.process())]);
            join(calls);
            world.check_without_losses();
        }),
        (&["the sign-in that finished last is lost"], || {
            let world = World::without_lock();
            let calls = [call(&world.process(), false)];
            join([sign_in(world.process(), "second")]);
            join(calls);
            world.check_without_losses();
        }),
    ];
    for (found, scenario) in scenarios {
        for kind in ["random", "PCT"] {
            let explored = std::panic::catch_unwind(|| match kind {
                "random" => run(RandomScheduler::new(SCHEDULES), scenario),
                _ => run(PctScheduler::new(DEPTH, SCHEDULES), scenario),
            });
            let panic = explored.expect_err("the broken lock was not found out");
            let told = panic.downcast_ref::<String>().map_or("", String::as_str);
            assert!(found.iter().any(|found| told.contains(found)), "{kind}: {told}");
        }
    }
}
