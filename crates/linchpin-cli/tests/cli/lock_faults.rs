//! Lock files, file systems without locks, and modes (F10, F12, F13), as the command meets them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;

use crate::machine_faults::{NOBODY, Shim, is_root, skipped};
use crate::world::{Ran, World};

const ENOSYS: i32 = 38;
const ENOLCK: i32 = 37;
/// The call does nothing, and says that it worked.
const NO_OP: i32 = 0;

impl World {
    fn quiet(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env_remove("LINCHPIN_LOG").stdin(Stdio::null());
        command
    }

    /// A `login` that may fail before a person is asked for.
    async fn sign_in_with(&self, command: Command) -> Ran {
        let mut running = std::pin::pin!(self.finish(command));
        tokio::select! {
            ran = &mut running => ran,
            _ = self.person(self.opened().len()) => running.await,
        }
    }

    /// The lock file of this world's sign-in.
    fn lock(&self) -> PathBuf {
        let entries = fs::read_dir(self.linchpin_home().join("locks")).expect("readable");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths
            .into_iter()
            .find(|path| path.file_stem().is_some_and(|name| name.len() == 32))
            .expect("made by sign-in")
    }

    fn refresh_requests(&self) -> u64 {
        self.kit.counts().token_requests.get("refresh_token").copied().unwrap_or(0)
    }
}

fn assert_refused(world: &World, what: &str, ran: &Ran, begun: Instant, parts: &[&str]) {
    let took = begun.elapsed();
    assert_eq!(ran.code, 5, "{what}: {ran:?}");
    let line = ran.one_line_error();
    for part in parts {
        assert!(line.contains(part), "{what}: no {part:?} in {line:?}");
    }
    println!("{what}: {line} (exit 5, {took:.0?}, {} token requests)", world.refresh_requests());
    assert_eq!(world.refresh_requests(), 0, "{what}");
    assert!(took < Duration::from_secs(1), "{what}: {took:?}");
}

#[tokio::test]
async fn f10_what_lies_in_place_of_a_lock_is_refused_by_name_within_a_second() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    let lock = world.lock();
    let name = lock.file_name().and_then(|name| name.to_str()).expect("hexadecimal").to_owned();
    let target = world.scratch().join("target");
    fs::write(&target, "theirs").expect("written");
    for what in ["a directory", "a link", "a dangling link", "a FIFO", "another user's file"] {
        fs::remove_file(&lock).expect("removed");
        match what {
            "a directory" => fs::create_dir(&lock).expect("made"),
            "a link" => symlink(&target, &lock).expect("linked"),
            "a dangling link" => symlink(world.scratch().join("nowhere"), &lock).expect("linked"),
            "a FIFO" => {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                let fifo = rustix::fs::mknodat(rustix::fs::CWD, &lock, rustix::fs::FileType::Fifo, mode, 0);
                fifo.expect("made");
            }
            _ if is_root() => {
                fs::write(&lock, "").expect("written");
                std::os::unix::fs::chown(&lock, Some(NOBODY), Some(NOBODY)).expect("given away");
            }
            _ => return skipped("another user's files cannot be made here (it takes root)"),
        }
        let begun = Instant::now();
        let ran = world.run(&["token", &world.url()]).await;
        assert_refused(&world, &format!("f10 {what}"), &ran, begun, &[&name]);
        if what == "a directory" {
            fs::remove_dir(&lock).expect("removed");
            fs::write(&lock, "").expect("written");
        }
    }
    assert_eq!(fs::read(&target).expect("there"), b"theirs");
    assert!(!world.scratch().join("nowhere").exists());
    // Any text of anybody's in a lock that nobody holds is of no consequence.
    fs::remove_file(&lock).expect("removed");
    fs::write(&lock, "{\"pid\":1,\"purpose\":\"nothing\",\"since_ms\":1}").expect("written");
    assert_eq!(world.run(&["token", &world.url()]).await.code, 0);
}

