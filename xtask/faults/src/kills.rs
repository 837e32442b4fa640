//! F3: a process dies at a point of a refresh; the next one is judged.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use linchpin_store::Record;
use linchpin_testkit::{Endpoint, Fault};

use crate::Campaign;
use crate::machine::{Kind, Machine, Planted, wait_for};
use crate::points::{Fate, Point};
use crate::report::{Report, Table};
use crate::tally::{Latencies, Misses, ms};

/// For 99 of 100 that ask for the lock of a killed holder, or wait for it. On a busy machine one in some is not even run
/// for longer than that, so the short form only tells it.
pub(crate) const LOCK_WITHIN: Duration = Duration::from_millis(50);

/// How many runs of a case come one after the other, before those of the next: a campaign that is ended early has
/// something to say of each.
const ROUND: usize = 10;

/// For how long the provider gives the same answer to a token that comes back.
pub(crate) const GRACE_MS: u64 = 30_000;

/// One line of the table.
#[derive(Debug, Clone)]
struct Case {
    point: Point,
    kind: Kind,
    grace: bool,
}

impl Case {
    fn place(&self) -> String {
        format!("{} ({}, grace {})", self.point.name, self.kind.name(), grace(self.grace))
    }
}

/// What all runs of a case came to.
#[derive(Debug, Default)]
struct Tally {
    runs: usize,
    sign_ins: usize,
    exchanges: u64,
    repeats: u64,
    replays: u64,
    later_requests: u64,
    locks: Locks,
    misses: Misses,
}

impl Tally {
    fn merge(&mut self, more: Self) {
        self.runs += more.runs;
        self.sign_ins += more.sign_ins;
        self.exchanges += more.exchanges;
        self.repeats += more.repeats;
        self.replays += more.replays;
        self.later_requests += more.later_requests;
        self.locks.merge(more.locks);
        self.misses.merge(more.misses);
    }
}

/// How long the credential lock took right after a death, and once more with nobody dead: the one says nothing without
/// the other on a machine that does something else too.
#[derive(Debug, Default, Clone)]
pub(crate) struct Locks {
    pub(crate) dead: Latencies,
    pub(crate) nobody: Latencies,
}

impl Locks {
    pub(crate) fn merge(&mut self, more: Self) {
        self.dead.merge(more.dead);
        self.nobody.merge(more.nobody);
    }

    /// For a report.
    fn told(&self) -> String {
        let told = |latencies: &Latencies| {
            let [median, late, longest] = [0.5, 0.99, 1.0].map(|share| ms(latencies.quantile(share)));
            format!("median {median}, 99th percentile {late}, longest {longest} ms")
        };
        format!("{}; asked for once more with nobody dead: {}", told(&self.dead), told(&self.nobody))
    }

    fn check(&self, campaign: &Campaign, misses: &mut Misses) {
        let late = self.dead.quantile(0.99);
        misses.unless(!campaign.full || late <= LOCK_WITHIN, || format!("the lock took {} ms", ms(late)));
    }
}

