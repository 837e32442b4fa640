//! Standard input and output without a thread in between, where they are pipes or sockets.
//!
//! tokio's own reads and writes on a helper thread, which costs every message two hand-overs. Clients give their
//! servers pipes, or sockets (Node); those can be waited on directly.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// Standard input.
pub(crate) fn input() -> Pin<Box<dyn AsyncRead + Send>> {
    #[cfg(unix)]
    if let Some(input) = unix::input() {
        return input;
    }
    Box::pin(tokio::io::stdin())
}

/// Standard output.
pub(crate) fn output() -> Pin<Box<dyn AsyncWrite + Send>> {
    #[cfg(unix)]
    if let Some(output) = unix::output() {
        return output;
    }
    Box::pin(tokio::io::stdout())
}

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::FileTypeExt as _;

    use tokio::net::UnixStream;
    use tokio::net::unix::pipe;

    use super::{AsyncRead, AsyncWrite, Pin, io};

    pub(super) fn input() -> Option<Pin<Box<dyn AsyncRead + Send>>> {
        match Kind::of(io::stdin().as_fd())? {
            Kind::Pipe(file) => Some(Box::pin(pipe::Receiver::from_file(file).ok()?)),
            Kind::Socket(socket) => Some(Box::pin(socket)),
        }
    }

    pub(super) fn output() -> Option<Pin<Box<dyn AsyncWrite + Send>>> {
        match Kind::of(io::stdout().as_fd())? {
            Kind::Pipe(file) => Some(Box::pin(pipe::Sender::from_file(file).ok()?)),
            Kind::Socket(socket) => Some(Box::pin(socket)),
        }
    }

    enum Kind {
        Pipe(File),
        Socket(UnixStream),
    }

    impl Kind {
        /// A duplicate shares the descriptor's non-blocking mode, so nothing else of this process may use stdin or
        /// stdout afterwards.
        fn of(descriptor: impl AsFd) -> Option<Self> {
            let owned: OwnedFd = descriptor.as_fd().try_clone_to_owned().ok()?;
            let file = File::from(owned);
            let kind = file.metadata().ok()?.file_type();
            if kind.is_fifo() {
                return Some(Self::Pipe(file));
            }
            if !kind.is_socket() {
                return None;
            }
            let stream = std::os::unix::net::UnixStream::from(OwnedFd::from(file));
            stream.set_nonblocking(true).ok()?;
            UnixStream::from_std(stream).ok().map(Self::Socket)
        }
    }
}