#[tokio::test]
async fn f10_a_lock_file_without_any_mode_is_refused_within_a_second() {
    if !is_root() {
        return skipped("another user's files cannot be made here (it takes root)");
    }
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.give_home_to(NOBODY);
    fs::set_permissions(world.lock(), std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("changed");
    let begun = Instant::now();
    let ran = world.finish(as_nobody(world.quiet(&["token", &world.url()]))).await;
    assert_refused(&world, "f10 mode 0000", &ran, begun, &[".lock", "ermission denied", "who owns it"]);
}

#[tokio::test]
async fn f12_a_file_system_without_locks_is_refused_with_advice_and_doctor_says_so() {
    let world = World::signed_in(|_| {}).await;
    let Some(shim) = Shim::of(&world) else { return };
    world.expire();
    for (what, errno) in [("ENOLCK", ENOLCK), ("ENOSYS", ENOSYS), ("a no-op", NO_OP)] {
        shim.fail("flock", errno);
        let begun = Instant::now();
        let ran = world.finish(shim.under(world.quiet(&["token", &world.url()]))).await;
        let advice = ["cannot be locked", "put LINCHPIN_HOME on a local file system"];
        assert_refused(&world, &format!("f12 flock is {what}"), &ran, begun, &advice);
        let doctor = world.finish(shim.under(world.quiet(&["doctor", "--json"]))).await;
        assert_eq!(doctor.code, 5, "{doctor:?}");
        let checks = doctor.json();
        let locks = checks.as_array().expect("rows").iter().find(|check| check["what"] == "locks");
        let locks = locks.expect("looked at").to_string();
        println!("f12 doctor: {locks}");
        assert!(locks.contains("\"wrong\"") && locks.contains("local file system"), "{locks}");
        let login = world.finish(shim.under(world.quiet(&["login", &world.url()]))).await;
        assert_eq!((login.code, world.opened().len()), (5, 1), "before a browser is opened: {login:?}");
    }
    shim.heal();
    assert_eq!(world.finish(shim.under(world.quiet(&["token", &world.url()]))).await.code, 0);
}

#[tokio::test]
async fn f13_loose_modes_are_repaired_or_refused_within_a_second() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    // Refused: others could have put anything there.
    for directory in ["", "locks"] {
        let good = world.mode(directory);
        world.set_mode(directory, 0o777);
        let begun = Instant::now();
        let ran = world.run(&["token", &world.url()]).await;
        assert_refused(
            &world,
            &format!("f13 directory 0777 `{directory}`"),
            &ran,
            begun,
            &["run `chmod 700"],
        );
        world.set_mode(directory, good);
    }
    // Repaired: others could only have read.
    let mut repaired = 0;
    for (name, loose, expected) in [
        ("credentials.json", 0o644, 0o600),
        ("credentials.json", 0o666, 0o600),
        ("credentials.json", 0o777, 0o600),
        ("locks/credentials.json.lock", 0o666, 0o600),
        ("", 0o770, 0o750),
    ] {
        world.set_mode(name, loose);
        world.expire();
        let begun = Instant::now();
        let ran = world.run(&["token", &world.url()]).await;
        assert_eq!((ran.code, world.mode(name)), (0, expected), "{name} {loose:o}: {ran:?}");
        assert!(begun.elapsed() < Duration::from_secs(1));
        repaired += 1;
    }
    println!("f13: {repaired} loose modes repaired within a second");
}

