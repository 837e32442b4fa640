//! One bridge, ten thousand calls.

use serde_json::json;

use crate::world::{PATIENCE, World, initialize};

const CALLS: usize = 10_000;
const IN_FLIGHT: usize = 32;

#[tokio::test]
async fn f26_ten_thousand_calls_with_thirty_two_in_flight_lose_and_double_none() {
    use futures::StreamExt as _;
    let world = World::signed_in(|_| {}).await;
    let bridges = vec![world.bridge()];
    initialize(&bridges).await;
    let bridge = &bridges[0];
    let mut resident = Vec::new();
    for part in 0..5 {
        let calls = (0..CALLS / 5).map(|call| async move {
            let nonce = format!("call-{part}-{call}");
            let answer = bridge.call("count", json!({ "nonce": nonce }), PATIENCE).await;
            assert_eq!(answer.expect("answered"), Ok(nonce));
        });
        futures::stream::iter(calls).buffer_unordered(IN_FLIGHT).collect::<Vec<_>>().await;
        resident.push(bridge.rss_kib().expect("on Linux"));
    }
    let counts = world.kit.counts();
    assert_eq!((counts.calls_run(), counts.calls_doubled()), (CALLS as u64, 0));
    assert_eq!(counts.tool_calls.len(), CALLS);
    let growth = resident[4].saturating_sub(resident[0]);
    assert!(growth < 2_048, "resident memory after each fifth of the calls, KiB: {resident:?}");
    println!("f26: {CALLS} calls, resident memory after each fifth, KiB: {resident:?}");
    world.close(bridges).await;
}
