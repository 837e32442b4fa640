//! Events in files: written whole by many at once, read past whatever else is there.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::samples::key;
use crate::{Secret, StoreError, StoreKind, UnixMs};

mod kinds;

fn history(home: &tempfile::TempDir, full: u64) -> History {
    History::of(HistoryFile::new(&directories(home)).full_at(full))
}

fn directories(home: &tempfile::TempDir) -> Directories {
    Directories::under(home.path().join("linchpin")).expect("absolute")
}

/// An event that is told apart by its generation.
fn numbered(number: u64) -> Event {
    Event::new(UnixMs(number), &key(1), StoreKind::File, Some(number), What::Superseded)
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.event.generation.expect("numbered")).collect()
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).expect("opened");
    file.write_all(bytes).expect("written");
}

#[tokio::test]
async fn what_is_told_is_read_in_order() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    let mut reader = history.reader();
    assert_eq!(reader.more().expect("nothing there is fine"), []);
    (1..=100).for_each(|number| history.record(numbered(number)));
    history.written().await;
    assert_eq!(numbers(&reader.more().expect("readable")), (1..=100).collect::<Vec<_>>());
    assert_eq!(reader.more().expect("readable"), [], "only what is new");
    history.record(numbered(101));
    history.written().await;
    assert_eq!(numbers(&reader.more().expect("readable")), [101]);
    assert_eq!(reader.damaged(), 0);
}

/// Outside a runtime there is nobody to leave the writing to.
#[test]
fn what_is_told_without_a_runtime_is_written_at_once() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    history.record(numbered(1));
    assert_eq!(numbers(&history.reader().more().expect("readable")), [1]);
}

/// A broken server, asked again and again, must not push out why somebody was signed out.
#[test]
fn f25_what_is_asked_again_and_again_is_told_once_and_what_is_made_up_anew_a_few_times() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    let failed = |problem: &str| What::SignInFailed { problem: Phrase::new(problem) };
    let required = || What::SignInRequired {
        reason: Reason::NotSignedIn,
        code: None,
        token: None,
        access: None,
        evidence: None,
    };
    let tell = |what: What| history.record(Event::new(UnixMs(1), &key(1), StoreKind::File, None, what));
    let told = || history.reader().more().expect("readable").len();
    // Turn by turn, as a client has it that is started anew each time.
    for _ in 0..40 {
        tell(failed("answered 503"));
        tell(required());
    }
    assert_eq!(told(), 2);
    (0..100).for_each(|number| tell(failed(&format!("made up {number}"))));
    assert_eq!(told(), 2 + 15, "sixteen failures in all");
    // After something was done it is news again.
    tell(What::Superseded);
    tell(failed("answered 503"));
    tell(required());
    assert_eq!(told(), 2 + 15 + 3);
}

/// Whoever looks at the file with `cat` sees what was told, and nothing pretends to be something else.
#[test]
fn f25_nothing_in_the_file_acts_on_a_terminal_or_hides() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    let problem = "names \u{202e}moc.elpmaxe\u{2066} as pay\u{200b}pal, \u{e0041}\u{feff}";
    let what = What::SignInFailed { problem: Phrase::new(problem) };
    history.record(Event::new(UnixMs(1), &key(1), StoreKind::File, None, what.clone()));
    let written = fs::read_to_string(history.0.file.paths()[0]).expect("there");
    assert!(written.trim_end().chars().all(|c| c.is_ascii_graphic() || c == ' '), "{written}");
    assert!(written.contains("names \\u202emoc.elpmaxe"), "{written}");
    assert_eq!(history.reader().more().expect("readable")[0].event.what, what, "a reader finds the same");
}

