//! The content of an aggregate file: `{"version":1,"credentials":{"<entry>":{…record…}}}`.
//!
//! Entries stay the text that was read until somebody asks for them: a damaged entry, or one of a newer version,
//! survives every change of the others untouched (P3).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::permissions::{io_error, open_private};
use crate::{CredentialKey, StoreError};

/// Larger files are not Linchpin's: ten thousand records take a third of it.
const MAX_BYTES: u64 = 64 << 20;
const VERSION: &str = "1";

#[derive(Debug, Default)]
pub(crate) struct Aggregate {
    credentials: UniqueMap,
    /// Top-level fields that this version does not know.
    extra: UniqueMap,
}

/// The file that content was read from, for the error if it does not read.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    path: &'a Path,
    file: File,
}

/// The bytes of a file, and where they are from.
pub(crate) type Content<'a> = (Origin<'a>, Zeroizing<Vec<u8>>);

impl Origin<'_> {
    pub(crate) fn path(&self) -> &Path {
        self.path
    }

    /// Keeps a copy of the content next to it; where it is.
    #[cfg(feature = "secrets")]
    pub(crate) fn keep_aside(&self) -> Option<PathBuf> {
        keep_aside(self.path, &self.file)
    }

    /// The error for content that does not read. A damaged file is kept aside (P3).
    pub(crate) fn error(&self, problem: Problem) -> StoreError {
        match problem {
            Problem::Version(found) => StoreError::Version { path: self.path.to_owned(), found },
            Problem::Damage(problem) => {
                let kept_copy = keep_aside(self.path, &self.file);
                StoreError::Damaged { path: self.path.to_owned(), problem, kept_copy }
            }
        }
    }
}

impl Aggregate {
    /// Reads `path`; `None` when no file is there. A file that cannot be read is an error.
    pub(crate) fn read_bytes(path: &Path) -> Result<Option<Content<'_>>, StoreError> {
        let Some(file) = open_private(path)? else { return Ok(None) };
        let length = file.metadata().map_err(|source| io_error("read", path, source))?.len();
        if length > MAX_BYTES {
            let problem = format!("{length} bytes, more than the {MAX_BYTES} that Linchpin writes");
            return Err(StoreError::Damaged { path: path.to_owned(), problem, kept_copy: None });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0)));
        (&file).take(MAX_BYTES).read_to_end(&mut bytes).map_err(|source| io_error("read", path, source))?;
        Ok(Some((Origin { path, file }, bytes)))
    }

    pub(crate) fn parse(json: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice::<Whole>(json) {
            Ok(Whole { version: Some(version), .. }) if version != VERSION => Err(Problem::Version(version)),
            Ok(Whole { version: None, .. }) => Err(Problem::Damage("no version in it".to_owned())),
            Ok(Whole { credentials: None, .. }) => Err(Problem::Damage("no credentials in it".to_owned())),
            Ok(Whole { credentials: Some(credentials), extra, .. }) => Ok(Self { credentials, extra }),
            // A newer version may well look otherwise, and is no damage.
            Err(error) => Err(match serde_json::from_slice::<Versioned>(json) {
                // A struct reads from an array too, so only a number is taken for a version.
                Ok(Versioned { version }) if version.get() != VERSION && is_number(&version) => {
                    Problem::Version(shown(&version))
                }
                _ => Problem::Damage(place(&error)),
            }),
        }
    }

    /// The aggregate as JSON, with a line end.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        #[derive(Serialize)]
        struct Written<'a> {
            version: u32,
            #[serde(flatten)]
            extra: &'a BTreeMap<String, Box<RawValue>>,
            credentials: &'a BTreeMap<String, Box<RawValue>>,
        }
        let written = Written { version: 1, extra: &self.extra.0, credentials: &self.credentials.0 };
        let mut json = Zeroizing::new(serde_json::to_vec(&written).expect("raw JSON values serialize"));
        json.push(b'\n');
        json
    }

    pub(crate) fn get(&self, key: &CredentialKey) -> Option<&str> {
        self.credentials.0.get(&key.entry()).map(|raw| raw.get())
    }

    pub(crate) fn insert(&mut self, key: &CredentialKey, json: &str) {
        let raw = RawValue::from_string(json.to_owned()).expect("a record is valid JSON");
        self.credentials.0.insert(key.entry(), raw);
    }

    pub(crate) fn remove(&mut self, key: &CredentialKey) -> bool {
        self.credentials.0.remove(&key.entry()).is_some()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.credentials.0.iter().map(|(entry, raw)| (entry.as_str(), raw.get()))
    }
}

/// Why content does not read.
pub(crate) enum Problem {
    Damage(String),
    Version(String),
}

/// A file of this version, read in one pass: it is read several times in every refresh.
#[derive(Debug, Default)]
struct Whole {
    version: Option<String>,
    credentials: Option<UniqueMap>,
    extra: UniqueMap,
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Whole;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut whole = Whole::default();
                while let Some(name) = map.next_key::<String>()? {
                    let repeated = match name.as_str() {
                        "version" => whole.version.replace(shown(map.next_value::<&RawValue>()?)).is_some(),
                        "credentials" => whole.credentials.replace(map.next_value()?).is_some(),
                        _ => whole.extra.0.insert(name, map.next_value()?).is_some(),
                    };
                    if repeated {
                        return Err(A::Error::custom("repeated key"));
                    }
                }
                Ok(whole)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: Box<RawValue>,
}

fn is_number(version: &RawValue) -> bool {
    version.get().bytes().all(|byte| byte.is_ascii_digit())
}

fn shown(version: &RawValue) -> String {
    version.get().chars().take(20).collect()
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
fn keep_aside(path: &Path, mut file: &File) -> Option<PathBuf> {
    let modified = file.metadata().ok()?.modified().ok()?;
    let stamp = modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
    let mut name = path.file_name()?.to_owned();
    name.push(format!(".corrupt-{stamp}"));
    let copy = path.with_file_name(name);
    let length = file.metadata().ok()?.len();
    if std::fs::symlink_metadata(&copy).is_ok_and(|there| there.is_file() && there.len() == length) {
        return Some(copy);
    }
    // Whole or not at all: half of a copy would be taken for one.
    let mut kept = tempfile::Builder::new().prefix(".corrupt.").tempfile_in(path.parent()?).ok()?;
    file.rewind().ok()?;
    std::io::copy(&mut file.take(MAX_BYTES), &mut kept).and_then(|_| kept.as_file().sync_all()).ok()?;
    kept.persist(&copy).ok().map(|_| copy)
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
