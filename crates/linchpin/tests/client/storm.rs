//! One refusal, many processes (F2).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::time::Duration;

use linchpin_testkit::{Endpoint as At, Fault};

use crate::child::{line, role, spawn};
use crate::world::World;

const PROCESSES: usize = 4;
const TASKS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f02_fifty_tasks_in_each_of_four_processes_meet_one_refusal_with_one_exchange() {
    let world = World::new().await;
    let (home, mcp_url) = (world.home().to_owned(), world.kit.mcp_url());
    let mut children: Vec<_> =
        (0..PROCESSES).map(|number| spawn(&role(&home, &mcp_url, format!("p{number}"), TASKS))).collect();
    let mut outputs: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().expect("piped")).lines())
        .collect();
    let mut outputs = tokio::task::spawn_blocking(move || {
        for lines in &mut outputs {
            line(lines, "ready");
        }
        outputs
    })
    .await
    .expect("no panic");
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::delay(At::Token, Duration::from_millis(100)));
    // Refusals that come early and late.
    for (number, ms) in [0, 150, 30, 300, 80, 10, 200].into_iter().cycle().take(70).enumerate() {
        let skip = u32::try_from(number % 3).unwrap_or(0);
        let delay = Fault::delay(At::McpPost, Duration::from_millis(ms));
        world.kit.fault(delay.of_method("tools/call").skip(skip).times(1));
    }
    for child in &mut children {
        child.stdin.take().expect("piped").write_all(b"go\n").expect("told");
    }
    let failed = tokio::task::spawn_blocking(move || {
        let failed: Vec<_> = outputs.iter_mut().map(|lines| line(lines, "done ")).collect();
        for child in &mut children {
            assert!(child.wait().expect("waited for").success());
        }
        failed
    })
    .await
    .expect("no panic");
    assert!(failed.iter().all(|failed| failed == "[]"), "{failed:?}");
    let mut sent = BTreeMap::<String, u32>::new();
    for seen in world.kit.seen() {
        let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        if let Some(nonce) = body["params"]["arguments"]["nonce"].as_str() {
            *sent.entry(nonce.to_owned()).or_default() += 1;
        }
    }
    let counts = world.kit.counts();
    let most = sent.values().max().copied().unwrap_or(0);
    println!(
        "{} calls in {PROCESSES} processes: {} exchanges, {} refusals, sent {} times, at most {most} each",
        sent.len(),
        counts.exchanges,
        counts.unauthorized,
        world.sent()
    );
    assert_eq!((counts.exchanges, counts.most_presentations()), (1, 1));
    assert_eq!((counts.calls_run(), counts.calls_doubled()), ((PROCESSES * TASKS) as u64, 0));
    assert_eq!((sent.len(), most), (PROCESSES * TASKS, 2));
    world.finish(&[]);
}