pub(crate) fn run(campaign: &Campaign, report: &mut Report) -> Result<()> {
    let runs = if campaign.full { 200 } else { 2 };
    let mut cases = Vec::new();
    for kind in campaign.kinds() {
        for grace in [true, false] {
            let points = Point::all().into_iter().filter(|point| kind.is_a_file() || !point.is_of_a_file());
            cases.extend(points.map(|point| Case { point, kind, grace }));
        }
    }
    let mut tallies: Vec<_> = cases.iter().map(|_| Tally::default()).collect();
    let mut done = 0;
    while done < runs && !campaign.is_over() {
        let count = ROUND.min(runs - done);
        let round = each(campaign, cases.clone(), |case| tally(campaign, case, count))?;
        tallies.iter_mut().zip(round).for_each(|(tally, more)| tally.merge(more));
        done += count;
        campaign.progress(&format!("{done} of {runs} kills at each point"));
    }
    let mut table = Table::new(&[
        "killed at",
        "store",
        "grace",
        "runs",
        "sign-ins needed",
        "exchanges",
        "repeats",
        "replays",
        "later requests",
        "next lock, longest (ms)",
    ]);
    let (mut misses, mut locks, mut total) = (Misses::default(), Locks::default(), 0);
    for (case, tally) in cases.iter().zip(tallies) {
        total += tally.runs;
        table.row([
            case.point.name.to_owned(),
            case.kind.name().to_owned(),
            grace(case.grace).to_owned(),
            tally.runs.to_string(),
            tally.sign_ins.to_string(),
            tally.exchanges.to_string(),
            tally.repeats.to_string(),
            tally.replays.to_string(),
            tally.later_requests.to_string(),
            ms(tally.locks.dead.longest()),
        ]);
        locks.merge(tally.locks);
        misses.merge(tally.misses);
    }
    let about = format!(
        "{total} processes of `linchpin token` whose access token had ended, each killed (SIGKILL) at a point of its \
         refresh; then the credential lock is asked for, the store read, and `linchpin token` run again. Targets: the \
         store parses; the lock is had at the first try, and by 99 of 100 within 50 ms ({}); no \
         sign-in is needed, but where the provider had spent the token, the answer was lost and it honours no repeat: \
         there one replay, then a tombstone, exit 3 and no further request. `sent`: killed from outside while the provider, which \
         has spent the token, keeps its answer back; everywhere else the process kills itself.{}",
        locks.told(),
        campaign.silences(),
    );
    locks.check(campaign, &mut misses);
    report.section("F3: killed at each point of a refresh", &about, &table, &misses);
    Ok(())
}

pub(crate) fn grace(is_given: bool) -> &'static str {
    if is_given { "30 s" } else { "none" }
}

/// Does the work of each case, some at once; the answers in the order of the cases.
pub(crate) fn each<C: Send, T: Send>(
    campaign: &Campaign,
    cases: Vec<C>,
    work: impl Fn(&C) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let queue = Mutex::new(cases.into_iter().enumerate().collect::<VecDeque<_>>());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let worker = || {
        let mut done = Vec::new();
        while let Some((place, case)) = next() {
            done.push((place, work(&case)?));
        }
        Ok::<_, anyhow::Error>(done)
    };
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..campaign.jobs).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::new();
        for worker in workers {
            let Ok(done) = worker.join() else { bail!("a worker panicked") };
            all.extend(done?);
        }
        Ok(all)
    })?;
    all.sort_by_key(|(place, _)| *place);
    Ok(all.into_iter().map(|(_, answer)| answer).collect())
}

fn tally(campaign: &Campaign, case: &Case, runs: usize) -> Result<Tally> {
    let machine = Machine::new(campaign, case.kind, |config| {
        config.grace_ms = if case.grace { GRACE_MS } else { 0 };
    })?;
    let mut tally = Tally::default();
    for _ in 0..runs {
        // What goes wrong otherwise than a run can is a target missed like any other; the next run has a sign-in of its own.
        if let Err(error) = one(&machine, case, &mut tally) {
            tally.misses.add(format!("{}: {error:#}", case.place()));
        }
    }
    Ok(tally)
}

fn one(machine: &Machine, case: &Case, tally: &mut Tally) -> Result<()> {
    let mut planted = machine.plant()?;
    while !die(machine, &case.point)? {
        planted = machine.plant()?;
    }
    let after = Aftermath::of(machine, &planted)?;
    let place = case.place();
    let lost = case.point.fate == Fate::Lost;
    let expected = match (case.point.fate, case.grace) {
        (Fate::Lost, false) => Expected { code: 3, exchanges: 1, presentations: 2, repeats: 0, replays: 1 },
        (Fate::Lost, true) => Expected { code: 0, exchanges: 1, presentations: 2, repeats: 1, replays: 0 },
        (Fate::Unspent | Fate::Saved, _) => {
            Expected { code: 0, exchanges: 1, presentations: 1, repeats: 0, replays: 0 }
        }
    };
    tally.runs += 1;
    tally.sign_ins += usize::from(after.found.code == 3);
    tally.exchanges += after.found.exchanges;
    tally.repeats += after.found.repeats;
    tally.replays += after.found.replays;
    tally.later_requests += after.later_requests;
    tally.locks.merge(after.locks);
    let misses = &mut tally.misses;
    misses.unless(after.found == expected, || {
        format!("{place}: {:?}, not {expected:?}; {}", after.found, after.said)
    });
    misses.unless(lost || after.requests_of_next == u64::from(case.point.fate == Fate::Unspent), || {
        format!("{place}: the next process made {} requests", after.requests_of_next)
    });
    misses.unless(after.later_requests == 0, || format!("{place}: {} later requests", after.later_requests));
    // The mark alone would keep the next process from asking; it is the tombstone that says why.
    let is_buried = after.record.as_ref().is_none_or(|record| record.dead.is_some() == (expected.code == 3));
    misses.unless(is_buried, || format!("{place}: a tombstone, or none: {:?}", after.found));
    Ok(())
}

