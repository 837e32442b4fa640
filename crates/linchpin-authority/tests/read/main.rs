//! The read of a valid token, as every request makes it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linchpin_authority::{Authority, Wait};
use linchpin_oauth::{Exchange, Revocation, TokenEndpoint};
use linchpin_store::{
    Clock as _, CredentialKey, MemoryStore, PlainHttp, Profile, Record, ServerUrl, SystemClock,
};

/// Nobody asks it.
#[derive(Debug)]
struct NoProvider;

#[async_trait]
impl TokenEndpoint for NoProvider {
    async fn refresh(&self, _: &Record) -> Exchange {
        unreachable!("a valid token is not renewed")
    }

    async fn revoke(&self, _: &Record) -> Revocation {
        unreachable!("nobody signs out")
    }
}

#[tokio::test]
async fn p06_the_read_of_a_valid_token_allocates_nothing() {
    let url = ServerUrl::parse("https://mcp.example.com/mcp", PlainHttp::LoopbackOnly).expect("a URL");
    let clock = Arc::new(SystemClock);
    let authority = Authority::new(Arc::new(MemoryStore::new()), Arc::new(NoProvider), clock);
    let credential = authority.credential(CredentialKey::new(Profile::default(), url));
    let now = SystemClock.now();
    let json = format!(
        r#"{{"version":1,"generation":1,"issuer":"https://as.example.com","token_endpoint":"https://as.example.com/t",
        "token_endpoint_auth_method":"none","resource":"https://mcp.example.com/mcp",
        "client":{{"id":"c","registration":"dynamic"}},"access_token":"A","refresh_token":"R",
        "obtained_at_ms":{},"expires_at_ms":{}}}"#,
        now.0,
        now.after(Duration::from_secs(3600)).0
    );
    credential.sign_in(Record::from_json(&json).expect("a record")).await.expect("saved");

    // Once before: what a thread sets up for itself at its first read is not the read's.
    assert!(credential.current().is_some());
    let read = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            assert!(credential.current().is_some());
        }
    });
    assert_eq!(read.count_total, 0, "1,000 reads: {read:?}");

    // The same through the call that would wait if it had to.
    let mut asked = std::pin::pin!(credential.access_token(Wait::Transaction));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let read = allocation_counter::measure(|| {
        let token = asked.as_mut().poll(&mut context);
        assert!(matches!(token, std::task::Poll::Ready(Ok(_))), "{token:?}");
    });
    assert_eq!(read.count_total, 0, "{read:?}");
    // That the counter counts.
    assert_ne!(allocation_counter::measure(|| drop(Box::new(std::hint::black_box(1)))).count_total, 0);
}
