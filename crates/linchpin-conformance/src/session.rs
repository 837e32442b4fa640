//! A client at work, and the person beside it: an operation that is refused for want of a sign-in is done again after
//! one, a few times at most.

use anyhow::Result;
use linchpin::{ClientError, Linchpin, McpClient, Profile, Server};

use crate::answers::Answers;
use crate::person::Person;
use crate::task::Task;

/// How often the person signs in for one operation before giving up on it.
const SIGN_INS: usize = 3;

/// A connected client.
pub(crate) struct Session {
    server: Server,
    person: Person,
    client: McpClient,
}

impl Session {
    /// Connects. Sign-ins are kept in the memory of this process.
    pub(crate) async fn open(task: &Task) -> Result<Self> {
        let server = Linchpin::builder().build().server(task.server.clone(), Profile::default()).await;
        let person = Person::with(&task.scenario, &task.given)?;
        let connect = async || {
            let client = McpClient::builder().handler(Answers).revision(task.revision.clone());
            client.connect(&server).await
        };
        let client = attended(&server, &person, connect).await?;
        Ok(Self { server, person, client })
    }

    /// The client, to see what it is connected to.
    pub(crate) fn client(&self) -> &McpClient {
        &self.client
    }

    /// One operation of the client, with the person beside it.
    pub(crate) async fn attended<T>(
        &self,
        operation: impl AsyncFn(&McpClient) -> Result<T, ClientError>,
    ) -> Result<T> {
        attended(&self.server, &self.person, async || operation(&self.client).await).await
    }

    /// Ends the session.
    pub(crate) async fn close(self) {
        self.client.close().await;
    }
}

async fn attended<T>(
    server: &Server,
    person: &Person,
    operation: impl AsyncFn() -> Result<T, ClientError>,
) -> Result<T> {
    for _ in 0..SIGN_INS {
        match operation().await {
            Err(ClientError::InsufficientScope { challenge, scopes, .. }) => {
                person.sign_in(server, Some(challenge), scopes).await?;
            }
            Err(ClientError::AuthenticationRequired { challenge, .. }) => {
                person.sign_in(server, challenge, Vec::new()).await?;
            }
            Err(ClientError::TokenExpired { .. }) => person.sign_in(server, None, Vec::new()).await?,
            outcome => return Ok(outcome?),
        }
    }
    Ok(operation().await?)
}
