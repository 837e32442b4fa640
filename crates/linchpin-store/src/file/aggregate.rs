//! The content of `credentials.json`: `{"version":1,"credentials":{"<entry>":{…record…}}}`.
//!
//! Entries stay the text that was read until somebody asks for them: a damaged entry, or one of a newer version,
//! survives every change of the others untouched (P3).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::permissions::{io_error, open_private};
use crate::{CredentialKey, StoreError, atomic};

/// Larger files are not Linchpin's: ten thousand records take a third of it.
const MAX_BYTES: u64 = 64 << 20;
const VERSION: &str = "1";

#[derive(Debug, Default)]
pub(super) struct Aggregate {
    credentials: UniqueMap,
    /// Top-level fields that this version does not know.
    extra: UniqueMap,
}

impl Aggregate {
    /// Reads `path`; a file that is not there is an empty aggregate, a file that cannot be read is an error.
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        let Some(file) = open_private(path)? else { return Ok(Self::default()) };
        let length = file.metadata().map_err(|source| io_error("read", path, source))?.len();
        if length > MAX_BYTES {
            let problem = format!("{length} bytes, more than the {MAX_BYTES} that Linchpin writes");
            return Err(StoreError::Damaged { path: path.to_owned(), problem, kept_copy: None });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0)));
        (&file).take(MAX_BYTES).read_to_end(&mut bytes).map_err(|source| io_error("read", path, source))?;
        Self::parse(&bytes, path).map_err(|problem| match problem {
            Problem::Version(found) => StoreError::Version { path: path.to_owned(), found },
            Problem::Damage(problem) => {
                let kept_copy = keep_aside(path, &file, &bytes);
                StoreError::Damaged { path: path.to_owned(), problem, kept_copy }
            }
        })
    }

    fn parse(bytes: &[u8], _path: &Path) -> Result<Self, Problem> {
        let damage = |error: serde_json::Error| Problem::Damage(place(&error));
        let mut extra: UniqueMap = serde_json::from_slice(bytes).map_err(damage)?;
        let version =
            extra.0.remove("version").ok_or_else(|| Problem::Damage("no version in it".to_owned()))?;
        if version.get() != VERSION {
            return Err(Problem::Version(version.get().chars().take(20).collect()));
        }
        let credentials = extra
            .0
            .remove("credentials")
            .ok_or_else(|| Problem::Damage("no credentials in it".to_owned()))?;
        Ok(Self { credentials: serde_json::from_str(credentials.get()).map_err(damage)?, extra })
    }

    /// Writes the aggregate to `path`, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Written<'a> {
            version: u32,
            #[serde(flatten)]
            extra: &'a BTreeMap<String, Box<RawValue>>,
            credentials: &'a BTreeMap<String, Box<RawValue>>,
        }
        let written = Written { version: 1, extra: &self.extra.0, credentials: &self.credentials.0 };
        let mut text = Zeroizing::new(serde_json::to_vec(&written).expect("raw JSON values serialize"));
        text.push(b'\n');
        atomic::replace(path, &text)
    }

    pub(super) fn get(&self, key: &CredentialKey) -> Option<&str> {
        self.credentials.0.get(&key.entry()).map(|raw| raw.get())
    }

    pub(super) fn insert(&mut self, key: &CredentialKey, json: &str) {
        let raw = RawValue::from_string(json.to_owned()).expect("a record is valid JSON");
        self.credentials.0.insert(key.entry(), raw);
    }

    pub(super) fn remove(&mut self, key: &CredentialKey) -> bool {
        self.credentials.0.remove(&key.entry()).is_some()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.credentials.0.iter().map(|(entry, raw)| (entry.as_str(), raw.get()))
    }
}

enum Problem {
    Damage(String),
    Version(String),
}

/// Where it fails to read. serde's own message may quote content, so only its category is told.
fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Syntax => "it is not JSON",
        serde_json::error::Category::Data | serde_json::error::Category::Io => "it is not a credentials file",
    };
    format!("{what}, line {}, column {}", error.line(), error.column())
}

/// Keeps a copy of damaged content next to it. Named after the file's modification time, so that any number of
/// processes finding the same damage keep one copy.
fn keep_aside(path: &Path, file: &File, bytes: &[u8]) -> Option<PathBuf> {
    let modified = file.metadata().ok()?.modified().ok()?;
    let stamp = modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
    let mut name = path.file_name()?.to_owned();
    name.push(format!(".corrupt-{stamp}"));
    let copy = path.with_file_name(name);
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&copy) {
        Ok(mut file) => file.write_all(bytes).and_then(|()| file.sync_all()).ok().map(|()| copy),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Some(copy),
        Err(_) => None,
    }
}

/// A JSON object with raw values in which no key may repeat: of two entries for one server, silently using the
/// last would drop a sign-in.
#[derive(Debug, Default)]
struct UniqueMap(BTreeMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = UniqueMap;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if entries.insert(key, value).is_some() {
                        return Err(A::Error::custom("repeated key"));
                    }
                }
                Ok(UniqueMap(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
