//! Many processes, one sign-in (P6, F1, F2, F5).

use std::time::Duration;

use linchpin_testkit::{Endpoint, Fault};

use crate::world::{World, initialize, storm};

const TOKEN_DELAY: Duration = Duration::from_millis(300);

async fn all_start_with_an_expired_token(processes: usize, calls: usize) {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.fault(Fault::delay(Endpoint::Token, TOKEN_DELAY));
    let bridges = world.bridges(processes);
    initialize(&bridges).await;
    let tally = storm(&bridges, calls, "start").await;
    let counts = world.kit.counts();
    assert_eq!(tally.answered, processes * calls, "{:?}", tally.errors);
    assert_eq!(counts.exchanges, 1, "{counts:?}");
    assert_eq!((counts.replays, counts.repeats, counts.grants_revoked), (0, 0, 0), "{counts:?}");
    assert_eq!((counts.calls_run(), counts.calls_doubled()), (tally.made as u64, 0));
    assert_eq!(world.opened().len(), 1, "no browser but the first sign-in's");
    world.close(bridges).await;
}

#[tokio::test]
async fn p06_eight_processes_one_expiry_one_exchange() {
    all_start_with_an_expired_token(8, 25).await;
}

#[tokio::test]
async fn p06_thirty_two_processes_one_expiry_one_exchange() {
    all_start_with_an_expired_token(32, 25).await;
}
