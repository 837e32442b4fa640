//! The faults of a refresh, met by `linchpin bridge` and by rmcp's own client, in one run.
//!
//! rmcp is given the best that a careful user can write with its hooks: a lock across processes held over every
//! refresh, whole and synced saves, a rejected token forgotten only where it is still the one that is kept
//! (`linchpin_testkit::contrast`). `cargo xtask contrast` runs this and writes `bench/CONTRAST.md`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use linchpin_testkit::process::StdioServer;
use linchpin_testkit::{Endpoint, Fault, contrast};
use serde_json::{Value, json};

use crate::machine_faults::Disk;
use crate::world::{PATIENCE, Tally, World, initialize, storm, until};

/// How long the provider takes for every exchange that no fault says otherwise of.
const EXCHANGE: Duration = Duration::from_millis(300);
/// Long enough for a process to carry out what it was told, which cannot be seen from outside.
const A_MOMENT: Duration = Duration::from_millis(300);
const GRACE_MS: u64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Linchpin,
    Rmcp,
    /// The same, and the program keeps the client's secret itself.
    RmcpWithSecret,
}

/// One of them on a machine of its own, signed in.
struct Party {
    who: Who,
    world: World,
    disk: Option<Disk>,
}

/// What a fault cost.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cost {
    exchanges: u64,
    repeats: u64,
    replays: u64,
    lost: usize,
    made: usize,
    sign_ins: usize,
}

impl Party {
    async fn new(who: Who) -> Self {
        Self::with(who, false, "none").await
    }

    async fn with(who: Who, on_a_small_disk: bool, client_auth: &str) -> Self {
        let world = World::with(|config| client_auth.clone_into(&mut config.client_auth));
        let disk = if on_a_small_disk { Disk::under(&world) } else { None };
        let party = Self { who, world, disk };
        if who == Who::Linchpin {
            assert_eq!(party.world.login(&[]).await.code, 0);
        } else {
            std::fs::create_dir_all(party.world.linchpin_home()).expect("made");
            let signed_in = party.world.kit.sign_in().expect("approved");
            contrast::plant(&signed_in, &party.credentials()).expect("written");
            std::fs::write(party.secret(), signed_in.client_secret.unwrap_or_default()).expect("written");
        }
        party.world.kit.reset_counts();
        party
    }

    /// rmcp's credentials.
    fn credentials(&self) -> PathBuf {
        self.world.linchpin_home().join("rmcp.json")
    }

    fn secret(&self) -> PathBuf {
        self.world.scratch().join("client-secret")
    }

    fn process(&self) -> StdioServer {
        let (credentials, secret) = (self.credentials(), self.secret());
        let [credentials, secret] = [&credentials, &secret].map(|path| path.to_str().expect("UTF-8"));
        let url = self.world.url();
        let guarded = ["demo-peer", &url, credentials, "--guarded"];
        let command = match self.who {
            Who::Linchpin => self.world.command(&["bridge", &url]),
            Who::Rmcp => self.world.command(&guarded),
            Who::RmcpWithSecret => {
                self.world.command(&[&guarded[..], &["--client-secret-file", secret]].concat())
            }
        };
        StdioServer::start(command).expect("started")
    }

    /// So many with a session each, which they listen to: from then on nothing is sent that no call asks for.
    async fn live(&self, count: usize) -> Vec<StdioServer> {
        let processes: Vec<_> = (0..count).map(|_| self.process()).collect();
        initialize(&processes).await;
        until("all listen", || self.world.kit.streams() >= count as u64).await;
        processes
    }

    fn delay_exchanges(&self) {
        self.world.kit.fault(Fault::delay(Endpoint::Token, EXCHANGE));
    }

    /// The access token has ended, as everybody can read, and the server refuses it.
    fn expire(&self) {
        if self.who == Who::Linchpin {
            return self.world.expire();
        }
        self.world.kit.refuse_access_tokens();
        let text = std::fs::read_to_string(self.credentials()).expect("there");
        let mut credentials: Value = serde_json::from_str(&text).expect("JSON");
        credentials["token_received_at"] = json!(1_000);
        std::fs::write(self.credentials(), credentials.to_string()).expect("written");
    }

