//! `linchpin log`: what was decided about sign-ins, and why.

mod brief;
mod story;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linchpin::history::{Entry, Event, History, Reader};
use linchpin::{Clock as _, SystemClock, UnixMs};

pub(super) use self::brief::{brief, is_news};
use self::story::{Story, moment};
use crate::app::{self, Wanted};
use crate::args::Log;
use crate::failure::Failure;
use crate::output;

/// How often it is looked for what is new.
const EVERY: Duration = Duration::from_millis(100);
/// Where `--follow` begins unless told otherwise, in events.
const LAST: usize = 10;

pub(super) async fn run(args: Log) -> Result<u8, Failure> {
    let since = args.since.map(|since| since.moment(SystemClock.now()));
    let shown = Shown {
        wanted: Wanted::new(args.server.as_deref(), args.profile.as_deref())?,
        since,
        json: args.json,
    };
    let history = History::new(&app::environment()?.directories);
    let (reader, mut story) = (Arc::new(Mutex::new(history.reader())), Story::default());
    let mut lines = shown.more(&reader, &mut story).await?;
    let last = args.lines.or(args.follow.then_some(LAST)).unwrap_or(lines.len());
    lines.drain(..lines.len().saturating_sub(last));
    if lines.is_empty() && !args.follow && !args.json {
        lines.push("no such events".to_owned());
    }
    print(&lines)?;
    if args.follow {
        while output::is_read() {
            tokio::time::sleep(EVERY).await;
            print(&shown.more(&reader, &mut story).await?)?;
        }
    }
    let damaged = reader.lock().unwrap_or_else(PoisonError::into_inner).damaged();
    match damaged {
        0 => {}
        1 => output::note("1 damaged line was passed over"),
        damaged => output::note(format!("{damaged} damaged lines were passed over")),
    }
    Ok(0)
}

/// Everything that the history has.
pub(super) async fn all(history: &History) -> Result<Vec<Entry>, Failure> {
    more(&Arc::new(Mutex::new(history.reader()))).await
}

/// What is new, read where a disk that hangs keeps nobody from ending the command.
async fn more(reader: &Arc<Mutex<Reader>>) -> Result<Vec<Entry>, Failure> {
    let reader = Arc::clone(reader);
    let read = move || reader.lock().unwrap_or_else(PoisonError::into_inner).more();
    match tokio::task::spawn_blocking(read).await {
        Ok(entries) => Ok(entries?),
        Err(error) => Err(Failure::configuration(format!("the history cannot be read: {error}"))),
    }
}

/// Which events are shown, and how.
struct Shown {
    wanted: Wanted,
    since: Option<UnixMs>,
    json: bool,
}

impl Shown {
    /// The lines to show for what is new.
    async fn more(&self, reader: &Arc<Mutex<Reader>>, story: &mut Story) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        for Entry { event, line } in more(reader).await? {
            // What is not shown may explain what is.
            let told = story.tell(&event);
            if self.includes(&event) {
                lines.push(if self.json {
                    linchpin::plain_json(&line).into_owned()
                } else {
                    in_one_line(&event, &told)
                });
            }
        }
        Ok(lines)
    }

    fn includes(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.at_ms >= since) && self.wanted.includes_event(event)
    }
}

fn in_one_line(event: &Event, told: &str) -> String {
    let Event { at_ms, pid, server, profile, .. } = event;
    let profile =
        if *profile == linchpin::Profile::default() { String::new() } else { format!(" ({profile})") };
    let line = format!("{} {pid:>7} {server}{profile}: {told}", moment(*at_ms));
    output::shown(&line).into_owned()
}

fn print(lines: &[String]) -> Result<(), Failure> {
    if lines.is_empty() { Ok(()) } else { output::line(lines.join("\n")) }
}
