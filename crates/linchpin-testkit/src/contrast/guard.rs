//! A lock across processes, for rmcp's hook: the operating system's, on a file that is never removed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two tries. A blocking thread could take the lock after its waiter gave up, so it is polled.
const PAUSE: Duration = Duration::from_millis(5);
/// Two exchanges at their slowest, as Linchpin waits.
const TRIES: u32 = 12_000;

/// The lock of a credentials file. Dropping it, or the death of the process, gives it back.
#[derive(Debug)]
pub(super) struct RefreshLock(#[expect(dead_code, reason = "holding it is what it is for")] File);

impl RefreshLock {
    /// Waits for the lock of `credentials`, at most for a minute.
    pub(super) async fn of(credentials: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            if let Some(lock) = Self::try_of(credentials)? {
                return Ok(lock);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// The same on a thread that may block.
    pub(super) fn of_blocking(credentials: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            if let Some(lock) = Self::try_of(credentials)? {
                return Ok(lock);
            }
            std::thread::sleep(PAUSE);
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn try_of(credentials: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path(credentials))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn path(credentials: &Path) -> PathBuf {
    credentials.with_extension("lock")
}
