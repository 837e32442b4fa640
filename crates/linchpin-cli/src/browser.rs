//! Opening the sign-in page.

use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;
use url::Url;

/// A program that ends within this time did not show the page, if it ends with an error.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A browser that was started.
#[must_use = "it may end at once without having shown the page"]
#[derive(Debug)]
pub(crate) struct Started(Option<oneshot::Receiver<io::Result<ExitStatus>>>);

impl Started {
    /// Waits for its end with an error within the first 2 s; else for ever.
    pub(crate) async fn failed(self) -> ExitStatus {
        if let Some(end) = self.0
            && let Ok(Ok(Ok(status))) = tokio::time::timeout(AT_ONCE, end).await
            && !status.success()
        {
            return status;
        }
        std::future::pending().await
    }
}

/// Opens `url` in the program that `BROWSER` names, run with the URL as its argument and never through a shell;
/// without it in the platform's browser. Returns when the program was started.
///
/// `url` was parsed, checked to be https or loopback http, and is written out again here: nothing of a server's
/// own spelling reaches a command line.
pub(crate) fn open(program: Option<&str>, url: &Url) -> io::Result<Started> {
    let Some(program) = program.filter(|program| !program.is_empty()) else {
        return webbrowser::open(url.as_str()).map(|()| Started(None));
    };
    let mut child = Command::new(program)
        .arg(url.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let (ended, end) = oneshot::channel();
    // Reaped by a thread of its own: a browser may run for hours.
    let reap = move || drop(ended.send(child.wait()));
    std::thread::Builder::new().name("browser".to_owned()).spawn(reap)?;
    Ok(Started(Some(end)))
}
