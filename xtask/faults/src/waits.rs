//! F11: a holder that dies, lets go, or is stopped, and the process that waits for its lock.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::Campaign;
use crate::kills::LOCK_WITHIN;
use crate::machine::{Barrier, Kind, Machine, PATIENCE, Running, wait_for};
use crate::report::{Report, Table};
use crate::tally::{Latencies, Misses, ms};

/// How long a waiter has waited when its turn comes: it asks as seldom as it ever does by then.
const WAITED: Duration = Duration::from_millis(60);

/// When a waiter says who it waits for.
const TELLS: Duration = Duration::from_secs(1);

/// For how long a refresh waits for the lock.
const BOUND: Duration = Duration::from_secs(50);

pub(crate) fn run(campaign: &Campaign, report: &mut Report) -> Result<()> {
    let machine = Machine::new(campaign, Kind::File, |_| {})?;
    let runs = if campaign.full { 200 } else { 10 };
    let mut table =
        Table::new(&["holder", "runs", "what the waiter does", "median", "99th percentile", "longest"]);
    let mut misses = Misses::default();
    for end in [End::Killed, End::LetsGo] {
        let mut latencies = Latencies::default();
        for _ in 0..runs {
            let latency = hand_over(&machine, end)?;
            latencies.add(latency);
        }
        let late = latencies.quantile(0.99);
        misses.unless(!campaign.full || late <= LOCK_WITHIN, || {
            format!("{end:?}: the lock after {} ms", ms(late))
        });
        let told = match end {
            End::Killed => "killed (SIGKILL)",
            End::LetsGo => "lets go",
        };
        let [median, late, longest] =
            [0.5, 0.99, 1.0].map(|share| format!("{} ms", ms(latencies.quantile(share))));
        table.row([
            told.to_owned(),
            runs.to_string(),
            "has the lock after".to_owned(),
            median,
            late,
            longest,
        ]);
    }
    stopped(&machine, campaign.full, &mut table, &mut misses)?;
    let about = "A process of `linchpin token` holds the credential lock while another waits for it. Targets: the lock \
                 within 50 ms of the holder's death or release, for 99 of 100; after 1 s a line that names process and purpose; with a \
                 stopped holder a timeout that names both, and nothing sent; when it runs again, one exchange in all.";
    report.section("F11: waiting for a holder", about, &table, &misses);
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Killed,
    LetsGo,
}

/// From what ends the holder, to the lock in the hands of a waiter.
fn hand_over(machine: &Machine, end: End) -> Result<Duration> {
    machine.plant()?;
    let park = Barrier::new(machine, "park");
    // The last step under the lock.
    let mut holder = machine.start(&["token", &machine.url()], &format!("published={}", park.act()))?;
    wait_for("the holder", || Ok(park.is_reached()))?;
    let (begun, had) = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| machine.lock(PATIENCE).map(|(guard, _)| (Instant::now(), guard)));
        std::thread::sleep(WAITED);
        let begun = Instant::now();
        match end {
            End::Killed => holder.kill()?,
            End::LetsGo => park.open()?,
        }
        let Ok(had) = waiter.join() else { bail!("the waiter panicked") };
        Ok((begun, had?.0))
    })?;
    holder.end()?;
    Ok(had.duration_since(begun))
}

/// A holder is stopped, and goes on after its waiter has told of it, or has given up.
fn stopped(machine: &Machine, until_it_gives_up: bool, table: &mut Table, misses: &mut Misses) -> Result<()> {
    machine.plant()?;
    // Its own caller has more patience than it is stopped for.
    let holder = machine.start(&["token", &machine.url(), "--timeout", "5m"], "locked=stop")?;
    wait_for("the holder to stop", || Ok(is_stopped(&holder)))?;
    let (url, pid) = (machine.url(), holder.pid());
    let begun = Instant::now();
    let mut waiter = machine.start(&["token", &url, "--timeout", "90s"], "")?;
    let mut lines = BufReader::new(waiter.stderr().context("piped")?).lines();
    let told = lines.next().context("it says something")??;
    let after = begun.elapsed();
    let names = |line: &str| line.contains(&format!("process {pid} (refresh)"));
    misses.unless(names(&told) && after >= TELLS, || format!("after {after:?}: {told}"));
    table.row([
        "stopped (SIGSTOP)".to_owned(),
        "1".to_owned(),
        format!("says `{}` after", told.trim().replace(&pid.to_string(), "PID")),
        format!("{:.2} s", after.as_secs_f64()),
        String::new(),
        String::new(),
    ]);
    let mut expected = 0;
    if until_it_gives_up {
        let error = lines.next().context("it gives up with a message")??;
        let after = begun.elapsed();
        expected = 6;
        misses.unless(names(&error) && after >= BOUND, || format!("after {after:?}: {error}"));
        misses.unless(machine.token_requests() == 0, || "a token request beside a stopped holder".to_owned());
        table.row([
            "stays stopped".to_owned(),
            "1".to_owned(),
            "gives up naming it (exit 6) after".to_owned(),
            format!("{:.2} s", after.as_secs_f64()),
            String::new(),
            String::new(),
        ]);
    }
    holder.signal(Signal::CONT)?;
    let (holder, waiter) = (holder.end()?, waiter.end()?);
    misses.unless(holder.code() == Some(0) && waiter.code() == Some(expected), || {
        format!("stopped: {holder:?}, {waiter:?}")
    });
    let exchanges = machine.kit.counts().exchanges;
    misses.unless(exchanges == 1, || format!("{exchanges} exchanges by a stopped holder and its waiter"));
    Ok(())
}

fn is_stopped(process: &Running) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}