#[tokio::test]
async fn f13_files_are_private_whatever_the_umask() {
    for umask in ["0", "0777"] {
        let world = World::new();
        let as_user = is_root();
        if as_user {
            std::os::unix::fs::chown(world.scratch(), Some(NOBODY), Some(NOBODY)).expect("given away");
        }
        let under = |arguments: &[&str]| {
            let mut command =
                world.under(&["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"], arguments);
            command.env_remove("LINCHPIN_LOG").env("LINCHPIN_HOME", world.scratch().join("deep/er/linchpin"));
            if as_user { as_nobody(command) } else { command }
        };
        let url = world.url();
        let login = world.sign_in_with(under(&["login", &url])).await;
        assert_eq!(login.code, 0, "umask {umask}: {login:?}");
        world.kit.refuse_access_tokens();
        let call = world.finish(under(&["call", &url, "echo", "{}"])).await;
        assert_eq!(call.code, 0, "umask {umask}: {call:?}");
        let mut looked_at = Vec::new();
        modes(&world.scratch().join("deep"), &mut looked_at);
        println!("f13 umask {umask}: {} files and directories, all 0600 or 0700", looked_at.len());
        for (path, is_dir, mode) in looked_at {
            assert_eq!(mode, if is_dir { 0o700 } else { 0o600 }, "umask {umask}: {}", path.display());
        }
    }
}

/// As the kernel saw it: no file of a sign-in is born with a mode that is put right later.
#[tokio::test]
async fn f13_files_are_born_private() {
    let world = World::new();
    let log = world.scratch().join("strace");
    let calls = "trace=open,openat,openat2,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,link,linkat";
    let tracer = ["strace", "-f", "-qq", "-e", calls, "-o", log.to_str().expect("UTF-8")];
    let under = |arguments: &[&str]| {
        let mut command =
            world.under(&[&tracer[..], &["sh", "-c", "umask 0; exec \"$@\"", "sh"]].concat(), arguments);
        command.env_remove("LINCHPIN_LOG").env("LINCHPIN_STORE", "secrets");
        command
    };
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return skipped("there is no strace");
    }
    let url = world.url();
    let login = world.sign_in_with(under(&["login", &url])).await;
    assert_eq!(login.code, 0, "{login:?}");
    let log = fs::read_to_string(&log).expect("written");
    let home = world.linchpin_home().display().to_string();
    let (mut born, mut later) = (0, 0);
    for line in log.lines().filter(|line| line.contains(&home)) {
        if line.contains("mkdir") {
            born += 1;
            // A call that another thread's comes between is cut off behind its arguments.
            assert!(line.contains(", 0700") || line.contains("EEXIST"), "{line}");
        } else if line.contains("O_CREAT") {
            born += 1;
            assert!(line.contains(", 0600"), "{line}");
        }
        later += usize::from(line.contains("chmod"));
    }
    println!(
        "f13: {born} files and directories born 0600 or 0700 under umask 0, {later} modes changed later"
    );
    assert!(born >= 6 && later == 0, "{log}");
}

/// A second name of the file is somebody's copy: used, never written through, and told by doctor.
#[tokio::test]
async fn f13_a_hard_linked_store_is_used_and_its_other_name_untouched() {
    let world = World::signed_in(|_| {}).await;
    let other = world.scratch().join("other-name");
    fs::hard_link(world.credentials(), &other).expect("linked");
    let before = fs::read(&other).expect("there");
    let doctor = world.run(&["doctor", "--json"]).await;
    assert_eq!(doctor.code, 0, "{doctor:?}");
    let named: Vec<Value> = doctor.json().as_array().expect("rows").clone();
    let note = named.iter().find(|check| check["what"] == "credentials.json").expect("looked at");
    assert!(note["verdict"] == "note" && note["remedy"].to_string().contains("name"), "{note}");
    world.kit.refuse_access_tokens();
    assert_eq!(world.run(&["call", &world.url(), "echo", "{}"]).await.code, 0);
    assert_eq!(fs::read(&other).expect("there"), before, "not written through");
    assert_ne!(fs::read(world.credentials()).expect("there"), before);
}

fn modes(path: &std::path::Path, found: &mut Vec<(PathBuf, bool, u32)>) {
    let metadata = fs::symlink_metadata(path).expect("there");
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    found.push((path.to_owned(), metadata.is_dir(), mode));
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("readable") {
            modes(&entry.expect("an entry").path(), found);
        }
    }
}

fn as_nobody(mut command: Command) -> Command {
    command.uid(NOBODY).gid(NOBODY);
    command
}