    async fn sign_out(&self) {
        if self.who == Who::Linchpin {
            let ran = self.world.run(&["logout", &self.world.url()]).await;
            // 1: the provider has no way to revoke, which is the same for both.
            assert!(ran.code <= 1, "{ran:?}");
            return;
        }
        let path = self.credentials();
        let forgotten = tokio::task::spawn_blocking(move || contrast::forget(&path)).await;
        forgotten.expect("no panic").expect("removed");
    }

    /// Whether a process that starts now gets through.
    async fn is_signed_in(&self) -> bool {
        let process = self.process();
        let Ok(answer) = process.initialize(PATIENCE).await else { return false };
        answer.get("result").is_some()
            && matches!(process.call("count", json!({ "nonce": "next" }), PATIENCE).await, Ok(Ok(text)) if text == "next")
    }

    /// The bill.
    async fn cost(self, tally: &Tally) -> Cost {
        self.world.kit.clear_faults();
        // What a new process has to spend is not the fault's.
        let counts = self.world.kit.counts();
        let sign_ins = usize::from(!self.is_signed_in().await);
        Cost {
            exchanges: counts.exchanges,
            repeats: counts.repeats,
            replays: self.world.kit.counts().replays,
            lost: tally.made - tally.answered,
            made: tally.made,
            sign_ins,
        }
    }
}

async fn refused(who: Who) -> Cost {
    let party = Party::new(who).await;
    let processes = party.live(8).await;
    party.delay_exchanges();
    party.world.kit.refuse_access_tokens();
    let tally = storm(&processes, 25, "refused").await;
    party.cost(&tally).await
}

async fn ended_at_start(who: Who) -> Cost {
    let party = Party::new(who).await;
    party.expire();
    party.delay_exchanges();
    let processes: Vec<_> = (0..8).map(|_| party.process()).collect();
    let answers = processes.iter().map(|process| process.initialize(PATIENCE));
    for (answer, process) in futures::future::join_all(answers).await.iter().zip(&processes) {
        if answer.as_ref().map_or(true, |answer| answer.get("result").is_none()) {
            let _ = process.initialize(PATIENCE).await;
        }
    }
    let tally = storm(&processes, 25, "ended").await;
    party.cost(&tally).await
}

/// A person stops a call while its token is being renewed. The provider is strict.
async fn cancelled(who: Who) -> Cost {
    let party = Party::new(who).await;
    let processes = party.live(1).await;
    party.world.kit.refuse_access_tokens();
    party.world.kit.fault(Fault::hold(Endpoint::Token).times(1));
    let call = json!({ "jsonrpc": "2.0", "id": "stopped", "method": "tools/call",
        "params": { "name": "count", "arguments": { "nonce": "stopped" } } });
    processes[0].send_line(&call.to_string()).await.expect("sent");
    until("the provider has exchanged", || party.world.kit.held() > 0).await;
    let stop = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": { "requestId": "stopped", "reason": "the person stopped it" } });
    processes[0].send_line(&stop.to_string()).await.expect("sent");
    tokio::time::sleep(A_MOMENT).await;
    party.world.kit.release();
    let tally = storm(&processes, 10, "after").await;
    party.cost(&tally).await
}

/// The process in the middle of its exchange is killed; the provider honours a repeat.
async fn killed(who: Who) -> Cost {
    let party = Party::new(who).await;
    party.world.kit.configure(|config| config.grace_ms = GRACE_MS);
    let mut processes = party.live(8).await;
    party.world.kit.refuse_access_tokens();
    party.world.kit.fault(Fault::hold(Endpoint::Token).times(1));
    let mut first = processes.remove(0);
    let call = first.call("count", json!({ "nonce": "killed" }), PATIENCE);
    tokio::select! {
        () = until("the provider has exchanged", || party.world.kit.held() > 0) => {}
        answer = call => panic!("nobody may be answered while the exchange is held: {answer:?}"),
    }
    let kit = &party.world.kit;
    let (tally, ()) = tokio::join!(storm(&processes, 10, "orphan"), async {
        tokio::time::sleep(A_MOMENT).await;
        first.kill().await.expect("killed");
        kit.release();
    });
    party.cost(&tally).await
}

