//! A desktop session of its own: a private bus, and on it a real gnome-keyring.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const SERVICE: &str = "org.freedesktop.secrets";
const COLLECTION: &str = "/org/freedesktop/secrets/collection/login";

/// A session bus, and the keyring on it while it runs. Dropping it ends both.
#[derive(Debug)]
pub struct Session {
    bus: Child,
    keyring: Option<Child>,
    address: String,
    home: TempDir,
}

impl Session {
    /// A bus without a keyring; `None` on a machine without the programs, which CI may not be.
    pub fn start() -> Option<Self> {
        let programs = ["dbus-daemon", "dbus-send", "gnome-keyring-daemon"];
        let missing: Vec<_> = programs.into_iter().filter(|program| !is_there(program)).collect();
        if !missing.is_empty() {
            let text = format!("SKIPPED: {} not installed (Debian: gnome-keyring, dbus)", missing.join(", "));
            assert!(std::env::var("CI").is_err(), "{text}");
            #[expect(clippy::print_stdout, reason = "what was skipped is for whoever runs the tests")]
            {
                println!("{text}");
            }
            return None;
        }
        let home = tempfile::tempdir().expect("a directory");
        let configuration = home.path().join("bus.conf");
        // Nothing can be activated on it, so what is absent stays absent.
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><policy context=\"default\">\
             <allow send_destination=\"*\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
            home.path().join("bus").display()
        );
        std::fs::write(&configuration, text).expect("written");
        let mut bus = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", configuration.display()))
            .args(["--nofork", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().expect("piped"))
            .read_line(&mut address)
            .expect("it says where it is");
        Some(Self { bus, keyring: None, address: address.trim().to_owned(), home })
    }

    /// The same with an unlocked keyring.
    pub fn with_keyring() -> Option<Self> {
        let mut session = Self::start()?;
        session.start_keyring();
        Some(session)
    }

    /// Where the bus is, as `DBUS_SESSION_BUS_ADDRESS` names it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Starts the keyring, unlocked by its password from standard input.
    pub fn start_keyring(&mut self) {
        let runtime = self.directory("run");
        let mut keyring = Command::new("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .arg(format!("--control-directory={}", runtime.display()))
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .env("HOME", self.home.path())
            .env("XDG_DATA_HOME", self.directory("data"))
            .env("XDG_RUNTIME_DIR", &runtime)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        keyring.stdin.take().expect("piped").write_all(b"password").expect("written");
        self.keyring = Some(keyring);
        for _ in 0..400 {
            if self.has_owner() && self.has_collection() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("the keyring does not come up");
    }

    /// Kills it without warning.
    pub fn kill_keyring(&mut self) {
        if let Some(mut keyring) = self.keyring.take() {
            keyring.kill().expect("killed");
            keyring.wait().expect("waited for");
        }
        for _ in 0..1_000 {
            if !self.has_owner() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the bus still has the killed keyring");
    }

    /// Locks the collection, as a screen lock may.
    pub fn lock(&self) {
        let answer = self.send(&[
            "--print-reply",
            &format!("--dest={SERVICE}"),
            "/org/freedesktop/secrets",
            "org.freedesktop.Secret.Service.Lock",
            &format!("array:objpath:{COLLECTION}"),
        ]);
        assert!(answer.contains(COLLECTION), "{answer}");
    }

    fn has_owner(&self) -> bool {
        let name = format!("string:{SERVICE}");
        let method = "org.freedesktop.DBus.NameHasOwner";
        self.send(&["--print-reply", "--dest=org.freedesktop.DBus", "/", method, &name]).contains("true")
    }

    fn has_collection(&self) -> bool {
        let destination = format!("--dest={SERVICE}");
        let method = "org.freedesktop.Secret.Service.ReadAlias";
        let alias = "string:default";
        self.send(&["--print-reply", &destination, "/org/freedesktop/secrets", method, alias])
            .contains("/org/freedesktop/secrets/")
    }

    fn send(&self, arguments: &[&str]) -> String {
        let output = Command::new("dbus-send")
            .arg(format!("--bus={}", self.address))
            .args(arguments)
            .output()
            .expect("started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn directory(&self, name: &str) -> PathBuf {
        let path: &Path = self.home.path();
        let path = path.join(name);
        std::fs::create_dir_all(&path).expect("made");
        path
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in self.keyring.iter_mut().chain([&mut self.bus]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn is_there(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}
