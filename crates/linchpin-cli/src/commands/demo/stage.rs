//! Where a contender plays: a provider and MCP server, and a home that is removed afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linchpin_testkit::{Kit, KitThread, Options};

use crate::failure::Failure;

/// Provider, server and home. The processes have to end before it is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    /// On a thread of its own, so that the driver of the storm does not starve it.
    pub(super) kit: KitThread,
    /// This very command, to start more of.
    pub(super) program: PathBuf,
    home: Home,
}

impl Stage {
    pub(super) fn set() -> Result<Self, Failure> {
        let failed =
            |what: &str, error: &io::Error| Failure::configuration(format!("the demo {what}: {error}"));
        let program =
            std::env::current_exe().map_err(|error| failed("cannot find its own program", &error))?;
        let home = Home::new().map_err(|error| failed("cannot make a temporary directory", &error))?;
        let kit = Kit::spawn(Options::default())
            .map_err(|error| failed("cannot listen on this machine", &error))?;
        Ok(Self { kit, program, home })
    }

    /// What `LINCHPIN_HOME` is for the processes.
    pub(super) fn home(&self) -> &Path {
        &self.home.0
    }

    /// Where rmcp's processes share their credentials.
    pub(super) fn rmcp_credentials(&self) -> PathBuf {
        self.home().join("rmcp.json")
    }
}

/// A directory for the user alone. It is removed when this is dropped, also after Ctrl-C.
#[derive(Debug)]
struct Home(PathBuf);

impl Home {
    fn new() -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("linchpin-demo-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let directory = builder.tempdir()?;
        // Absolute and without links, as a store wants its home.
        let path = fs::canonicalize(directory.path())?;
        let _ = directory.keep();
        Ok(Self(path))
    }
}

impl Drop for Home {
    /// A process that was killed a moment ago may still be creating its last file, so this is tried for a while.
    fn drop(&mut self) {
        for _ in 0..40 {
            match fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(25));
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_the_users_alone_and_goes_with_the_stage() {
        let home = Home::new().expect("made");
        let path = home.0.clone();
        assert!(path.is_absolute());
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("there").permissions());
            assert_eq!(mode & 0o777, 0o700);
        }
        fs::create_dir(path.join("locks")).expect("made");
        drop(home);
        assert!(!path.exists());
    }
}