async fn lost(who: Who, grace_ms: u64) -> Cost {
    let party = Party::new(who).await;
    party.world.kit.configure(|config| config.grace_ms = grace_ms);
    let processes = party.live(8).await;
    party.world.kit.refuse_access_tokens();
    party.world.kit.fault(Fault::lose(Endpoint::Token).times(1));
    let tally = storm(&processes, 10, "lost").await;
    party.cost(&tally).await
}

async fn busy(who: Who) -> Cost {
    let party = Party::new(who).await;
    let processes = party.live(8).await;
    party.world.kit.refuse_access_tokens();
    party.world.kit.fault(Fault::status(Endpoint::Token, 503).times(2));
    let tally = storm(&processes, 10, "busy").await;
    party.cost(&tally).await
}

/// The disk is full when the token has ended, and has space again after five calls, which nobody can save anybody.
async fn full(who: Who) -> Option<Cost> {
    let party = Party::with(who, true, "none").await;
    let disk = party.disk.as_ref()?;
    let processes = party.live(1).await;
    // Whatever files a refresh makes are made.
    party.world.kit.refuse_access_tokens();
    assert_eq!(storm(&processes, 1, "before").await.answered, 1);
    party.world.kit.reset_counts();
    party.world.kit.refuse_access_tokens();
    disk.fill();
    storm(&processes, 5, "full").await;
    disk.free();
    let tally = storm(&processes, 10, "after").await;
    Some(party.cost(&tally).await)
}

async fn confidential(who: Who) -> Cost {
    let party = Party::with(who, false, "client_secret_basic").await;
    party.expire();
    let processes: Vec<_> = (0..8).map(|_| party.process()).collect();
    let answers = processes.iter().map(|process| process.initialize(PATIENCE));
    futures::future::join_all(answers).await;
    let tally = storm(&processes, 10, "secret").await;
    party.cost(&tally).await
}

/// A sign-out while the refresh of another process is in flight: a sign-in "needed" is what is right here, and a call
/// that is "lost" was refused, as it should be.
async fn signed_out(who: Who, revocation: bool) -> Cost {
    let party = Party::new(who).await;
    party.world.kit.configure(|config| config.revocation = revocation);
    let processes = party.live(1).await;
    party.world.kit.refuse_access_tokens();
    party.world.kit.fault(Fault::hold(Endpoint::Token).times(1));
    let kit = &party.world.kit;
    tokio::join!(storm(&processes, 1, "during"), async {
        until("the provider has exchanged", || kit.held() > 0).await;
        tokio::join!(party.sign_out(), async {
            tokio::time::sleep(A_MOMENT).await;
            kit.release();
        });
    });
    let tally = storm(&processes, 10, "after").await;
    party.cost(&tally).await
}

fn cell(of: impl Fn(&Cost) -> String, linchpin: &Cost, rmcp: &Cost) -> String {
    format!("{} / {}", of(linchpin), of(rmcp))
}

fn row(text: &mut String, fault: &str, linchpin: &Cost, rmcp: &Cost) {
    let exchanges = |cost: &Cost| match cost.repeats {
        0 => cost.exchanges.to_string(),
        repeats => format!("{} + {repeats} repeated", cost.exchanges),
    };
    let line = format!(
        "| {fault} | {} | {} | {} of {} | {} |\n",
        cell(exchanges, linchpin, rmcp),
        cell(|cost| cost.replays.to_string(), linchpin, rmcp),
        cell(|cost| cost.lost.to_string(), linchpin, rmcp),
        linchpin.made,
        cell(|cost| cost.sign_ins.to_string(), linchpin, rmcp),
    );
    print!("{line}");
    let _ = text.write_str(&line);
}

