//! F29: bridges with calls going through, tokens that live 5 s, and one of the processes killed every 10 s.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use linchpin_testkit::process::StdioServer;
use linchpin_testkit::{Endpoint, Fault};
use rand::Rng as _;
use serde_json::json;

use crate::Campaign;
use crate::kills::GRACE_MS;
use crate::machine::{Kind, Machine, PATIENCE};
use crate::report::{Report, Table, say};
use crate::tally::Misses;

/// Bridges that may be killed.
const MORTAL: usize = 4;
/// Bridges that live to the end: what they hold is what grows, if anything does.
const SURVIVORS: usize = 2;
const LIFETIME_MS: u64 = 5_000;
const KILL_EVERY: Duration = Duration::from_secs(10);
/// How long the provider takes for an answer: time to kill whoever waits for it.
const ANSWER: Duration = Duration::from_millis(300);
/// Between two calls of a client.
const BETWEEN_CALLS: Duration = Duration::from_millis(50);
/// From here on a survivor has what it needs.
const WARM: Duration = Duration::from_secs(15);
/// What a survivor may grow by: the allocator's pages, not a leak (KiB). At 20 calls a second for half an hour, 100
/// bytes kept per call would be 3.5 MiB.
const GROWTH_KIB: u64 = 3 * 1024;

/// What a client of a bridge saw.
#[derive(Debug, Default, Clone)]
struct Seen {
    answered: u64,
    /// In flight when their bridge was killed.
    cut_off: u64,
    forced: u64,
    errors: Vec<String>,
}

