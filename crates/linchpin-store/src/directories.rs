//! Where files are: under `LINCHPIN_HOME`, or in the platform's directories.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use thiserror::Error;

/// The directories of one installation. None of them has to exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    config: PathBuf,
    data: PathBuf,
    state: PathBuf,
}

/// Why the directories are unknown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectoriesError {
    /// There is no home directory.
    #[error("no home directory; set LINCHPIN_HOME to a directory of your own")]
    NoHome,
    /// `LINCHPIN_HOME` is relative: two processes would disagree about it.
    #[error("LINCHPIN_HOME is `{}`, which is not an absolute path", .0.display())]
    Relative(PathBuf),
}

impl Directories {
    /// Everything under `home` (the meaning of `LINCHPIN_HOME`).
    pub fn under(home: impl Into<PathBuf>) -> Result<Self, DirectoriesError> {
        let home = home.into();
        if !home.is_absolute() {
            return Err(DirectoriesError::Relative(home));
        }
        Ok(Self { config: home.clone(), data: home.clone(), state: home })
    }

    /// The platform's directories (XDG on Linux), each with `linchpin/` at its end.
    pub fn of_platform() -> Result<Self, DirectoriesError> {
        let base = etcetera::choose_base_strategy().map_err(|_| DirectoriesError::NoHome)?;
        let data = base.data_dir().join("linchpin");
        let state = base.state_dir().map_or_else(|| data.clone(), |dir| dir.join("linchpin"));
        Ok(Self { config: base.config_dir().join("linchpin"), data, state })
    }

    /// `config.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// `credentials.json`, the `file` store.
    pub fn credentials_file(&self) -> PathBuf {
        self.data.join("credentials.json")
    }

    /// `credentials.age`, the `secrets` store.
    pub fn secrets_file(&self) -> PathBuf {
        self.data.join("credentials.age")
    }

    /// `identity`, the age identity of the `secrets` store on a machine without a keyring.
    pub fn identity_file(&self) -> PathBuf {
        self.data.join("identity")
    }

    /// `store-resolutions.json`, the drift notes.
    pub fn resolutions_file(&self) -> PathBuf {
        self.state.join("store-resolutions.json")
    }

    /// `events.jsonl`, the history.
    pub fn events_file(&self) -> PathBuf {
        self.state.join("events.jsonl")
    }

    /// `locks/`, one file per credential key and one per aggregate file.
    pub fn locks(&self) -> PathBuf {
        self.state.join("locks")
    }

    /// Where state lies.
    pub fn state(&self) -> &Path {
        &self.state
    }
}
