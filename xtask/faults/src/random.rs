//! F3: a process dies at any time of a refresh.

use std::time::{Duration, Instant};

use anyhow::Result;
use linchpin_testkit::{Endpoint, Fault};
use rand::Rng as _;

use crate::Campaign;
use crate::kills::{Aftermath, GRACE_MS, Locks, each, grace};
use crate::machine::{Kind, Machine};
use crate::report::{Report, Table};
use crate::tally::{Misses, ms};

/// How long the provider takes to answer, at most, so that more deaths fall into an exchange.
const SLOWEST_ANSWER: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct Tally {
    killed: usize,
    ended: usize,
    sign_ins: usize,
    repeats: u64,
    replays: u64,
    locks: Locks,
    misses: Misses,
}

pub(crate) fn run(campaign: &Campaign, report: &mut Report) -> Result<()> {
    let kinds = campaign.kinds();
    let kills = if campaign.full { 2_000_usize.div_ceil(kinds.len() * 2) } else { 10 };
    let cases: Vec<_> = kinds.iter().flat_map(|&kind| [(kind, true), (kind, false)]).collect();
    let tallies = each(campaign, cases.clone(), |&(kind, grace)| tally(campaign, kind, grace, kills))?;
    let mut table = Table::new(&[
        "store",
        "grace",
        "killed",
        "had ended before",
        "sign-ins needed",
        "repeats",
        "replays",
        "next lock, longest (ms)",
    ]);
    let (mut misses, mut total) = (Misses::default(), 0);
    for ((kind, given), tally) in cases.iter().zip(tallies) {
        total += tally.killed;
        table.row([
            kind.name().to_owned(),
            grace(*given).to_owned(),
            tally.killed.to_string(),
            tally.ended.to_string(),
            tally.sign_ins.to_string(),
            tally.repeats.to_string(),
            tally.replays.to_string(),
            ms(tally.locks.dead.longest()),
        ]);
        misses.merge(tally.misses);
    }
    let about = format!(
        "{total} processes of `linchpin token` killed from outside after a random part of the time that one takes. \
         Targets: as above; a sign-in is needed only where the provider had spent the token and honours no repeat, \
         after one replay.{}",
        campaign.silences(),
    );
    report.section("F3: killed at a random time", &about, &table, &misses);
    Ok(())
}

fn tally(campaign: &Campaign, kind: Kind, given: bool, kills: usize) -> Result<Tally> {
    let machine = Machine::new(campaign, kind, |config| config.grace_ms = if given { GRACE_MS } else { 0 })?;
    let mut tally = Tally::default();
    // How long one takes that nobody kills: the machine may be busy, so the longest of a few.
    let mut whole = Duration::ZERO;
    for _ in 0..3 {
        machine.plant()?;
        let begun = Instant::now();
        machine.token()?;
        whole = whole.max(begun.elapsed());
    }
    while tally.killed < kills {
        if let Err(error) = one(&machine, given, whole + SLOWEST_ANSWER, &mut tally) {
            tally.killed += 1;
            tally.misses.add(format!("{}, grace {}: {error:#}", kind.name(), grace(given)));
        }
    }
    Ok(tally)
}

fn one(machine: &Machine, given: bool, whole: Duration, tally: &mut Tally) -> Result<()> {
    let planted = machine.plant()?;
    let mut rng = rand::rng();
    machine
        .kit
        .fault(Fault::delay(Endpoint::Token, rng.random_range(Duration::ZERO..SLOWEST_ANSWER)).times(1));
    let mut running = machine.start(&["token", &machine.url()], "")?;
    std::thread::sleep(rng.random_range(Duration::ZERO..whole));
    running.kill()?;
    let ran = running.end()?;
    machine.kit.clear_faults();
    if !ran.is_killed() {
        tally.ended += 1;
        return Ok(());
    }
    let after = Aftermath::of(machine, &planted)?;
    let found = after.found;
    tally.killed += 1;
    tally.sign_ins += usize::from(found.code == 3);
    tally.repeats += found.repeats;
    tally.replays += found.replays;
    tally.locks.merge(after.locks);
    let is_well = found.code == 0 && found.replays == 0;
    let is_lost = !given && found.code == 3 && found.replays == 1;
    let misses = &mut tally.misses;
    let place = || format!("{}, grace {}: {found:?}; {}", machine.kind.name(), grace(given), after.said);
    misses.unless((is_well || is_lost) && found.exchanges == 1 && found.presentations <= 2, place);
    misses.unless(after.later_requests == 0, || {
        format!("{}; {} later requests", place(), after.later_requests)
    });
    Ok(())
}
