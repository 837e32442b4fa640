//! Who plays: Linchpin's bridge, or rmcp's own client.

use std::sync::Arc;
use std::time::Duration;

use linchpin::{
    Directories, FileStore, Linchpin, PlainHttp, Profile, Server, ServerUrl, SignInFailed, SignInOptions,
};
use linchpin_testkit::{browse, contrast};
use tokio::process::Command;

use super::stage::Stage;
use crate::failure::Failure;

/// How long the sign-in may take, which waits for no person.
const SIGN_IN: Duration = Duration::from_secs(30);

/// Who plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    /// `linchpin bridge`.
    Linchpin,
    /// rmcp's `AuthClient` over a file that its processes share.
    Rmcp,
}

impl Contender {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Linchpin => "linchpin bridge",
            Self::Rmcp => "rmcp's own client",
        }
    }

    /// The heading of its table.
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::Linchpin => "linchpin bridge",
            Self::Rmcp => {
                "rmcp's own client (AuthClient, the credentials in a file that the processes share)"
            }
        }
    }

    /// Makes a sign-in that all processes share.
    pub(super) async fn sign_in(self, stage: &Stage) -> Result<(), Failure> {
        match self {
            Self::Linchpin => Ok(sign_in(&server(stage).await?).await?),
            Self::Rmcp => stage
                .kit
                .sign_in()
                .and_then(|signed_in| contrast::plant(&signed_in, &stage.rmcp_credentials()))
                .map_err(|error| Failure::configuration(format!("the demo cannot sign rmcp in: {error}"))),
        }
    }

    /// One of its processes, which touches nothing outside the stage.
    pub(super) fn command(self, stage: &Stage) -> Command {
        let mut command = Command::new(&stage.program);
        match self {
            Self::Linchpin => command.arg("bridge").arg(stage.kit.mcp_url()),
            Self::Rmcp => command.arg("demo-peer").arg(stage.kit.mcp_url()).arg(stage.rmcp_credentials()),
        };
        command
            .env("LINCHPIN_HOME", stage.home())
            .env("LINCHPIN_STORE", "file")
            .env_remove("LINCHPIN_LOG")
            // A proxy of the user's cannot reach this machine; rmcp asks the environment for one.
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
        command
    }
}

/// The server, as a program that uses the library would have it.
async fn server(stage: &Stage) -> Result<Server, Failure> {
    let directories =
        Directories::under(stage.home()).map_err(|error| Failure::configuration(error.to_string()))?;
    let url = ServerUrl::parse(&stage.kit.mcp_url(), PlainHttp::LoopbackOnly)
        .map_err(|error| Failure::configuration(error.to_string()))?;
    let linchpin = Linchpin::builder().store(Arc::new(FileStore::new(&directories))).build();
    Ok(linchpin.server(url, Profile::default()).await)
}

/// The real sign-in, with a plain GET in the place of a browser.
async fn sign_in(server: &Server) -> Result<(), SignInFailed> {
    let mut pending = server.begin_sign_in(&SignInOptions::default()).await?;
    let page = pending.authorization_url().to_string();
    // The page answers once the sign-in is saved, so it is visited meanwhile.
    let visit = tokio::spawn(async move { browse(&page).await });
    let callback = pending.callback(SIGN_IN).await?;
    server.finish_sign_in(pending, callback).await?;
    visit.abort();
    Ok(())
}