impl Seen {
    fn add(&mut self, more: Self) {
        self.answered += more.answered;
        self.cut_off += more.cut_off;
        self.forced += more.forced;
        self.errors.extend(more.errors);
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    rss_kib: u64,
    descriptors: usize,
}

/// A bridge and the client that calls through it.
struct Client {
    bridge: Arc<StdioServer>,
    stop: Arc<AtomicBool>,
    calls: tokio::task::JoinHandle<Seen>,
}

pub(crate) fn run(campaign: &Campaign, time: Duration, report: &mut Report) -> Result<()> {
    let machine = Machine::new(campaign, Kind::File, |config| {
        config.access_lifetime_ms = LIFETIME_MS;
        config.grace_ms = GRACE_MS;
    })?;
    machine.plant()?;
    machine.kit.fault(Fault::delay(Endpoint::Token, ANSWER));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(soak(&machine, time, report))
}

async fn soak(machine: &Machine, time: Duration, report: &mut Report) -> Result<()> {
    let begun = Instant::now();
    let mut mortals = Vec::new();
    for number in 0..MORTAL {
        mortals.push(client(machine, &format!("mortal-{number}"))?);
    }
    let mut survivors = Vec::new();
    for number in 0..SURVIVORS {
        survivors.push(client(machine, &format!("survivor-{number}"))?);
    }
    let (mut seen, mut kills, mut aimed) = (Seen::default(), 0_usize, 0_usize);
    tokio::time::sleep(WARM).await;
    let at_first = held_by(&survivors)?;
    while begun.elapsed() + KILL_EVERY < time {
        // Any time within the ten seconds, so that no kill keeps step with the tokens.
        let (before, after) = split(KILL_EVERY);
        tokio::time::sleep(before).await;
        let in_exchange = if kills.is_multiple_of(2) { None } else { exchanging(machine, &mortals).await };
        aimed += usize::from(in_exchange.is_some());
        let victim = in_exchange.unwrap_or_else(|| rand::rng().random_range(0..MORTAL));
        seen.add(kill(mortals.swap_remove(victim)).await?);
        kills += 1;
        mortals.push(client(machine, &format!("replacement-{kills}"))?);
        tokio::time::sleep(after).await;
        if kills.is_multiple_of(30) {
            say(&format!(
                "{:.0} s, {kills} kills: {:?}",
                begun.elapsed().as_secs_f64(),
                held_by(&survivors)?
            ));
        }
    }
    tokio::time::sleep(time.saturating_sub(begun.elapsed())).await;
    let at_last = held_by(&survivors)?;
    let took = begun.elapsed();
    for client in survivors.into_iter().chain(mortals) {
        seen.add(finish(client).await?);
    }
    let next = machine.token()?;
    tell(
        machine,
        &Outcome { took, seen, kills, aimed, at_first, at_last, is_in: next.code() == Some(0) },
        report,
    );
    Ok(())
}

struct Outcome {
    took: Duration,
    seen: Seen,
    kills: usize,
    /// How many of them fell into an exchange, on purpose.
    aimed: usize,
    at_first: Vec<Held>,
    at_last: Vec<Held>,
    /// Whether a new process finds a good sign-in at the end.
    is_in: bool,
}

fn tell(machine: &Machine, outcome: &Outcome, report: &mut Report) {
    let Outcome { took, seen, kills, aimed, at_first, at_last, is_in } = outcome;
    let counts = machine.kit.counts();
    let most = |held: &[Held], what: fn(&Held) -> u64| held.iter().map(what).max().unwrap_or(0);
    let rss = |held: &Held| held.rss_kib;
    let descriptors = |held: &Held| held.descriptors as u64;
    let growth = |what: fn(&Held) -> u64| {
        let pairs = at_first.iter().zip(at_last);
        pairs.map(|(first, last)| what(last).saturating_sub(what(first))).max().unwrap_or(0)
    };
    let mut table = Table::new(&["figure", "value", "target"]);
    let mut row = |figure: &str, value: String, target: &str| {
        table.row([figure.to_owned(), value, target.to_owned()]);
    };
    row("time", format!("{:.0} s", took.as_secs_f64()), "");
    row("processes", format!("{MORTAL} of which one is killed every 10 s, {SURVIVORS} that live on"), "");
    row("kills", format!("{kills}, {aimed} of them in an exchange on purpose"), "");
    row("calls answered", seen.answered.to_string(), "");
    row("calls cut off by the kill of their bridge", seen.cut_off.to_string(), "at most one a kill");
    row("calls that failed", seen.errors.len().to_string(), "0");
    row("calls run twice", counts.calls_doubled().to_string(), "0");
    row("exchanges", counts.exchanges.to_string(), "at most one a lifetime");
    row("repeats within the grace, after kills in an exchange", counts.repeats.to_string(), "");
    row("replays", (counts.replays + counts.presented_dead).to_string(), "0");
    row("most presentations of one refresh token", counts.most_presentations().to_string(), "2");
    row("forced sign-ins", seen.forced.to_string(), "0");
    row("signed in at the end", if *is_in { "yes" } else { "no" }.to_owned(), "yes");
    let growths = |what, unit| {
        let (first, last) = (most(at_first, what), most(at_last, what));
        format!("{first} to {last}{unit}, the most that one grew: {}{unit}", growth(what))
    };
    row("memory of the survivors, from 15 s on", growths(rss, " KiB"), "+ 3072 KiB at most");
    row("descriptors of the survivors", growths(descriptors, ""), "+ 1 at most");
    let mut misses = Misses::default();
    for error in &seen.errors {
        misses.add(error.clone());
    }
    let lifetimes = took.as_millis() / u128::from(LIFETIME_MS / 2) + 1;
    for (is_so, what) in [
        (counts.replays + counts.presented_dead == 0, "replays"),
        (counts.most_presentations() <= 2, "a token was presented more than twice"),
        (seen.forced == 0 && *is_in, "forced sign-ins"),
        (counts.calls_doubled() == 0, "calls run twice"),
        (seen.cut_off <= *kills as u64, "calls cut off without a kill"),
        (u128::from(counts.exchanges) <= lifetimes, "more exchanges than lifetimes"),
        (growth(rss) <= GROWTH_KIB, "memory grows"),
        (growth(descriptors) <= 1, "descriptors leak"),
    ] {
        misses.unless(is_so, || what.to_owned());
    }
    let about = "Bridges with a client each that calls a tool and waits 50 ms, an access token that lives 5 s (renewed at \
                 half of it), a provider that takes 300 ms for an exchange and repeats its answer for 30 s.";
    report.section("F29: soak", about, &table, &misses);
}

/// Which of these is in an exchange: the provider has its token, and has not answered. The first one that is.
async fn exchanging(machine: &Machine, clients: &[Client]) -> Option<usize> {
    let begun = Instant::now();
    while begun.elapsed() < KILL_EVERY {
        let before = machine.token_requests();
        while machine.token_requests() == before && begun.elapsed() < KILL_EVERY {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let holder = machine.lock_holder();
        let found = clients.iter().position(|client| holder.is_some() && client.bridge.pid() == holder);
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Two parts of a time.
fn split(time: Duration) -> (Duration, Duration) {
    let before = rand::rng().random_range(Duration::ZERO..time);
    (before, time.saturating_sub(before))
}

fn client(machine: &Machine, name: &str) -> Result<Client> {
    let command: Command = machine.command(&["bridge", &machine.url()]);
    let bridge = Arc::new(StdioServer::start(command.into()).context("the bridge does not start")?);
    let stop = Arc::new(AtomicBool::new(false));
    let calls = tokio::spawn(call_on(Arc::clone(&bridge), Arc::clone(&stop), name.to_owned()));
    Ok(Client { bridge, stop, calls })
}

/// Calls until it is told to stop.
async fn call_on(bridge: Arc<StdioServer>, stop: Arc<AtomicBool>, name: String) -> Seen {
    let mut seen = Seen::default();
    let is_over = || stop.load(Ordering::SeqCst);
    let mut session = bridge.initialize(PATIENCE).await.map(|_| ());
    let mut number = 0_u64;
    while !is_over() {
        if let Err(error) = session {
            seen.errors.push(format!("{name}: {error}"));
            return seen;
        }
        let nonce = format!("{name}-{number}");
        number += 1;
        match bridge.call("count", json!({ "nonce": nonce }), PATIENCE).await {
            Ok(Ok(text)) if text == nonce => seen.answered += 1,
            Ok(Ok(text)) => seen.errors.push(format!("{nonce}: {text}")),
            Ok(Err(error)) => {
                seen.forced += u64::from(error.contains("sign in") || error.contains("linchpin login"));
                seen.errors.push(format!("{nonce}: {error}"));
            }
            Err(_) if is_over() => seen.cut_off += 1,
            Err(error) => session = Err(error),
        }
        tokio::time::sleep(BETWEEN_CALLS).await;
    }
    seen
}

/// Kills a bridge without warning, and says what its client saw.
async fn kill(client: Client) -> Result<Seen> {
    let Client { bridge, stop, calls } = client;
    stop.store(true, Ordering::SeqCst);
    let pid = bridge.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.context("it runs")?, rustix::process::Signal::KILL)?;
    let seen = calls.await.context("a client panicked")?;
    if let Some(mut bridge) = Arc::into_inner(bridge) {
        bridge.kill().await?;
    }
    Ok(seen)
}

/// Lets the client end its call, and the bridge end by itself.
async fn finish(client: Client) -> Result<Seen> {
    let Client { bridge, stop, calls } = client;
    stop.store(true, Ordering::SeqCst);
    let mut seen = calls.await.context("a client panicked")?;
    if let Some(mut bridge) = Arc::into_inner(bridge) {
        let (status, _) = bridge.close(PATIENCE).await?;
        if !status.success() {
            seen.errors.push(format!("a bridge ended with {status}"));
        }
    }
    Ok(seen)
}

fn held_by(clients: &[Client]) -> Result<Vec<Held>> {
    let held = |client: &Client| {
        let pid = client.bridge.pid().context("it runs")?;
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Held { rss_kib: client.bridge.rss_kib().context("it has memory")?, descriptors })
    };
    clients.iter().map(held).collect()
}