/// Each writer's events that are kept are its last ones, without a gap, in two files of the bound at most.
#[test]
fn several_writers_lose_nothing_that_is_to_be_kept_when_files_are_full() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 500;
    const FULL: u64 = 20_000;
    let home = tempfile::tempdir().expect("a directory");
    std::thread::scope(|threads| {
        for writer in 0..WRITERS {
            let history = history(&home, FULL);
            threads.spawn(move || {
                (0..EACH).for_each(|number| history.record(numbered(writer * 1_000_000 + number)));
            });
        }
    });
    let history = history(&home, FULL);
    let mut reader = history.reader();
    let all = numbers(&reader.more().expect("readable"));
    assert_eq!(reader.damaged(), 0, "no line is torn");
    let mut kept = 0;
    for writer in 0..WRITERS {
        let own: Vec<_> = all.iter().filter(|number| *number / 1_000_000 == writer).collect();
        kept += own.len();
        assert!(own.windows(2).all(|pair| pair[1] - pair[0] == 1), "writer {writer} has a gap: {own:?}");
        assert!(own.last().is_none_or(|last| **last == writer * 1_000_000 + EACH - 1), "{own:?}");
    }
    let lengths = history.0.file.paths().map(|path| fs::metadata(path).expect("there").len());
    assert!(lengths.iter().all(|length| *length <= FULL + 4 * 300), "{lengths:?}");
    assert!(kept as u64 * 200 > FULL / 2, "most of a file at least: {kept}");
}

#[test]
fn a_reader_follows_across_full_files() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 2_000);
    let mut reader = history.reader();
    let mut read = Vec::new();
    for number in 0..200 {
        history.record(numbered(number));
        // Rarely enough that two files are filled in between, and never three.
        if number % 8 == 0 {
            read.extend(numbers(&reader.more().expect("readable")));
        }
    }
    read.extend(numbers(&reader.more().expect("readable")));
    assert_eq!(read, (0..200).collect::<Vec<_>>());
}

/// A writer may have had the file open when it was replaced.
#[test]
fn a_reader_sees_what_a_late_writer_adds_to_the_older_file() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    history.record(numbered(1));
    let mut reader = history.reader();
    assert_eq!(numbers(&reader.more().expect("readable")), [1]);
    let [path, older] = history.0.file.paths();
    fs::rename(path, older).expect("renamed");
    history.record(numbered(2));
    assert_eq!(numbers(&reader.more().expect("readable")), [2]);
    append(older, format!("{}\n", numbered(3).to_line()).as_bytes());
    assert_eq!(numbers(&reader.more().expect("readable")), [3]);
}

#[test]
fn a_torn_line_costs_itself_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    history.record(numbered(1));
    let [path, _] = history.0.file.paths();
    append(path, b"{\"v\":1,\"at_ms\":17");
    history.record(numbered(2));
    append(path, b"not an event\n\n{}\n\xff\xfe\n");
    history.record(numbered(3));
    append(path, b"{\"v\":1");
    let mut reader = history.reader();
    assert_eq!(numbers(&reader.more().expect("readable")), [1, 2, 3]);
    assert_eq!(reader.damaged(), 5, "torn, no JSON, no event, no text, unfinished");
}

#[test]
fn a_file_that_was_cut_off_is_read_from_its_beginning() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    (1..=3).for_each(|number| history.record(numbered(number)));
    let mut reader = history.reader();
    assert_eq!(reader.more().expect("readable").len(), 3);
    fs::File::options().write(true).open(history.0.file.paths()[0]).expect("opened").set_len(0).expect("cut");
    history.record(numbered(4));
    assert_eq!(numbers(&reader.more().expect("readable")), [4]);
}

#[cfg(unix)]
#[test]
fn f13_the_history_is_private_and_follows_no_link() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    history.record(numbered(1));
    let [path, _] = history.0.file.paths();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!((mode(path), mode(path.parent().expect("a directory"))), (0o600, 0o700));
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("changed");
    history.record(numbered(2));
    assert_eq!(mode(path), 0o600, "repaired");

    let target = home.path().join("target");
    fs::rename(path, &target).expect("renamed");
    let before = fs::read(&target).expect("there");
    std::os::unix::fs::symlink(&target, path).expect("linked");
    history.record(numbered(3));
    assert_eq!(fs::read(&target).expect("there"), before, "nothing is written through a link");
    let refused = history.reader().more().expect_err("nor read");
    assert!(matches!(refused, StoreError::Unsafe { .. }), "{refused}");
}

