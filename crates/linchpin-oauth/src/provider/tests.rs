use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn record(token_endpoint: &str) -> Record {
    let json = format!(
        r#"{{"version":1,"generation":1,"issuer":"https://as.example.com","token_endpoint":"{token_endpoint}",
        "revocation_endpoint":"{token_endpoint}","token_endpoint_auth_method":"none",
        "resource":"https://203.0.113.1/mcp","client":{{"id":"c","registration":"dynamic"}},
        "access_token":"A","refresh_token":"R","obtained_at_ms":1}}"#
    );
    Record::from_json(&json).expect("a record")
}

/// A record may have been written by hand, or by a program that checked less.
#[tokio::test]
async fn f22_a_token_is_presented_to_no_endpoint_that_metadata_could_not_have_named() {
    let provider = Provider::new(HttpOptions::default());
    for endpoint in [
        "http://as.example.com/token",
        "https://127.0.0.1/token",
        "https://169.254.169.254/token",
        "https://[::ffff:10.0.0.1]/token",
        "https://me@as.example.com/token",
    ] {
        let record = record(endpoint);
        match provider.refresh(&record).await {
            Exchange::NotSent { problem } => assert!(problem.contains("token endpoint"), "{problem}"),
            other => panic!("{endpoint}: {other:?}"),
        }
        match provider.revoke(&record).await {
            Revocation::Unavailable { problem, .. } => {
                assert!(problem.contains("revocation endpoint"), "{problem}");
            }
            other => panic!("{endpoint}: {other:?}"),
        }
    }
}

/// The short form of what takes 30 s with the command: a byte now and then keeps nobody beyond the bound, and the
/// connection is hung up.
#[tokio::test]
async fn f16_an_exchange_that_drips_is_given_up_at_its_bound() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nx-slow: ";
    const BODY: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{";
    const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let bound = Duration::from_millis(300);
    for (what, begins, goes_on) in
        [("head", HEAD, &b"x"[..]), ("body", BODY, b" "), ("103", HINT, HINT), ("silence", b"", b"")]
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.expect("a request");
            stream.write_all(begins).await.expect("written");
            // Until the other side hangs up.
            let mut sent = begins.len();
            loop {
                tokio::select! {
                    end = stream.read(&mut request) => return (read, sent, matches!(end, Ok(0) | Err(_))),
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
                if stream.write_all(goes_on).await.is_err() {
                    return (read, sent, true);
                }
                sent += goes_on.len();
            }
        });
        let record = Record {
            token_endpoint: format!("{origin}/token").parse().expect("a URL"),
            resource: format!("{origin}/mcp"),
            ..record("https://as.example.com/token")
        };
        let provider = Provider::new(HttpOptions::default()).with_timeout(bound);
        let begun = tokio::time::Instant::now();
        let outcome = provider.refresh(&record).await;
        let took = begun.elapsed();
        assert!(matches!(outcome, Exchange::Unknown { .. }), "{what}: {outcome:?}");
        assert!(took >= bound, "{what}: {took:?}");
        let (read, sent, hung_up) = serving.await.expect("no panic");
        assert!(read > 0 && hung_up, "{what}");
        println!(
            "f16: {what}: given up after {} ms of {} ms, {sent} bytes came",
            took.as_millis(),
            bound.as_millis()
        );
    }
}

/// SIGSTOP, Ctrl-Z, a container that is paused: the answer came in time, and nobody was there to read it.
#[tokio::test]
async fn f19_an_answer_that_came_while_the_process_stood_still_is_read() {
    const ANSWER: &str =
        r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R2","expires_in":60}"#;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let (asked, is_asked) = tokio::sync::oneshot::channel();
    let serving = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().expect("a connection");
        let read = stream.read(&mut [0; 4096]).expect("a request");
        asked.send(()).expect("awaited");
        std::thread::sleep(Duration::from_millis(100));
        let length = ANSWER.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        write!(stream, "{head}content-length: {length}\r\n\r\n{ANSWER}").expect("written");
        read
    });
    let record = Record {
        token_endpoint: format!("{origin}/token").parse().expect("a URL"),
        resource: format!("{origin}/mcp"),
        ..record("https://as.example.com/token")
    };
    let provider = Provider::new(HttpOptions::default()).with_timeout(Duration::from_millis(500));
    let stands_still = async {
        is_asked.await.expect("asked");
        std::thread::sleep(Duration::from_millis(800));
    };
    let (outcome, ()) = tokio::join!(provider.refresh(&record), stands_still);
    assert!(matches!(outcome, Exchange::Rotated(_)), "{outcome:?}");
    assert!(serving.join().expect("no panic") > 0);
}
