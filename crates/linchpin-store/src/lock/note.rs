//! The note in a lock file: who holds the lock, for people, and when the file was made. It is information and never a
//! condition: a lock whose note cannot be written (a full disk) is as good as any.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::permissions::no_follow;
use crate::{Clock as _, SystemClock, UnixMs};

/// The longest purpose that is shown, in characters.
pub(super) const LONGEST_PURPOSE: usize = 24;
/// How far the clock that dates files may be behind the one that dates everything else: a tick of the kernel.
const FILE_CLOCK_BEHIND: Duration = Duration::from_millis(10);

/// Who holds a lock, as its holder wrote it into the lock file. Best effort: it decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The process.
    pub pid: u32,
    /// What it holds the lock for.
    pub purpose: String,
    /// Since when.
    pub since_ms: UnixMs,
    /// When the lock file was made; each holder hands it on.
    #[serde(default)]
    pub made_ms: UnixMs,
}

/// Writes the holder into the file, and says when that was made: by the note of the former holder, else by the file
/// system, else now, if this is handed on to the next. `None`: nobody knows.
pub(super) fn write(file: &mut File, purpose: &str) -> Option<UnixMs> {
    let now = SystemClock.now();
    let noted = read(file).map(|holder| holder.made_ms);
    let known = noted.or_else(|| born(file));
    let made_ms = noted.unwrap_or_else(|| known.map_or(now, |born| born.min(now)));
    let holder = LockHolder { pid: std::process::id(), purpose: purpose.to_owned(), since_ms: now, made_ms };
    if replace(file, &serde_json::to_string(&holder).unwrap_or_default()).is_err() {
        // It would name the wrong process to those who wait.
        let _ = file.set_len(0);
        return known;
    }
    Some(made_ms)
}

/// Writes over the former note, whose room a full disk still has, and then cuts off what is left of it. Between the
/// two, and after a death there, it does not read.
fn replace(file: &mut File, note: &str) -> io::Result<()> {
    file.rewind()?;
    file.write_all(note.as_bytes())?;
    file.set_len(note.len() as u64)
}

/// When the file was made, as its file system has it, if that keeps such times.
fn born(file: &File) -> Option<UnixMs> {
    let made = file.metadata().and_then(|metadata| metadata.created()).ok()?;
    let since_epoch = made.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixMs(0).after(since_epoch).after(FILE_CLOCK_BEHIND))
}

/// Who wrote the lock file last. Meaningful only while somebody holds the lock.
pub(super) fn holder(path: &Path) -> Option<LockHolder> {
    let mut options = OpenOptions::new();
    options.read(true);
    no_follow(&mut options);
    read(&options.open(path).ok()?)
}

/// What a lock file says of its holder. Somebody else may have written it, and it is shown to people: the purpose is
/// cut to the two words that it is.
fn read(file: &File) -> Option<LockHolder> {
    let mut text = String::new();
    file.take(1024).read_to_string(&mut text).ok()?;
    let holder: LockHolder = serde_json::from_str(&text).ok()?;
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, ' ' | '-');
    let purpose = holder.purpose.chars().filter(is_plain).take(LONGEST_PURPOSE).collect();
    Some(LockHolder { purpose, ..holder })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(path: &Path, writable: bool) -> File {
        OpenOptions::new().read(true).write(writable).open(path).expect("opened")
    }

    /// Each holder of a lock whose notes cannot be written knows the same of its file as the one before, or the mark of a
    /// dead process would look younger than the lock for ever.
    #[test]
    fn f06_a_note_that_cannot_be_written_makes_no_lock_file_young() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.lock");
        let begun = SystemClock.now().before(FILE_CLOCK_BEHIND);
        for (content, noted) in [
            ("", None),
            (r#"{"pid":1,"purpose":"p","since_ms":7,"made_ms":5}"#, Some(UnixMs(5))),
            (r#"{"pid":1,"purpose":"p","since_"#, None),
        ] {
            std::fs::remove_file(&path).ok();
            File::create(&path).and_then(|mut file| file.write_all(content.as_bytes())).expect("made");
            let first = write(&mut opened(&path, false), "test");
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(write(&mut opened(&path, false), "test"), first, "{content:?}");
            match noted {
                Some(noted) => assert_eq!(first, Some(noted)),
                // A file system may not know.
                None if std::fs::metadata(&path).is_ok_and(|metadata| metadata.created().is_ok()) => {
                    assert!(first.is_some_and(|made| made >= begun), "{content:?}: {first:?}");
                }
                None => assert_eq!(first, None, "{content:?}"),
            }
            // What can be written again is handed on.
            let again = write(&mut opened(&path, true), "test").expect("known by now");
            assert_eq!(holder(&path).map(|holder| holder.made_ms), Some(again));
            assert!(first.is_none_or(|first| first == again));
        }
    }

    #[test]
    fn f25_a_note_that_somebody_else_wrote_forges_no_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.lock");
        let mut file = File::create_new(&path).expect("made");
        for (purpose, shown) in [
            ("sign-in", "sign-in"),
            ("\u{1b}[2Jx\nerror: forged\u{202e}", "2Jxerror forged"),
            (&"x".repeat(500), &"x".repeat(LONGEST_PURPOSE)),
            // A shorter one leaves nothing of it.
            ("save", "save"),
        ] {
            write(&mut file, purpose);
            assert_eq!(holder(&path).expect("it reads").purpose, shown);
        }
    }
}
