//! A machine that fails on demand: a small disk, system calls that go wrong, a user without privileges.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;

use tokio::process::Command;

use crate::world::World;

/// A user without privileges.
pub(crate) const NOBODY: u32 = 65_534;

/// Says what is missing for a test, which in CI is a failure.
pub(crate) fn skipped(what: &str) {
    assert!(std::env::var("CI").is_err(), "{what}");
    println!("SKIPPED: {what}");
}

/// Whether this is root, who may mount, change owners, and become another.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// 64 KiB in memory in place of `LINCHPIN_HOME`.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// `None` on a machine where that takes more rights than the tests have.
    pub(crate) fn under(world: &World) -> Option<Self> {
        let path = world.linchpin_home();
        fs::create_dir(&path).expect("made");
        let mut mount = StdCommand::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "linchpin-test"]).arg(&path);
        if !mount.output().is_ok_and(|output| output.status.success()) {
            skipped("a file system cannot be mounted here (it takes root)");
            return None;
        }
        Some(Self(path))
    }

    /// Takes every byte that is left.
    pub(crate) fn fill(&self) {
        use std::io::Write as _;
        let mut filler = fs::File::create(self.0.join("filler")).expect("made");
        while filler.write(&[b'x'; 512]).is_ok_and(|written| written > 0) {}
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("removed");
    }

    pub(crate) fn make_read_only(&self) {
        let status = StdCommand::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status();
        assert!(status.expect("started").success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = StdCommand::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// System calls of a command that fail on demand, for files in `LINCHPIN_HOME`. Built from `shim.c` with `cc`.
pub(crate) struct Shim {
    library: PathBuf,
    control: PathBuf,
    peak: PathBuf,
    below: PathBuf,
}

impl Shim {
    /// `None` on a machine without a C compiler.
    pub(crate) fn of(world: &World) -> Option<Self> {
        let at = |name: &str| world.scratch().join(name);
        let library = at("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/shim.c");
        let mut cc = StdCommand::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        let Ok(output) = cc.output() else {
            skipped("there is no `cc` to build the shim with");
            return None;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self {
            library,
            control: at("shim.control"),
            peak: at("shim.peak"),
            below: world.linchpin_home(),
        })
    }

    /// From now on `call` fails with this error, or does nothing and succeeds when it is 0.
    pub(crate) fn fail(&self, call: &str, errno: i32) {
        fs::write(&self.control, format!("{call} {errno}")).expect("written");
    }

    /// From now on nothing fails.
    pub(crate) fn heal(&self) {
        fs::remove_file(&self.control).expect("removed");
    }

    pub(crate) fn under(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("SHIM_CONTROL", &self.control)
            .env("SHIM_PEAK", &self.peak)
            .env("SHIM_BELOW", &self.below);
        command
    }

    /// The most memory that the command which ended last had resident, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.peak_kib() >> 10
    }

    /// The same in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let kib = fs::read_to_string(&self.peak).expect("a command ended under the shim");
        kib.trim().parse().expect("a number")
    }
}

impl World {
    /// Everything in `LINCHPIN_HOME` belongs to somebody else from now on.
    pub(crate) fn give_home_to(&self, user: u32) {
        let mut paths = vec![self.scratch().to_owned(), self.linchpin_home()];
        for directory in [self.linchpin_home(), self.linchpin_home().join("locks")] {
            let entries = fs::read_dir(directory).expect("readable");
            paths.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        for path in paths {
            std::os::unix::fs::lchown(&path, Some(user), Some(user)).expect("given away");
        }
    }

    /// Sets the mode of a file in `LINCHPIN_HOME`, or of itself.
    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(self.linchpin_home().join(name), permissions).expect("changed");
    }

    /// The mode of a file in `LINCHPIN_HOME`, or of itself.
    pub(crate) fn mode(&self, name: &str) -> u32 {
        let metadata = fs::metadata(self.linchpin_home().join(name)).expect("there");
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777
    }
}