/// What cannot be begun anew is bounded all the same.
#[test]
fn f10_a_history_that_cannot_be_replaced_does_not_grow_without_bound() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 2_000);
    let [path, older] = history.0.file.paths();
    fs::create_dir_all(older).expect("made");
    (0..200).for_each(|number| history.record(numbered(number)));
    let length = fs::metadata(path).expect("there").len();
    assert!((2_000..=4_300).contains(&length), "{length}");
}

/// A disk that hangs: the queue has an end, and nobody who tells something waits.
#[tokio::test]
async fn a_queue_that_nobody_empties_is_bounded() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    locked(&history.0.queue).writing = true;
    (0..5_000).for_each(|number| history.record(numbered(number)));
    assert_eq!(locked(&history.0.queue).events.len(), LONGEST_QUEUE);
}

/// A runtime that ends before the writing began leaves it to the next one who tells something.
#[test]
fn a_writer_that_never_ran_is_replaced() {
    let home = tempfile::tempdir().expect("a directory");
    let history = history(&home, 1 << 20);
    drop(Writing { inner: Arc::clone(&history.0), ended: false });
    locked(&history.0.queue).events.push_back(numbered(1));
    history.record(numbered(2));
    assert_eq!(numbers(&history.reader().more().expect("readable")), [1, 2]);
}

proptest! {
    /// Whatever lies between the lines, and however the bytes come: every event, in order, and no panic.
    #[test]
    fn f08_events_are_found_among_anything(
        garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
        piece in 1_usize..300,
    ) {
        let mut bytes = Vec::new();
        for (number, garbage) in garbage.iter().enumerate() {
            bytes.extend(garbage);
            bytes.push(b'\n');
            bytes.extend(numbered(number as u64).to_line().into_bytes());
            bytes.push(b'\n');
        }
        let mut lines = Lines::default();
        let entries: Vec<_> = bytes.chunks(piece).flat_map(|bytes| lines.push(bytes)).collect();
        prop_assert_eq!(numbers(&entries), (0..garbage.len() as u64).collect::<Vec<_>>());
        let written = garbage.iter().flat_map(|garbage| garbage.split(|byte| *byte == b'\n'));
        prop_assert_eq!(lines.damaged(), written.filter(|line| !line.is_empty()).count());
    }

    #[test]
    fn f08_no_line_of_any_json_is_a_panic(text in "\\{(\"[a-z_]{1,8}\":(\"[a-z]{0,8}\"|[0-9]{1,20}|null),?){0,12}\\}") {
        let _ = Event::from_line(text.as_bytes());
    }
}

#[test]
fn f08_a_line_without_end_takes_little_memory() {
    let mut lines = Lines::default();
    for _ in 0..1_000 {
        assert_eq!(lines.push(&[b'x'; 4096]), []);
        assert!(lines.partial_length() <= (64 << 10) + 4096);
    }
    assert_eq!(lines.push(format!("\n{}\n", numbered(7).to_line()).as_bytes()).len(), 1);
    assert_eq!(lines.damaged(), 1);
}

#[test]
fn p20_an_event_names_tokens_and_has_no_query() {
    let server =
        crate::ServerUrl::parse("https://mcp.example.com/mcp?key=planted", crate::PlainHttp::LoopbackOnly);
    let key = crate::CredentialKey::new(crate::Profile::default(), server.expect("a URL"));
    let access = (&Secret::new("planted-token").fingerprint()).into();
    let event = Event::new(UnixMs(1), &key, StoreKind::File, None, What::Kept { access });
    let line = event.to_line();
    assert!(!line.contains("planted"), "{line}");
    assert!(line.contains("\"server\":\"https://mcp.example.com/mcp\""), "{line}");
    assert!(event.is_about(&key), "the key tells it apart all the same");
}
