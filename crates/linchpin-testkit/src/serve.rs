//! An HTTP server whose connections can be sabotaged at any byte of an answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

use crate::fault::Action;
use crate::respond::Answer;

/// Bodies beyond this are cut off; nothing in the tests sends more.
const MAX_BODY: usize = 128 << 20;

/// What a handler gets: the request with its whole body, and the wire that its answer goes over.
pub(crate) struct Asked {
    pub(crate) request: Request<Bytes>,
    pub(crate) wire: WireControl,
}

/// Serves `listener` until the future is dropped. One task per connection, keep-alive.
pub(crate) async fn serve<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(stream, handler.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<H, F>(stream: TcpStream, handler: H)
where
    H: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let control = WireControl::default();
    let wire = Wire { stream, control: control.clone(), drip: None };
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, wire) = (handler.clone(), control.clone());
        async move {
            wire.set(Action::None);
            let (head, body) = request.into_parts();
            let body =
                Limited::new(body, MAX_BODY).collect().await.map_err(|_| io::ErrorKind::InvalidData)?;
            let request = Request::from_parts(head, body.to_bytes());
            Ok::<_, io::Error>(handler(Asked { request, wire }).await)
        }
    });
    // A client that goes away is nobody's error.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(wire), service)
        .await;
}

/// Says what becomes of the next bytes of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct WireControl(Arc<Mutex<Sabotage>>);

#[derive(Debug, Default)]
struct Sabotage {
    action: Action,
    written: usize,
}

impl WireControl {
    /// From the next byte on.
    pub(crate) fn set(&self, action: Action) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Sabotage { action, written: 0 };
    }

    fn plan(&self) -> Plan {
        let sabotage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |after: usize| after.saturating_sub(sabotage.written);
        match sabotage.action {
            Action::Cut { after, .. } | Action::Stall { after, .. } if left(after) > 0 => {
                Plan::Pass(left(after))
            }
            Action::Cut { reset, .. } => Plan::End { reset },
            Action::Stall { every_ms, .. } => Plan::Drip(every_ms.map(Duration::from_millis)),
            Action::None | Action::Replace { .. } => Plan::Pass(usize::MAX),
        }
    }

    fn wrote(&self, count: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).written += count;
    }
}

enum Plan {
    Pass(usize),
    End { reset: bool },
    Drip(Option<Duration>),
}

struct Wire {
    stream: TcpStream,
    control: WireControl,
    drip: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let allowed = match self.control.plan() {
            Plan::Pass(allowed) => allowed,
            Plan::End { reset } => {
                if reset {
                    let _ = self.stream.set_zero_linger();
                }
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Plan::Drip(None) => return Poll::Pending,
            Plan::Drip(Some(every)) => {
                let sleep = self.drip.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.drip = None;
                1
            }
        };
        let bytes = &bytes[..bytes.len().min(allowed)];
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.control.wrote(count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
