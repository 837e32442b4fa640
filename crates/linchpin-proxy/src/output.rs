//! The one writer of standard output: whole lines, in the order they were given.

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// Messages that may wait for a slow reader before whoever produces them waits too.
const QUEUE: usize = 64;
/// Messages are gathered up to this size, in bytes, while more are waiting.
const GATHER: usize = 64 << 10;

/// Where messages for the client go. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Output(mpsc::Sender<Bytes>);

/// The client does not read any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closed;

impl Output {
    /// An output and the queue that [`write()`] empties.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Gives one message without line ends in it; waits while the queue is full.
    pub(crate) async fn line(&self, message: Bytes) -> Result<(), Closed> {
        self.0.send(message).await.map_err(|_| Closed)
    }
}

/// Writes until every [`Output`] is gone or the reader is.
pub(crate) async fn write(
    mut queue: mpsc::Receiver<Bytes>,
    mut stdout: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(message) = queue.recv().await {
        buffer.put(message);
        buffer.put_u8(b'\n');
        while buffer.len() < GATHER
            && let Ok(message) = queue.try_recv()
        {
            buffer.put(message);
            buffer.put_u8(b'\n');
        }
        stdout.write_all(&buffer).await?;
        stdout.flush().await?;
        buffer.clear();
        // One large answer must not keep its size for the life of the process.
        if buffer.capacity() > 4 * GATHER {
            buffer = BytesMut::new();
        }
    }
    Ok(())
}
