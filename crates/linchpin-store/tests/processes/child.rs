//! What a child process does. Without a role it does nothing, as one test among others.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::machine::{Kind, Machine, PATIENT, kept, key, open, record, save};

const ROLE: &str = "LINCHPIN_TEST_ROLE";

#[derive(Debug, Serialize, Deserialize)]
struct Role {
    home: PathBuf,
    kind: Kind,
    act: Act,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Writes `rounds` times to each of `servers`, and checks each write before the next one replaces it.
    Write { servers: std::ops::Range<usize>, rounds: usize },
    /// Saves `new` for server 0, and kills itself at this point of the save.
    DieAt { point: String },
    /// Saves `new` for server 0, and at this point of the save moves the home aside and puts an empty directory, or a
    /// link to one, in its place; prints why the save is refused.
    SwapAt { point: String, by_link: bool },
    /// Saves 1, 2, 3 … for server 0, and prints each when it is saved.
    SaveForEver,
    /// Takes the lock of server 0, spawns `sleep`, prints its process, and holds on.
    Hold,
}

#[tokio::test]
async fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let role: Role = serde_json::from_str(&role).expect("a role");
    let home = role.home;
    let store = open(home.clone(), role.kind);
    match role.act {
        Act::Write { servers, rounds } => {
            for round in 0..rounds {
                for server in servers.clone() {
                    let before = round.checked_sub(1).map(|before| format!("{server}-{before}"));
                    assert_eq!(kept(&*store, server).await, before, "a write was lost");
                    save(&*store, server, &format!("{server}-{round}")).await;
                }
            }
        }
        Act::DieAt { point } => {
            fail::cfg_callback(point, || {
                let _ =
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                // It is on its way.
                std::thread::sleep(std::time::Duration::from_secs(10));
            })
            .expect("a point");
            save(&*store, 0, "new").await;
        }
        Act::SwapAt { point, by_link } => {
            let guard = store.lock(&key(0), PATIENT).await.expect("free");
            fail::cfg_callback(point, move || {
                std::fs::rename(&home, home.with_file_name("aside")).expect("moved");
                if by_link {
                    std::fs::create_dir(home.with_file_name("theirs")).expect("made");
                    std::os::unix::fs::symlink(home.with_file_name("theirs"), &home).expect("linked");
                } else {
                    std::fs::create_dir(&home).expect("made");
                }
            })
            .expect("a point");
            println!(
                "refused: {}",
                store.save(&guard, &record("new")).await.expect_err("its directory is gone")
            );
        }
        Act::SaveForEver => {
            for number in 1_u64.. {
                save(&*store, 0, &number.to_string()).await;
                println!("saved {number}");
            }
        }
        Act::Hold => {
            let _guard = store.lock(&key(0), PATIENT).await.expect("free");
            let mut sleep = Command::new("sleep").arg("20").spawn().expect("started");
            println!("held {}", sleep.id());
            sleep.wait().expect("waited for");
        }
    }
}

impl Machine {
    /// A process that does this here.
    pub(crate) fn spawn(&self, act: &Act) -> Child {
        let role = Role { home: self.home(), kind: self.kind, act: act.clone() };
        Command::new(std::env::current_exe().expect("this binary"))
            .args(["child::child", "--exact", "--nocapture"])
            .env(ROLE, serde_json::to_string(&role).expect("a role"))
            // Never the keyring of the person who runs the tests.
            .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("started")
    }
}
