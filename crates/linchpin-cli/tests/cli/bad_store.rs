//! Stores that are damaged, no plain files of ours, or out of reach (F7, F8, F13).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tokio::process::Command;

use crate::bad_input::{NOBODY, told};
use crate::world::{PATIENCE, World};

/// What a store can be that Linchpin did not write.
fn damaged_stores() -> Vec<(&'static str, &'static [u8], &'static str)> {
    vec![
        ("empty", b"", "is damaged"),
        ("truncated", b"{\"version\":1,\"credentials\":{\"default http", "is damaged"),
        ("garbage", b"\0\xff\xfenot a store", "is damaged"),
        ("trailing", b"{\"version\":1,\"credentials\":{}}x", "is damaged"),
        ("array", b"[]", "is damaged"),
        ("no version", b"{}", "is damaged"),
        ("version", b"{\"version\":2,\"credentials\":{}}", "has version 2"),
        (
            "repeated",
            b"{\"version\":1,\"credentials\":{\"default https://a/\":{},\"default https://a/\":{}}}",
            "is damaged",
        ),
    ]
}

#[tokio::test]
async fn f08_a_store_that_cannot_be_read_stops_every_command_and_is_left_alone() {
    let world = World::new();
    fs::create_dir(world.linchpin_home()).expect("made");
    let store = world.credentials();
    let name = store.to_str().expect("UTF-8").to_owned();
    let url = world.url();
    for (what, content, part) in damaged_stores() {
        fs::write(&store, content).expect("written");
        fs::set_permissions(&store, fs::Permissions::from_mode(0o600)).expect("changed");
        for command in [
            &["login", &url][..],
            &["logout", &url],
            &["status"],
            &["status", &url],
            &["token", &url],
            &["tools", &url],
            &["call", &url, "echo"],
            &["bridge", "--login", &url],
        ] {
            let ran = world.run(command).await;
            assert_eq!(ran.code, 5, "{what} {command:?}: {ran:?}");
            told(&ran, 5, &[&name, part]);
            assert_eq!(fs::read(&store).expect("read"), content, "{what} {command:?}");
        }
        let ran = world.run(&["status", "--json"]).await;
        // The keyring might have some, so the rows are answered, and the store that failed is told beside them.
        assert_eq!((ran.code, ran.json()), (5, json!([])), "{what}");
        assert!(ran.stderr.contains(&name), "{what}: {ran:?}");
        let copies: Vec<_> = world.files().into_iter().filter(|(path, _)| *path != store).collect();
        let kept = part == "is damaged";
        assert_eq!(copies.len(), usize::from(kept), "{what}: one copy for one damage");
        for (path, copy) in copies {
            assert!(path.to_str().expect("UTF-8").contains(".corrupt-") && copy == content, "{what}");
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
            fs::remove_file(path).expect("removed");
        }
    }
    assert_eq!(
        (world.opened().len(), world.kit.counts().registrations),
        (0, 0),
        "nobody is sent to a browser for it"
    );
}

#[tokio::test]
async fn f08_a_bridge_tells_its_client_what_is_wrong_with_the_store() {
    let world = World::new();
    fs::create_dir(world.linchpin_home()).expect("made");
    fs::write(world.credentials(), "{").expect("written");
    let bridge = world.bridge();
    let answer = bridge.initialize(PATIENCE).await.expect("answered");
    let message = answer["error"]["message"].as_str().expect("an error");
    assert!(message.contains(world.credentials().to_str().expect("UTF-8")), "{message}");
    world.close(vec![bridge]).await;
}

#[tokio::test]
async fn f13_a_store_that_is_no_plain_file_of_ours_is_refused() {
    let world = World::new();
    fs::create_dir(world.linchpin_home()).expect("made");
    let store = world.credentials();
    let target = world.scratch().join("target");
    fs::write(&target, "theirs").expect("written");
    for what in ["directory", "fifo", "symlink", "dangling"] {
        match what {
            "directory" => fs::create_dir(&store).expect("made"),
            "fifo" => {
                let made = Command::new("mkfifo").arg(&store).status().await.expect("there is mkfifo");
                assert!(made.success());
            }
            "symlink" => std::os::unix::fs::symlink(&target, &store).expect("linked"),
            _ => std::os::unix::fs::symlink(world.scratch().join("nowhere"), &store).expect("linked"),
        }
        for command in [&["login"][..], &["status"], &["tools"], &["logout"]] {
            let url = world.url();
            let ran = world.run(&[command, &[&*url]].concat()).await;
            assert_eq!(ran.code, 5, "{what}: {ran:?}");
            let part = if what.contains("link") || what == "dangling" {
                "symbolic link"
            } else {
                "not a plain file"
            };
            told(&ran, 5, &[store.to_str().expect("UTF-8"), part]);
        }
        if what == "directory" {
            fs::remove_dir(&store).expect("removed");
        } else {
            fs::remove_file(&store).expect("removed");
        }
    }
    assert_eq!(fs::read(&target).expect("read"), b"theirs");
    assert!(!world.scratch().join("nowhere").exists());
    assert_eq!(world.opened().len(), 0);
}

/// Gives the machine to a user without privileges, since root may read and write everything.
fn give_away(world: &World, command: &mut Command) {
    // Only root can do that; anybody else has no privileges to begin with.
    if std::os::unix::fs::chown(world.scratch(), Some(NOBODY), Some(NOBODY)).is_ok() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

#[tokio::test]
async fn f07_a_home_or_store_without_access_is_named_and_no_browser_opened() {
    let world = World::new();
    let home = world.linchpin_home();
    fs::create_dir(&home).expect("made");
    fs::write(world.credentials(), "{\"version\":1,\"credentials\":{}}").expect("written");
    for path in [&home, &world.credentials()] {
        let _ = std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY));
    }
    for (mode_of_home, mode_of_store, part) in
        [(0o700, 0o000, "credentials.json"), (0o500, 0o600, "linchpin")]
    {
        fs::set_permissions(&home, fs::Permissions::from_mode(mode_of_home)).expect("changed");
        fs::set_permissions(world.credentials(), fs::Permissions::from_mode(mode_of_store)).expect("changed");
        let mut command = world.command(&["login", &world.url()]);
        command.env_remove("LINCHPIN_LOG");
        give_away(&world, &mut command);
        let ran = world.finish(command).await;
        told(&ran, 5, &[part, "ermission denied", "LINCHPIN_HOME"]);
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("changed");
    assert_eq!((world.opened().len(), world.kit.counts().registrations), (0, 0));
}
