//! `config.toml`: names for servers. The user's comments and order survive every change.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use linchpin::{PlainHttp, Profile, ServerUrl};
use serde::Serialize;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::failure::Failure;

/// The configuration file, read.
#[derive(Debug)]
pub(crate) struct Config {
    path: PathBuf,
    document: DocumentMut,
}

/// A server with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NamedServer {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) profile: String,
    #[serde(skip)]
    pub(crate) plain_http: PlainHttp,
}

impl Config {
    /// Reads `path`; a file that is not there is an empty configuration.
    pub(crate) fn read(path: PathBuf) -> Result<Self, Failure> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(Failure::configuration(format!("cannot read {}: {error}", path.display())));
            }
        };
        let document = text.parse().map_err(|error: toml_edit::TomlError| {
            let reason = error.message().lines().next().unwrap_or_default();
            let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
            Failure::configuration(format!(
                "{} is not valid TOML (line {line}: {reason}); correct it, nothing was changed",
                path.display()
            ))
        })?;
        Ok(Self { path, document })
    }

    /// Every named server, in the file's order.
    pub(crate) fn servers(&self) -> Result<Vec<NamedServer>, Failure> {
        let Some(servers) = self.document.get("servers") else { return Ok(Vec::new()) };
        let table = servers.as_table_like().ok_or_else(|| self.malformed("`servers` is not a table"))?;
        table.iter().map(|(name, item)| self.server(name, item)).collect()
    }

    /// The server of that name.
    pub(crate) fn find(&self, name: &str) -> Result<Option<NamedServer>, Failure> {
        let item = self.document.get("servers").and_then(|servers| servers.get(name));
        item.map(|item| self.server(name, item)).transpose()
    }

    /// Adds or replaces; the caller has checked whether that is meant.
    pub(crate) fn insert(&mut self, server: &NamedServer) -> Result<(), Failure> {
        let servers = self.document.entry("servers").or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        let malformed = Failure::configuration(format!("{}: `servers` is not a table", self.path.display()));
        let servers = servers.as_table_like_mut().ok_or(malformed)?;
        let mut entry = Table::new();
        entry["url"] = value(&server.url);
        if server.profile != Profile::default().as_str() {
            entry["profile"] = value(&server.profile);
        }
        if server.plain_http == PlainHttp::Allowed {
            entry["allow_http"] = value(true);
        }
        servers.insert(&server.name, Item::Table(entry));
        self.write()
    }

    /// Removes; whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, Failure> {
        let servers = self.document.get_mut("servers").and_then(Item::as_table_like_mut);
        if servers.and_then(|servers| servers.remove(name)).is_none() {
            return Ok(false);
        }
        self.write().map(|()| true)
    }

    fn server(&self, name: &str, item: &Item) -> Result<NamedServer, Failure> {
        let text = |field: &str| item.get(field).and_then(Item::as_str);
        let url = text("url").ok_or_else(|| self.malformed(&format!("server `{name}` has no `url`")))?;
        let allowed = item.get("allow_http").and_then(Item::as_bool).unwrap_or(false);
        let plain_http = if allowed { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly };
        let server = ServerUrl::parse(url, plain_http)
            .map_err(|error| self.malformed(&format!("server `{name}`: {error}")))?;
        let profile = Profile::parse(text("profile").unwrap_or(Profile::default().as_str()))
            .map_err(|error| self.malformed(&format!("server `{name}`: {error}")))?;
        let profile = profile.as_str().to_owned();
        Ok(NamedServer { name: name.to_owned(), url: server.as_str().to_owned(), profile, plain_http })
    }

    fn malformed(&self, problem: &str) -> Failure {
        Failure::configuration(format!("{}: {problem}; correct it, nothing was changed", self.path.display()))
    }

    fn write(&self) -> Result<(), Failure> {
        replace(&self.path, self.document.to_string().as_bytes())
            .map_err(|error| Failure::configuration(format!("cannot write {}: {error}", self.path.display())))
    }
}

/// Whole or not at all, like a store; a configuration holds no secret, so its mode is the user's affair.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(directory)?;
    // A link is followed: people keep their configuration in a repository.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut temporary = tempfile::NamedTempFile::new_in(target.parent().unwrap_or(directory))?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(&target).map_err(|error| error.error)?;
    Ok(())
}

/// A name that cannot be mistaken for a URL or an option, and needs no quoting in TOML or a shell.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let fine = (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('-');
    if fine {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`{}` is not a name; use 1 to 64 letters, digits, `-` or `_`",
        crate::shown(name)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.toml");
        fs::create_dir_all(directory.path()).expect("made");
        io::Write::write_all(&mut fs::File::create(&path).expect("created"), text.as_bytes())
            .expect("written");
        (directory, Config::read(path).expect("read"))
    }

    #[test]
    fn a_change_keeps_comments_and_order() {
        let text = "# mine\n[servers.b]\nurl = \"https://b.example.com/mcp\" # second\n";
        let (directory, mut config) = config(text);
        let server = NamedServer {
            name: "a".into(),
            url: "https://a.example.com/mcp".into(),
            profile: "work".into(),
            plain_http: PlainHttp::LoopbackOnly,
        };
        config.insert(&server).expect("written");
        let written = fs::read_to_string(directory.path().join("config.toml")).expect("read");
        assert!(written.starts_with(text), "{written}");
        let read = Config::read(directory.path().join("config.toml")).expect("read");
        assert_eq!(read.find("a").expect("valid"), Some(server));
        assert_eq!(read.servers().expect("valid").len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.toml");
        io::Write::write_all(&mut fs::File::create(&path).expect("created"), b"x = [\n").expect("written");
        let failure = Config::read(path).expect_err("not TOML");
        assert!(failure.to_string().contains("not valid TOML"), "{failure}");

        let (_directory, mut config) = config("[servers.a]\nurl = \"http://elsewhere.example.com\"\n");
        assert!(config.servers().is_err());
        assert!(!config.remove("b").expect("nothing to write"));
        assert!(
            check_name("https://x").is_err() && check_name("-x").is_err() && check_name("ok-1_a").is_ok()
        );
    }
}