/// A process dies at this point; whether it came there, and not to a keyring that was too busy for it.
fn die(machine: &Machine, point: &Point) -> Result<bool> {
    let token = ["token", &machine.url()];
    let ran = if let Some(order) = point.order() {
        machine.start(&token, &order)?.end()?
    } else {
        machine.kit.fault(Fault::hold(Endpoint::Token).times(1));
        let mut running = machine.start(&token, "")?;
        wait_for("the provider to have the request", || Ok(machine.kit.held() == 1 || running.has_ended()?))?;
        running.kill()?;
        let ran = running.end()?;
        machine.kit.clear_faults();
        ran
    };
    if !ran.is_killed() && !machine.was_silent(&ran) {
        bail!("it was not killed there: {ran:?}");
    }
    Ok(ran.is_killed())
}

/// What a run has to come to, or came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The exit code of the next process.
    pub(crate) code: i32,
    pub(crate) exchanges: u64,
    /// Of the planted refresh token.
    pub(crate) presentations: u64,
    pub(crate) repeats: u64,
    pub(crate) replays: u64,
}

/// What is seen after a death.
pub(crate) struct Aftermath {
    pub(crate) found: Expected,
    /// How long the credential lock took.
    pub(crate) locks: Locks,
    pub(crate) requests_of_next: u64,
    /// The record in the end, where this process can read it.
    pub(crate) record: Option<Record>,
    /// Token requests of a process after the next.
    pub(crate) later_requests: u64,
    /// What the next process told, for whoever looks into a miss.
    pub(crate) said: String,
}

impl Aftermath {
    /// Asks for the lock, reads the store, and runs two more processes.
    pub(crate) fn of(machine: &Machine, planted: &Planted) -> Result<Self> {
        let mut locks = Locks::default();
        for latencies in [&mut locks.dead, &mut locks.nobody] {
            // Not waited for: it is free, however busy the machine is.
            latencies.add(machine.lock(Duration::ZERO).context("the lock is not free")?.1);
        }
        if machine.kind.is_a_file() {
            machine.record().context("the store does not parse")?.context("the record is gone")?;
        }
        let before = machine.token_requests();
        let next = machine.token()?;
        let between = machine.token_requests();
        let later = machine.token()?;
        let after = machine.token_requests();
        if later.code() != next.code() {
            bail!("the process after the next ended otherwise: {next:?}, {later:?}");
        }
        if next.code() == Some(0) && machine.kit.grant_of(next.stdout.trim()) != Some(planted.grant) {
            bail!("the token that it printed is not one of this sign-in");
        }
        let counts = machine.kit.counts();
        let found = Expected {
            code: next.code().unwrap_or(-1),
            exchanges: counts.exchanges,
            presentations: counts.presentations_of(&planted.refresh_token),
            repeats: counts.repeats,
            replays: counts.replays + counts.presented_dead,
        };
        let said = next.stderr.trim().to_owned();
        let record = if machine.kind.is_a_file() { machine.record()? } else { None };
        Ok(Self {
            found,
            locks,
            record,
            requests_of_next: between - before,
            later_requests: after - between,
            said,
        })
    }
}
