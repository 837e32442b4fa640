//! `config.toml`: names for servers. The user's comments and order survive every change.

use linchpin::{PlainHttp, Profile, ServerUrl, UserFile, UserFileGuard};
use serde::Serialize;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::failure::Failure;
use crate::output::{clipped, shown};

/// The configuration file, read.
#[derive(Debug)]
pub(crate) struct Config {
    file: UserFile,
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
    /// Reads the file; one that is not there is an empty configuration.
    pub(crate) fn read(file: UserFile) -> Result<Self, Failure> {
        let text = file.read()?.unwrap_or_default();
        let document = text.parse().map_err(|error: toml_edit::TomlError| {
            let reason = error.message().lines().next().unwrap_or_default();
            let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
            Failure::configuration(format!(
                "{} is not valid TOML (line {line}: {reason}); correct it, nothing was changed",
                file.path().display()
            ))
        })?;
        Ok(Self { file, document })
    }

    /// Reads the file to change it: nobody else does until the guard is dropped.
    pub(crate) fn read_to_change(
        file: UserFile,
        purpose: &'static str,
    ) -> Result<(Self, UserFileGuard), Failure> {
        let guard = file.lock(purpose)?;
        Ok((Self::read(file)?, guard))
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
    pub(crate) fn insert(&mut self, guard: &UserFileGuard, server: &NamedServer) -> Result<(), Failure> {
        let malformed = self.malformed("`servers` is not a table");
        let servers = self.document.entry("servers").or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
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
        Ok(self.file.replace(guard, &self.document.to_string())?)
    }

    /// Removes; whether there was one.
    pub(crate) fn remove(&mut self, guard: &UserFileGuard, name: &str) -> Result<bool, Failure> {
        let servers = self.document.get_mut("servers").and_then(Item::as_table_like_mut);
        if servers.and_then(|servers| servers.remove(name)).is_none() {
            return Ok(false);
        }
        self.file.replace(guard, &self.document.to_string())?;
        Ok(true)
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
        Failure::configuration(format!(
            "{}: {problem}; correct it, nothing was changed",
            self.file.path().display()
        ))
    }
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
        shown(&clipped(name))
    )))
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use linchpin::Directories;

    use super::*;

    /// A configuration in a directory of its own.
    fn config(text: &str) -> (tempfile::TempDir, UserFile) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = UserFile::config(&Directories::under(directory.path()).expect("absolute"));
        io::Write::write_all(&mut fs::File::create(file.path()).expect("created"), text.as_bytes())
            .expect("written");
        (directory, file)
    }

    #[test]
    fn a_change_keeps_comments_and_order() {
        let text = "# mine\n[servers.b]\nurl = \"https://b.example.com/mcp\" # second\n";
        let (_directory, file) = config(text);
        let (mut config, guard) = Config::read_to_change(file.clone(), "test").expect("read");
        let server = NamedServer {
            name: "a".into(),
            url: "https://a.example.com/mcp".into(),
            profile: "work".into(),
            plain_http: PlainHttp::LoopbackOnly,
        };
        config.insert(&guard, &server).expect("written");
        let written = fs::read_to_string(file.path()).expect("read");
        assert!(written.starts_with(text), "{written}");
        let read = Config::read(file).expect("read");
        assert_eq!(read.find("a").expect("valid"), Some(server));
        assert_eq!(read.servers().expect("valid").len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_changes() {
        let (_directory, file) = config("x = [\n");
        let failure = Config::read(file).expect_err("not TOML");
        assert!(failure.to_string().contains("not valid TOML"), "{failure}");

        let (_directory, file) = config("[servers.a]\nurl = \"http://elsewhere.example.com\"\n");
        let (mut config, guard) = Config::read_to_change(file, "test").expect("read");
        assert!(config.servers().is_err());
        assert!(!config.remove(&guard, "b").expect("nothing to write"));
        assert!(
            check_name("https://x").is_err() && check_name("-x").is_err() && check_name("ok-1_a").is_ok()
        );
    }
}
