//! Opening the sign-in page.

use std::io;
use std::process::{Command, Stdio};

use url::Url;

/// Opens `url` in the program that `BROWSER` names, run with the URL as its argument and never through a shell;
/// without it in the platform's browser. Returns when the program was started.
///
/// `url` was parsed, checked to be https or loopback http, and is written out again here: nothing of a server's
/// own spelling reaches a command line.
pub(crate) fn open(program: Option<&str>, url: &Url) -> io::Result<()> {
    match program.filter(|program| !program.is_empty()) {
        Some(program) => {
            let mut child = Command::new(program)
                .arg(url.as_str())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            // Reaped by a thread of its own: a browser may run for hours.
            std::thread::Builder::new().name("browser".to_owned()).spawn(move || child.wait())?;
            Ok(())
        }
        None => webbrowser::open(url.as_str()),
    }
}
