//! F19: sign-in, sign-out and refresh of one server in real processes, in every order that barriers can make.
//!
//! One process is parked at a step of its transaction while others begin, and, where no lock keeps them out, end.
//! Whatever the order: the user action that finished last is what is there afterwards.

use anyhow::{Context as _, Result, bail};
use linchpin_store::steps::Step;

use crate::Campaign;
use crate::kills::each;
use crate::machine::{Barrier, Kind, Machine, Ran, Running, wait_for};
use crate::points::written;
use crate::report::{Report, Table};
use crate::tally::Misses;

/// For how long a process that must not get a lock is watched trying.
const WATCHED: std::time::Duration = std::time::Duration::from_millis(5);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Refresh,
    SignIn,
    SignOut,
}

use Action::{Refresh, SignIn, SignOut};

/// Where a process is parked.
#[derive(Debug, Clone)]
struct Place {
    path: Vec<Step>,
    /// Whether it has the credential lock there.
    locked: bool,
}

const SAVE: [Step; 8] = [
    Step::SavePreLock,
    Step::SaveLocked,
    Step::SaveReread,
    Step::TemporaryMade,
    Step::Written,
    Step::Synced,
    Step::Renamed,
    Step::DirectorySynced,
];

/// What the short form is content with.
const FEW: [Step; 7] = [
    Step::PreLock,
    Step::Locked,
    Step::Marked,
    Step::Connected,
    Step::Received,
    Step::Renamed,
    Step::Published,
];

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Refresh => "refresh",
            SignIn => "sign-in",
            SignOut => "sign-out",
        }
    }

    /// The steps at which it can be parked.
    fn places(self, kind: Kind) -> Vec<Place> {
        let place = |path: &[Step], locked| Place { path: path.to_vec(), locked };
        let save = if kind.is_a_file() { &SAVE[..] } else { &[] };
        let mut places = Vec::new();
        if self == SignIn {
            // The code is exchanged before the lock is asked for: no lock spans the wait for a person.
            let exchange = [Step::Connected, Step::HalfSent, Step::HalfReceived, Step::Received];
            places.extend(exchange.map(|step| place(&[step], false)));
        }
        places.push(place(&[Step::PreLock], false));
        places.push(place(&[Step::Locked], true));
        places.push(place(&[Step::Locked, Step::Reread], true));
        match self {
            SignIn => {}
            SignOut => {
                let revocation = [Step::Connected, Step::HalfSent];
                places.extend(revocation.map(|step| place(&[Step::Reread, step], true)));
            }
            Refresh => {
                places.extend(save.iter().map(|&step| place(&[Step::Reread, step], true)));
                places.push(place(&[Step::Marked], true));
                let exchange = [Step::Connected, Step::HalfSent, Step::HalfReceived, Step::Received];
                places.extend(exchange.map(|step| place(&[Step::Marked, step], true)));
            }
        }
        let before_save = if self == Refresh { Step::Received } else { Step::Reread };
        places.extend(save.iter().map(|&step| place(&[before_save, step], true)));
        places.push(place(&[Step::MarkCleared], true));
        places.push(place(&[Step::Published], true));
        places
    }

    /// What begins while it is parked, in this order.
    fn others(self) -> &'static [&'static [Self]] {
        match self {
            Refresh => &[&[SignIn], &[SignOut], &[SignIn, SignOut], &[SignOut, SignIn]],
            SignIn => &[&[Refresh], &[SignOut], &[Refresh, SignOut], &[SignOut, Refresh], &[SignIn]],
            SignOut => &[&[Refresh], &[SignIn], &[Refresh, SignIn], &[SignIn, Refresh]],
        }
    }
}

#[derive(Debug, Clone)]
struct Case {
    kind: Kind,
    parked: Action,
    place: Place,
    others: &'static [Action],
}

impl Case {
    /// All actions in the order in which they finish.
    fn order(&self) -> Vec<Action> {
        let (parked, others) = ([self.parked], self.others);
        if self.place.locked { [&parked[..], others].concat() } else { [others, &parked[..]].concat() }
    }

