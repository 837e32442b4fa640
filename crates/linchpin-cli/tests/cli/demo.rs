//! The demo, as a newcomer runs it.

use std::fs;
use std::time::Duration;

use crate::world::World;

#[tokio::test]
async fn the_demo_keeps_its_sign_in_through_every_round() {
    let world = World::new();
    let ran = world.run(&["demo", "--json", "-n", "3", "--calls", "6"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(
        (report["ok"].as_bool(), report["linchpin"]["sign_ins"].as_u64()),
        (Some(true), Some(1)),
        "{report}"
    );
    let rounds = report["linchpin"]["rounds"].as_array().expect("rounds").clone();
    assert_eq!(rounds.len(), 6, "{report}");
    for round in &rounds {
        let number = |name: &str| round[name].as_u64().unwrap_or_else(|| panic!("{name} in {round}"));
        assert_eq!(
            (number("calls_answered"), number("calls_made"), number("replays")),
            (18, 18, 0),
            "{round}"
        );
        match round["round"].as_str().expect("a name") {
            "short_lives" => assert!(number("exchanges") >= 1, "{round}"),
            _ => assert_eq!(number("exchanges"), 1, "{round}"),
        }
    }
    assert!(report["rmcp"]["rounds"].as_array().is_some_and(|rounds| rounds.len() == 6), "{report}");
    assert!(!ran.stdout.contains("planted-") && !ran.stderr.contains("planted-"));
}

#[tokio::test]
async fn the_demo_touches_nothing_of_the_users_and_says_nothing_aside() {
    let world = World::new();
    let temporary = world.scratch().join("tmp");
    fs::create_dir(&temporary).expect("made");
    let mut command = world.command(&["demo", "-n", "2", "--calls", "2", "--no-contrast"]);
    command.env_remove("LINCHPIN_LOG").env("TMPDIR", &temporary);
    let ran = world.finish(command).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.contains("linchpin login URL"), "{ran:?}");
    assert!(!world.linchpin_home().exists() && world.opened().is_empty());
    assert_eq!(fs::read_dir(&temporary).expect("readable").count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn the_demo_leaves_nothing_behind_when_it_is_interrupted() {
    let world = World::new();
    let temporary = world.scratch().join("tmp");
    fs::create_dir(&temporary).expect("made");
    let mut command = world.command(&["demo", "-n", "2", "--calls", "2"]);
    command.env("TMPDIR", &temporary);
    let running = world.start_command(command);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    running.interrupt().await;
    let ran = running.ended().await;
    assert_eq!(ran.code, 130, "{ran:?}");
    assert_eq!(fs::read_dir(&temporary).expect("readable").count(), 0);
}
