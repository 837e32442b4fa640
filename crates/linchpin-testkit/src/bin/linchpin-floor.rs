//! A forwarder without logic: what any bridge from stdio to Streamable HTTP costs at least, for `cargo xtask bench`.
//!
//! `linchpin-floor URL TOKEN`: each line of standard input is one POST with a fixed Authorization header, each body
//! that comes back is one line of standard output. It keeps what the server's first answer calls the session, since
//! the server demands it, and understands nothing else: no recovery, no streams, no JSON.
//!
//! Eight threads take turns at standard input, each with a connection of its own. Whoever has read a line sends it
//! before the next may read, so that waking the next costs nobody time while the server already works. One request
//! alone therefore crosses no thread: blocking reads and writes, one system call each.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::OnceLock;

const CONNECTIONS: usize = 8;
/// The session does not negotiate: the driver asks for this revision, and the kit's server speaks it.
const VERSION: &str = "2025-11-25";

struct Floor {
    authority: String,
    path: String,
    token: String,
    session: OnceLock<String>,
}

#[expect(clippy::print_stderr, reason = "a program of its own")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(token)) = (arguments.next(), arguments.next()) else {
        eprintln!("linchpin-floor: usage: linchpin-floor http://HOST:PORT/PATH TOKEN");
        return ExitCode::from(2);
    };
    let Some((authority, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
        eprintln!("linchpin-floor: the URL is http://HOST:PORT/PATH");
        return ExitCode::from(2);
    };
    let floor =
        Floor { authority: authority.to_owned(), path: format!("/{path}"), token, session: OnceLock::new() };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| floor.forward())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(io::ErrorKind::Other.into()))).collect()
    });
    match outcomes.into_iter().find_map(Result::err) {
        Some(error) => {
            eprintln!("linchpin-floor: {error}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

impl Floor {
    /// Forwards lines until standard input ends.
    fn forward(&self) -> io::Result<()> {
        let mut connection: Option<BufReader<TcpStream>> = None;
        let (mut line, mut request, mut body) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let sent = {
                let mut lines = io::stdin().lock();
                line.clear();
                if lines.read_until(b'\n', &mut line)? == 0 {
                    return Ok(());
                }
                let connection = match &mut connection {
                    Some(connection) => connection,
                    none => none.insert(self.connect()?),
                };
                self.write_request(&mut request, line.trim_ascii_end())?;
                connection.get_mut().write_all(&request)?;
                connection
            };
            self.read_answer(sent, &mut body)?;
            if !body.is_empty() {
                body.push(b'\n');
                let mut output = io::stdout().lock();
                output.write_all(&body)?;
                output.flush()?;
            }
        }
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.authority)?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }

    fn write_request(&self, request: &mut Vec<u8>, line: &[u8]) -> io::Result<()> {
        let Self { authority, path, token, .. } = self;
        request.clear();
        write!(
            request,
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             content-length: {}\r\n",
            line.len()
        )?;
        if let Some(session) = self.session.get() {
            write!(request, "mcp-session-id: {session}\r\nmcp-protocol-version: {VERSION}\r\n")?;
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(line);
        Ok(())
    }

    /// Reads head and body; the length is the only header that it needs, the session the only one that it keeps.
    fn read_answer(&self, connection: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> io::Result<()> {
        let mut head = String::new();
        let mut length = 0;
        while connection.read_line(&mut head)? > 2 {
            if let Some((name, value)) = head.split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().map_err(io::Error::other)?;
                } else if name.eq_ignore_ascii_case("mcp-session-id") {
                    self.session.get_or_init(|| value.trim().to_owned());
                }
            }
            head.clear();
        }
        body.resize(length, 0);
        connection.read_exact(body)
    }
}
