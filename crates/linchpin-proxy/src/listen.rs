//! The standalone event stream of a session: messages of the server that belong to no request.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use linchpin_store::Disposition;
use linchpin_transport::SendError;
use rand::Rng as _;

use crate::bridge::Shared;
use crate::deliver::{Broken, EventStream};
use crate::framing::one_line;
use crate::output::Closed;

/// The first pause before the stream is opened again, unless the server names one; it doubles up to
/// [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What follows an attempt to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Again after a pause.
    Again,
    /// Not before the session was opened anew.
    OnReopening,
    /// Not before a request went through: the sign-in has ended.
    OnSuccess,
}

impl Shared {
    /// Listens for as long as the client is there. Runs beside the requests and never fails.
    pub(crate) async fn keep_listening(self: Arc<Self>) {
        let mut generation = self.session.generation();
        loop {
            let current = *generation.borrow_and_update();
            let next = if current == 0 { Next::OnReopening } else { self.listen_once(current).await };
            match next {
                Next::OnReopening => {
                    if generation.changed().await.is_err() {
                        return;
                    }
                }
                Next::OnSuccess => self.healthy.notified().await,
                Next::Again => {}
            }
        }
    }

    /// Listens until something else than a pause is needed, over any number of connections.
    async fn listen_once(self: &Arc<Self>, session: u64) -> Next {
        // A client is not ready for messages before it said that it is initialized.
        self.initialized.confirmed().await;
        let mut stream: Option<EventStream> = None;
        let mut failures = 0u32;
        loop {
            if *self.session.generation().borrow() != session {
                return Next::Again;
            }
            let last_id =
                stream.as_ref().and_then(EventStream::last_id).and_then(|id| HeaderValue::try_from(id).ok());
            match self.listen(last_id).await {
                Ok(answer) if answer.status().is_success() && answer.is_of_type("text/event-stream") => {
                    let mut opened = match stream.take() {
                        Some(stream) => stream.continued(answer),
                        None => EventStream::new(answer),
                    };
                    match self.forward(&mut opened).await {
                        Ok(messages) => failures = if messages > 0 { 0 } else { failures + 1 },
                        Err(Closed) => return Next::OnReopening,
                    }
                    stream = Some(opened);
                }
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return Next::OnReopening,
                // Busy servers get another chance; any other answer says that there is no such stream.
                Ok(answer)
                    if answer.status().is_server_error()
                        && answer.status() != StatusCode::NOT_IMPLEMENTED =>
                {
                    failures += 1;
                }
                Ok(_) => return Next::OnReopening,
                Err(error) => match error.disposition() {
                    Disposition::SignIn => return Next::OnSuccess,
                    _ if matches!(error, SendError::Redirected { .. }) => return Next::OnReopening,
                    _ => failures += 1,
                },
            }
            let named = stream.as_ref().and_then(|stream| stream.retry);
            let jitter = rand::rng().random_range(0.0..1.0);
            tokio::time::sleep(pause(named, failures, jitter)).await;
        }
    }

    /// Passes messages on until the stream ends; how many there were.
    async fn forward(&self, stream: &mut EventStream) -> Result<u32, Closed> {
        let mut messages = 0;
        loop {
            match stream.next_data().await {
                Ok(Some(data)) => {
                    messages += 1;
                    self.output.line(one_line(&data)).await?;
                }
                Ok(None) | Err(Broken::Connection) => return Ok(messages),
                Err(Broken::TooLarge(problem)) => {
                    tracing::warn!("{problem}; it was left out");
                    return Ok(messages);
                }
            }
        }
    }
}

/// The pause before the next attempt: what the server named, or one that doubles with every failure in a row, with
/// jitter of a quarter.
fn pause(named: Option<Duration>, failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(16)));
    let pause = match named {
        Some(named) if failures <= 1 => named,
        _ => doubled.max(named.unwrap_or_default()),
    };
    pause.min(LONGEST_PAUSE).mul_f64(1.0 - 0.25 * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p18_the_pause_doubles_up_to_half_a_minute_and_heeds_the_server() {
        let seconds =
            |named: Option<u64>, failures| pause(named.map(Duration::from_secs), failures, 0.0).as_secs();
        let unnamed: Vec<_> = (0..9).map(|failures| seconds(None, failures)).collect();
        assert_eq!(unnamed, [1, 1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(seconds(Some(3), 0), 3);
        assert_eq!(seconds(Some(3), 1), 3);
        assert_eq!(seconds(Some(3), 4), 8);
        assert_eq!(seconds(Some(86_400), 1), 30);
        assert_eq!(pause(None, 0, 1.0), Duration::from_millis(750));
        assert_eq!(pause(None, u32::MAX, 0.0), LONGEST_PAUSE);
    }
}