    fn told(&self) -> String {
        let others: Vec<_> = self.others.iter().map(|other| other.name()).collect();
        let (kind, parked, at) = (self.kind.name(), self.parked.name(), written(&self.place.path));
        format!("{kind}: {parked} parked at {at}, then {}", others.join(", "))
    }
}

#[derive(Debug, Default)]
struct Tally {
    runs: usize,
    resurrections: usize,
    lost: usize,
    replays: u64,
    misses: Misses,
}

pub(crate) fn run(campaign: &Campaign, report: &mut Report) -> Result<()> {
    let runs = if campaign.full { 5 } else { 1 };
    let kinds = if campaign.full { campaign.kinds() } else { vec![Kind::File] };
    let mut cases = Vec::new();
    for kind in kinds {
        for parked in [Refresh, SignIn, SignOut] {
            for place in parked.places(kind) {
                let is_wanted = campaign.full || place.path.last().is_some_and(|step| FEW.contains(step));
                for &others in parked.others().iter().filter(|_| is_wanted) {
                    cases.push(Case { kind, parked, place: place.clone(), others });
                }
            }
        }
    }
    let tallies = each(campaign, cases.clone(), |case| tally(campaign, case, runs))?;
    let mut table = Table::new(&[
        "parked",
        "meanwhile",
        "steps",
        "schedules",
        "resurrections",
        "lost sign-ins",
        "replays",
    ]);
    let (mut misses, mut total) = (Misses::default(), 0);
    for parked in [Refresh, SignIn, SignOut] {
        for &others in parked.others() {
            let (mut sum, mut steps) = (Tally::default(), 0);
            for (case, tally) in cases.iter().zip(&tallies) {
                if case.parked == parked && case.others == others {
                    steps += 1;
                    sum.runs += tally.runs;
                    sum.resurrections += tally.resurrections;
                    sum.lost += tally.lost;
                    sum.replays += tally.replays;
                    misses.merge(tally.misses.clone());
                }
            }
            total += sum.runs;
            let meanwhile: Vec<_> = others.iter().map(|other| other.name()).collect();
            table.row([
                parked.name().to_owned(),
                meanwhile.join(", then "),
                steps.to_string(),
                sum.runs.to_string(),
                sum.resurrections.to_string(),
                sum.lost.to_string(),
                sum.replays.to_string(),
            ]);
        }
    }
    let about = format!(
        "{total} schedules of two or three real processes, made by barriers: one is parked at a step (the column counts \
         step and store) while the others begin; those go on that no lock keeps out, then the parked one, then the rest \
         one after the other. Targets: nobody gets a lock that is held; the sign-in or sign-out that finished last is \
         what the next process finds: 0 resurrections, 0 lost sign-ins, 0 replays."
    );
    report.section("F19: sign-in, sign-out and refresh in all orders", &about, &table, &misses);
    Ok(())
}

fn tally(campaign: &Campaign, case: &Case, runs: usize) -> Result<Tally> {
    let machine = Machine::new(campaign, case.kind, |_| {})?;
    let mut tally = Tally::default();
    for _ in 0..runs {
        one(&machine, case, &mut tally).with_context(|| case.told())?;
    }
    Ok(tally)
}

