//! `config.toml`: changed by many at once, kept as its owner has it, and never trusted when it is somebody else's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use crate::bad_input::{NOBODY, told};
use crate::world::World;

const TEXT: &str = "[servers.a]\nurl = \"https://a.example.com/mcp\"\n";

fn furnished() -> (World, std::path::PathBuf) {
    let world = World::new();
    fs::create_dir(world.linchpin_home()).expect("made");
    let config = world.linchpin_home().join("config.toml");
    fs::write(&config, TEXT).expect("written");
    (world, config)
}

#[tokio::test]
async fn p01_names_that_are_added_at_once_are_all_there_and_the_mode_stays() {
    let (world, config) = furnished();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("changed");
    let adds = (0..30).map(|number| {
        let world = &world;
        async move { world.run(&["add", &format!("n{number}"), "https://n.example.com/mcp"]).await }
    });
    for ran in futures::future::join_all(adds).await {
        // On a machine that is busy, one may have to wait for another long enough to be told so.
        let told = |line: &str| line.contains("waiting for process");
        assert!(ran.code == 0 && ran.stderr.lines().all(told), "{ran:?}");
    }
    let listed = world.run(&["list", "--json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(31), "{listed}");
    assert_eq!(fs::metadata(&config).expect("there").permissions().mode() & 0o777, 0o644);
}

#[tokio::test]
async fn p06_a_change_waits_ten_seconds_for_another_and_names_it() {
    let (world, config) = furnished();
    assert_eq!(world.run(&["add", "b", "https://b.example.com/mcp"]).await.code, 0);
    let before = fs::read(&config).expect("read");
    let path = world.linchpin_home().join("locks/config.toml.lock");
    let lock = fs::OpenOptions::new().read(true).write(true).open(&path).expect("left by the first");
    lock.try_lock().expect("free");
    fs::write(&path, r#"{"pid":4711,"purpose":"add","since_ms":1}"#).expect("written");
    let ran = world.run(&["add", "c", "https://c.example.com/mcp"]).await;
    let error = ran.stderr.lines().last().expect("a line");
    assert!(ran.code == 6 && error.starts_with("error: waited 10."), "{ran:?}");
    assert!(error.contains("config.toml.lock") && error.ends_with("held by process 4711 (add)"), "{error}");
    assert_eq!(fs::read(&config).expect("read"), before);
    assert_eq!(world.run(&["list"]).await.code, 0, "who only reads does not wait");
}

#[tokio::test]
async fn a_configuration_that_is_a_link_stays_one() {
    let (world, config) = furnished();
    let repository = world.scratch().join("dotfiles");
    fs::create_dir(&repository).expect("made");
    let target = repository.join("linchpin.toml");
    fs::rename(&config, &target).expect("moved");
    std::os::unix::fs::symlink(&target, &config).expect("linked");
    assert_eq!(world.run(&["add", "b", "https://b.example.com/mcp"]).await.code, 0);
    assert!(fs::symlink_metadata(&config).expect("there").is_symlink());
    assert!(fs::read_to_string(&target).expect("read").starts_with(TEXT));
    assert_eq!(world.run(&["list", "--json"]).await.json().as_array().map(Vec::len), Some(2));
    fs::remove_file(&target).expect("removed");
    told(&world.run(&["list"]).await, 5, &["config.toml", "link to nothing", "remove it"]);
}

#[tokio::test]
async fn f13_a_configuration_that_others_could_have_written_is_refused_at_once() {
    for (what, parts) in [
        ("fifo", &["not a plain file", "move it away"][..]),
        ("directory", &["not a plain file", "move it away"]),
        ("writable", &["every user can write to it", "chmod o-w"]),
        ("home", &["every user can write to it", "chmod o-w"]),
        ("foreign", &["belongs to another user", "change its owner"]),
        ("huge", &["longer than 1 MiB", "move it away"]),
        ("binary", &["not UTF-8", "correct it"]),
    ] {
        let (world, config) = furnished();
        let set_mode = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        match what {
            "fifo" => {
                fs::remove_file(&config).expect("removed");
                assert!(Command::new("mkfifo").arg(&config).status().await.expect("mkfifo").success());
            }
            "directory" => {
                fs::remove_file(&config).expect("removed");
                fs::create_dir(&config).expect("made");
            }
            "writable" => set_mode(&config, 0o666).expect("changed"),
            "home" => set_mode(&world.linchpin_home(), 0o777).expect("changed"),
            // Only root can give a file away.
            "foreign" if std::os::unix::fs::chown(&config, Some(NOBODY), None).is_err() => continue,
            "huge" => fs::write(&config, "#".repeat((1 << 20) + 1)).expect("written"),
            "binary" => fs::write(&config, b"# \xff\n").expect("written"),
            _ => {}
        }
        let before = fs::read_dir(world.linchpin_home()).expect("listed").count();
        for command in [&["list"][..], &["status"], &["tools", "a"], &["add", "b", "https://b.example.com/"]]
        {
            let ran = tokio::time::timeout(Duration::from_secs(5), world.run(command)).await;
            told(&ran.unwrap_or_else(|_| panic!("{what}: {command:?} hangs")), 5, parts);
        }
        let after = fs::read_dir(world.linchpin_home()).expect("listed").count();
        assert!(after <= before + 1, "{what}: nothing but the locks is written");
    }
}

#[tokio::test]
async fn a_configuration_of_another_shape_is_told_with_a_remedy() {
    let (world, config) = furnished();
    fs::write(&config, "servers = 7\n").expect("written");
    for command in [&["add", "b", "https://b.example.com/"][..], &["list"]] {
        told(&world.run(command).await, 5, &["`servers` is not a table", "correct it"]);
    }
    fs::write(&config, TEXT).expect("written");
    let listed = world.run(&["list", "--json"]).await.json();
    assert_eq!(listed, json!([{ "name": "a", "url": "https://a.example.com/mcp", "profile": "default" }]));
}
