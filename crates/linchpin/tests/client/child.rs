//! What a child process does. Without a role it does nothing, as one test among others.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use linchpin::McpClient;
use serde::{Deserialize, Serialize};

use crate::world::{LEGACY, call, server_in};

const ROLE: &str = "LINCHPIN_TEST_ROLE";

/// Connects, says so, waits for a line, and makes so many calls at once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) home: PathBuf,
    pub(crate) mcp_url: String,
    pub(crate) name: String,
    pub(crate) calls: usize,
}

#[tokio::test]
async fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let role: Role = serde_json::from_str(&role).expect("a role");
    let server = server_in(&role.home, &role.mcp_url).await;
    let client = McpClient::builder().revision(LEGACY).connect(&server).await.expect("connected");
    println!("\nready");
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new()))
        .await
        .expect("no panic")
        .expect("a line");
    let calls = (0..role.calls).map(|number| {
        let (client, nonce) = (&client, format!("{}-{number}", role.name));
        async move { call(client, &nonce).await }
    });
    let failed: Vec<_> = futures::future::join_all(calls)
        .await
        .into_iter()
        .filter_map(Result::err)
        .map(|e| e.to_string())
        .collect();
    client.close().await;
    println!("\ndone {}", serde_json::to_string(&failed).expect("JSON"));
}

/// A process with this role.
pub(crate) fn spawn(role: &Role) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["child::child", "--exact", "--nocapture"])
        .env(ROLE, serde_json::to_string(role).expect("a role"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("started")
}

/// The rest of the first line that begins so.
pub(crate) fn line(lines: &mut impl Iterator<Item = std::io::Result<String>>, begins: &str) -> String {
    loop {
        let line = lines.next().expect("it says more").expect("text");
        if let Some(rest) = line.strip_prefix(begins) {
            return rest.trim().to_owned();
        }
    }
}

pub(crate) fn role(home: &Path, mcp_url: &str, name: String, calls: usize) -> Role {
    Role { home: home.to_owned(), mcp_url: mcp_url.to_owned(), name, calls }
}