fn one(machine: &Machine, case: &Case, tally: &mut Tally) -> Result<()> {
    let scopes = |scopes: &[&str]| scopes.iter().map(|&scope| scope.to_owned()).collect();
    machine.kit.configure(|config| config.scopes = scopes(&["tools"]));
    let planted = machine.plant()?;
    machine.kit.configure(|config| config.scopes = scopes(&["tools", scope(false), scope(true)]));
    let ends = schedule(machine, case)?;
    tally.runs += 1;
    let order = case.order();
    let last = order.iter().rposition(|action| *action != Refresh).context("a user acts in every case")?;
    let is_in = order[last] == SignIn;

    let misses = &mut tally.misses;
    for (place, (action, ran)) in ends.iter().enumerate() {
        // A sign-in tries its token, which a sign-out right behind it has revoked.
        let may_fail = *action == Refresh || *action == SignIn && order[place..].contains(&SignOut);
        misses.unless(may_fail || ran.code() == Some(0), || format!("{}: {action:?}: {ran:?}", case.told()));
    }
    let before = machine.token_requests();
    let next = machine.token()?;
    let grant = machine.kit.grant_of(next.stdout.trim());
    let is_new = grant.is_some_and(|grant| grant != planted.grant);
    tally.resurrections +=
        usize::from(!is_in && next.code() != Some(3) || is_in && grant == Some(planted.grant));
    tally.lost += usize::from(is_in && !is_new);
    let expected = if is_in { 0 } else { 3 };
    misses.unless(next.code() == Some(expected) && is_new == is_in, || {
        format!("{}: the next process: {:?}, {}", case.told(), next.code(), next.stderr.trim())
    });
    misses.unless(machine.token_requests() == before, || format!("{}: the next process asked", case.told()));
    if case.kind.is_a_file() {
        let record = machine.record()?;
        misses.unless(record.is_some() == is_in, || format!("{}: the record is not that", case.told()));
        if let Some(record) = record {
            // Of two sign-ins, the one that finished last.
            let parked = if case.place.locked { 0 } else { order.len() - 1 };
            let mine = scope(last != parked);
            misses.unless(record.scopes.iter().any(|scope| scope == mine), || {
                format!("{}: the sign-in with {:?}, not {mine}", case.told(), record.scopes)
            });
        }
    }
    let counts = machine.kit.counts();
    tally.replays += counts.replays + counts.presented_dead;
    misses.unless(counts.replays + counts.presented_dead + counts.repeats == 0, || {
        format!("{}: {} replays, {} repeats", case.told(), counts.replays, counts.repeats)
    });
    Ok(())
}

/// Has the processes run in the order of the case; how each ended, in the order in which they did.
fn schedule(machine: &Machine, case: &Case) -> Result<Vec<(Action, Ran)>> {
    let park = Barrier::new(machine, "park");
    let at = format!("{}={}", written(&case.place.path), park.act());
    let mut parked = start(machine, case.parked, 0, &at)?;
    wait_for("the step", || Ok(park.is_reached() || parked.has_ended()?))?;
    if !park.is_reached() {
        bail!("it never came there: {:?}", parked.end()?);
    }
    // Each of the others comes as far as its lock.
    let mut others = Vec::new();
    for (number, &action) in case.others.iter().enumerate() {
        let (asks, has) =
            (Barrier::new(machine, &format!("asks{number}")), Barrier::new(machine, &format!("has{number}")));
        has.open()?;
        let at = format!("pre-lock={};locked={}", asks.act(), has.act());
        let mut running = start(machine, action, number + 1, &at)?;
        wait_for("it to ask for the lock", || Ok(asks.is_reached() || running.has_ended()?))?;
        others.push((action, running, asks, has));
    }
    let mut ends = Vec::new();
    let mut parked = Some(parked);
    if case.place.locked {
        if let Some((action, running, asks, has)) = others.first_mut() {
            asks.open()?;
            std::thread::sleep(WATCHED);
            // A refresh that found a good token, or no sign-in at all, needed no lock.
            if has.is_reached() || *action != Refresh && running.has_ended()? {
                bail!("{} got the lock beside its holder", action.name());
            }
        }
        park.open()?;
        ends.extend(
            parked.take().map(|parked| Ok::<_, anyhow::Error>((case.parked, parked.end()?))).transpose()?,
        );
    }
    for (action, running, asks, _) in others {
        asks.open()?;
        ends.push((action, running.end()?));
    }
    if let Some(parked) = parked {
        park.open()?;
        ends.push((case.parked, parked.end()?));
    }
    Ok(ends)
}

fn start(machine: &Machine, action: Action, number: usize, at: &str) -> Result<Running> {
    let url = machine.url();
    match action {
        Refresh => machine.start(&["token", &url], at),
        SignOut => machine.start(&["logout", &url], at),
        SignIn if number == 0 => machine.start(&["login", &url, "--scope", scope(false)], at),
        // Also beside another sign-in, for whose result it would wait otherwise.
        SignIn => machine.start(&["login", &url, "--force", "--scope", scope(true)], at),
    }
}

/// What a sign-in asks for, which tells whose was saved.
const fn scope(is_another: bool) -> &'static str {
    if is_another { "another" } else { "parked" }
}
