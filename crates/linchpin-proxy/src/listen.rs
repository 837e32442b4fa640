//! The standalone event stream of a session: messages of the server that belong to no request.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use linchpin_store::Disposition;
use linchpin_transport::listening::{LONGEST_PAUSE, SignInMark, is_busy, pause};
use linchpin_transport::{Authorization, SendError};
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bridge::Shared;
use crate::framing::one_line;
use crate::message::{Awaited, Incoming};
use crate::stream::{Broken, EventStream};

/// What follows an attempt to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// Again after a pause.
    Again,
    /// Not before the session was opened anew.
    OnReopening,
    /// Not before there is another sign-in than this, or a request went through: the sign-in has ended.
    OnSignIn(Option<SignInMark>),
}

/// How a connection of the stream ended.
enum Ended {
    /// After so many messages.
    After(u32),
    /// In front of an event that is too large to take; resuming would bring it again.
    Blocked,
    /// The session was opened anew, so this stream is of no use any more.
    Reopened,
    /// The client has gone.
    Closed,
}

impl Shared {
    /// Listens for as long as the client is there. Runs beside the requests and never fails.
    pub(crate) async fn keep_listening(self: Arc<Self>) {
        let mut generation = self.session.generation();
        loop {
            let current = *generation.borrow_and_update();
            let next = if current == 0 { Next::OnReopening } else { self.listen_in(&mut generation).await };
            match next {
                Next::OnReopening => {
                    if generation.changed().await.is_err() {
                        return;
                    }
                }
                Next::OnSignIn(mark) => self.signed_in_anew(mark).await,
                Next::Again => {}
            }
        }
    }

    /// The sign-in of this moment, if the bridge has one.
    async fn mark(&self) -> Option<SignInMark> {
        match self.endpoint.authorization() {
            Authorization::SignIn(credential) => Some(SignInMark::of(credential).await),
            _ => None,
        }
    }

    /// Waits for another sign-in, made by whichever process, or for a request that went through.
    async fn signed_in_anew(&self, mark: Option<SignInMark>) {
        let superseded = async {
            match (mark, self.endpoint.authorization()) {
                (Some(mark), Authorization::SignIn(credential)) => mark.superseded(credential).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = superseded => {}
            () = self.healthy.notified() => {}
        }
    }

    /// Listens in one opening of the session until something else than a pause is needed, over any number of
    /// connections.
    async fn listen_in(self: &Arc<Self>, generation: &mut watch::Receiver<u64>) -> Next {
        // A client is not ready for messages before it said that it is initialized.
        self.initialized.confirmed().await;
        let mut stream: Option<EventStream> = None;
        let mut failures = 0u32;
        loop {
            let last_id =
                stream.as_ref().and_then(EventStream::last_id).and_then(|id| HeaderValue::try_from(id).ok());
            let resumes = last_id.is_some();
            let mark = self.mark().await;
            let answer = tokio::select! {
                answer = self.listen(last_id) => answer,
                _ = generation.changed() => return Next::Again,
            };
            let mut asked = None;
            match answer {
                Ok(answer) if answer.status().is_success() && answer.is_of_type("text/event-stream") => {
                    let mut opened = match stream.take() {
                        Some(stream) => stream.continued(answer),
                        None => EventStream::new(answer),
                    };
                    let begun = Instant::now();
                    let ended = self.forward(&mut opened, generation).await;
                    let fruitful = matches!(ended, Ended::After(1..)) || begun.elapsed() >= LONGEST_PAUSE;
                    failures = if fruitful { 0 } else { failures + 1 };
                    match ended {
                        Ended::After(_) => stream = Some(opened),
                        Ended::Blocked => {}
                        Ended::Reopened => return Next::Again,
                        Ended::Closed => return Next::OnReopening,
                    }
                }
                Ok(answer) => {
                    if let Some(next) = refused(answer.status(), resumes) {
                        return next;
                    }
                    // A server that does not know the last event any more may still have a stream.
                    stream = stream.filter(|_| is_busy(answer.status()));
                    asked = answer.retry_after();
                    failures += 1;
                }
                Err(error) => match error.disposition() {
                    Disposition::SignIn => return Next::OnSignIn(mark.map(|mark| mark.after(&error))),
                    _ if matches!(error, SendError::Redirected { .. }) => return Next::OnReopening,
                    _ => failures += 1,
                },
            }
            let named = asked.or_else(|| stream.as_ref().and_then(|stream| stream.retry));
            let jitter = rand::rng().random_range(0.0..1.0);
            tokio::select! {
                () = tokio::time::sleep(pause(named, failures, jitter)) => {}
                _ = generation.changed() => return Next::Again,
            }
        }
    }

    /// Passes messages on until the stream ends.
    async fn forward(&self, stream: &mut EventStream, generation: &mut watch::Receiver<u64>) -> Ended {
        let mut messages = 0;
        loop {
            let data = tokio::select! {
                data = stream.next_data() => data,
                _ = generation.changed() => return Ended::Reopened,
            };
            match data {
                Ok(Some(data)) if matches!(Awaited::default().strike(&data), Incoming::NotJson) => {}
                Ok(Some(data)) => {
                    messages += 1;
                    if self.output.line(one_line(&data)).await.is_err() {
                        return Ended::Closed;
                    }
                }
                Ok(None) | Err(Broken::Connection) => return Ended::After(messages),
                Err(Broken::TooLarge(problem)) => {
                    tracing::warn!("{problem}; it was left out");
                    return Ended::Blocked;
                }
            }
        }
    }
}

/// What follows a GET that was answered with an HTTP status and no stream; `None` for another try after a pause.
fn refused(status: StatusCode, resumes: bool) -> Option<Next> {
    match status {
        _ if is_busy(status) => None,
        // The session is lost, or the sign-in has no rights here, or there is no such stream.
        StatusCode::NOT_FOUND
        | StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::METHOD_NOT_ALLOWED => Some(Next::OnReopening),
        _ if resumes && status.is_client_error() => None,
        _ => Some(Next::OnReopening),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p18_only_a_busy_server_or_a_forgotten_event_is_asked_again() {
        let next = |status, resumes| refused(StatusCode::from_u16(status).expect("a status"), resumes);
        for (status, fresh, resuming) in [
            (400, Some(Next::OnReopening), None),
            (401, Some(Next::OnReopening), Some(Next::OnReopening)),
            (404, Some(Next::OnReopening), Some(Next::OnReopening)),
            (405, Some(Next::OnReopening), Some(Next::OnReopening)),
            (410, Some(Next::OnReopening), None),
            (429, None, None),
            (500, None, None),
            (501, Some(Next::OnReopening), Some(Next::OnReopening)),
            (503, None, None),
            (200, Some(Next::OnReopening), Some(Next::OnReopening)),
            (302, Some(Next::OnReopening), Some(Next::OnReopening)),
        ] {
            assert_eq!((next(status, false), next(status, true)), (fresh, resuming), "{status}");
        }
    }
}
