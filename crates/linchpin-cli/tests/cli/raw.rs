//! Servers that nobody should trust, a thread per connection: what arrives is kept, what goes out is counted.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Longer than a command may take; a script that is not hung up on by then has shown its point.
const LONGEST: Duration = Duration::from_secs(90);

/// A server on loopback. Dropping it stops it from accepting more.
pub(crate) struct Raw {
    /// `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    state: Arc<State>,
    address: SocketAddr,
}

#[derive(Debug, Default)]
struct State {
    stopped: AtomicBool,
    connections: AtomicU64,
    received: Mutex<Vec<String>>,
    written: AtomicU64,
    /// How long the connection that lasted longest was open.
    longest: Mutex<Duration>,
}

/// Trusted by whoever is told so with `SSL_CERT_FILE`, and by nobody else: whose servers are `localhost`.
pub(crate) fn authority() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/tls/ca.pem")
}

trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

/// A connection whose request has been read.
pub(crate) struct Wire {
    stream: Box<dyn ReadWrite>,
    state: Arc<State>,
    since: Instant,
}

impl Raw {
    /// Answers each request by what `script` writes, and hangs up after it. The script ends at the first error, which
    /// is what it gets when the other side hangs up.
    pub(crate) fn serving(
        script: impl Fn(&str, &mut Wire) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        Self::over("http", |stream| Ok(Box::new(stream)), script)
    }

    /// The same over TLS, with a certificate for `localhost` and `127.0.0.1` of [`authority`].
    pub(crate) fn serving_tls(
        script: impl Fn(&str, &mut Wire) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).expect("PEM");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key));
        let config = Arc::new(config.expect("a certificate and its key"));
        let encrypt = move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            Ok(Box::new(StreamOwned::new(connection, stream)) as Box<dyn ReadWrite>)
        };
        Self::over("https", encrypt, script)
    }

    fn over(
        scheme: &str,
        wrap: impl Fn(TcpStream) -> io::Result<Box<dyn ReadWrite>> + Clone + Send + 'static,
        script: impl Fn(&str, &mut Wire) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, wrap, script) = (Arc::clone(&shared), wrap.clone(), script.clone());
                std::thread::spawn(move || serve(stream, &shared, &wrap, &script));
            }
        });
        Self { origin: format!("{scheme}://{address}"), state, address }
    }

    /// One to which nothing may come.
    pub(crate) fn elsewhere() -> Self {
        Self::serving(|_, wire| wire.answer(200, &[("content-type", "application/json")], "{}"))
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections that were opened.
    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Everything that arrived, a text per request, whole or not.
    pub(crate) fn received(&self) -> Vec<String> {
        self.state.received.lock().expect("no panic").clone()
    }

    /// Bytes that went out, those included that the system keeps between the two sides.
    pub(crate) fn written(&self) -> u64 {
        self.state.written.load(Ordering::SeqCst)
    }

    /// How long the connection that lasted longest was open, once its script has ended.
    pub(crate) fn longest(&self) -> Duration {
        *self.state.longest.lock().expect("no panic")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    state: &Arc<State>,
    wrap: &impl Fn(TcpStream) -> io::Result<Box<dyn ReadWrite>>,
    script: &impl Fn(&str, &mut Wire) -> io::Result<()>,
) {
    state.connections.fetch_add(1, Ordering::SeqCst);
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(LONGEST));
    let _ = stream.set_write_timeout(Some(LONGEST));
    // So that what was written is about what was read.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, 16 << 10);
    let since = Instant::now();
    let Ok(mut stream) = wrap(stream) else { return };
    let (request, whole) = read_request(&mut stream);
    if !request.is_empty() {
        state.received.lock().expect("no panic").push(request.clone());
    }
    if whole {
        let mut wire = Wire { stream, state: Arc::clone(state), since };
        let _ = script(&request, &mut wire);
        let _ = wire.stream.flush();
    }
    let mut longest = state.longest.lock().expect("no panic");
    *longest = (*longest).max(since.elapsed());
}

/// Head and body, or as much of them as came.
fn read_request(stream: &mut Box<dyn ReadWrite>) -> (String, bool) {
    let mut reader = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if !matches!(reader.read_line(&mut line), Ok(1..)) {
            return (text, false);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        text.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    let whole = reader.read_exact(&mut body).is_ok();
    text.push_str(&String::from_utf8_lossy(&body));
    (text, whole)
}

impl Wire {
    /// Writes as it is.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.since.elapsed() > LONGEST {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let count = self.stream.write(rest)?;
            self.state.written.fetch_add(count as u64, Ordering::SeqCst);
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Writes one byte after the other, so often, until the other side hangs up.
    pub(crate) fn drip(&mut self, byte: u8, every: Duration) -> io::Result<()> {
        loop {
            std::thread::sleep(every);
            self.write(&[byte])?;
        }
    }

    /// A whole answer.
    pub(crate) fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: &str) -> io::Result<()> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        let length = body.len();
        self.write(
            format!(
                "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    }

    /// One chunk of a chunked body.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        self.write(bytes)?;
        self.write(b"\r\n")
    }
}