/// What Linchpin owes in each row; what rmcp does is its own affair.
fn owes(fault: &str, cost: &Cost, exchanges: u64, sign_ins: usize) {
    assert_eq!((cost.exchanges, cost.sign_ins), (exchanges, sign_ins), "{fault}: {cost:?}");
    assert_eq!(cost.lost > 0, sign_ins > 0, "{fault}: {cost:?}");
    assert_eq!(cost.replays, u64::from(sign_ins > 0 && fault.starts_with("an answer")), "{fault}: {cost:?}");
}

#[tokio::test]
#[ignore = "a minute; `cargo xtask contrast` runs it and writes bench/CONTRAST.md"]
async fn f05_and_others_beside_rmcp_with_a_correct_guard() {
    use Who::{Linchpin, Rmcp, RmcpWithSecret};
    let mut text = String::new();
    let mut add = |fault: &str, linchpin: Cost, rmcp: Cost, exchanges, sign_ins| {
        owes(fault, &linchpin, exchanges, sign_ins);
        row(&mut text, fault, &linchpin, &rmcp);
    };
    add(
        "8 processes at work, the server refuses their token once",
        refused(Linchpin).await,
        refused(Rmcp).await,
        1,
        0,
    );
    add(
        "8 processes start with a token that has ended",
        ended_at_start(Linchpin).await,
        ended_at_start(Rmcp).await,
        1,
        0,
    );
    add(
        "a call stopped in the middle of its refresh",
        cancelled(Linchpin).await,
        cancelled(Rmcp).await,
        1,
        0,
    );
    add(
        "kill -9 in the exchange, 7 processes left, grace 30 s",
        killed(Linchpin).await,
        killed(Rmcp).await,
        1,
        0,
    );
    add("an answer lost, grace 30 s", lost(Linchpin, GRACE_MS).await, lost(Rmcp, GRACE_MS).await, 1, 0);
    add("an answer lost, no grace", lost(Linchpin, 0).await, lost(Rmcp, 0).await, 1, 1);
    add("the provider answers 503 twice", busy(Linchpin).await, busy(Rmcp).await, 1, 0);
    if let (Some(linchpin), Some(rmcp)) = (full(Linchpin).await, full(Rmcp).await) {
        add("the disk full before the exchange; calls after it has space again", linchpin, rmcp, 1, 0);
    }
    let linchpin = confidential(Linchpin).await;
    add("a client with a secret, after a restart", linchpin.clone(), confidential(Rmcp).await, 1, 0);
    add(
        "the same, the program keeping the secret for rmcp",
        linchpin,
        confidential(RmcpWithSecret).await,
        1,
        0,
    );
    let brought_back = |cost: &Cost| if cost.sign_ins == 0 { "is brought back" } else { "stays away" };
    let (with, without, rmcp) =
        (signed_out(Linchpin, true).await, signed_out(Linchpin, false).await, signed_out(Rmcp, false).await);
    for cost in [&with, &without] {
        assert_eq!((cost.sign_ins, cost.replays), (1, 0), "nothing is brought back: {cost:?}");
    }
    assert_eq!(with.lost, 10, "what was revoked is refused: {with:?}");
    let line = format!(
        "\nA sign-out while a refresh is in flight: with Linchpin the sign-in {}, and the process that refreshed is \
         refused in {} of 10 later calls ({} of 10 at a provider that cannot revoke: an access token in memory lasts \
         until it ends); with rmcp it {}, refused in {} of 10, since its processes read the file at every request; \
         its tokens are not revoked.\n",
        brought_back(&with),
        with.lost,
        without.lost,
        brought_back(&rmcp),
        rmcp.lost
    );
    print!("{line}");
    if let Some(path) = std::env::var_os("LINCHPIN_CONTRAST") {
        let head = "| fault | exchanges | replays | calls lost | sign-ins needed |\n| --- | --- | --- | --- | --- |\n";
        std::fs::write(path, format!("{head}{text}{line}")).expect("written");
    }
}
