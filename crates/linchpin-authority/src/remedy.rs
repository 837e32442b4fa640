//! What a provider refuses when it is not the token, and what a person can do about it: a sentence, and the command
//! where one is complete.

use std::fmt;

use linchpin_store::{Client, CredentialKey, Profile, Registration};

use crate::error::quoted;

/// The command that signs in to `key`, for a shell: an address that means something there is quoted.
pub fn login_command(key: &CredentialKey) -> String {
    shell(&login(key))
}

/// What a token endpoint refuses with a code that says nothing about the token. `Display` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Who asks.
    Client,
    /// What is asked, or something that only the provider has a name for.
    Request,
}

impl Refused {
    /// By its error code (RFC 6749 section 5.2).
    pub fn by(code: &str) -> Self {
        match code {
            "invalid_client" | "unauthorized_client" => Self::Client,
            _ => Self::Request,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "this client",
            Self::Request => "the request",
        })
    }
}

/// What can be done about a provider that refuses the client or the request of a sign-in. `Display` is a clause that
/// says it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientRemedy {
    told: String,
    /// The command, as the words that a program starts it with; `None` when none is complete without what only a
    /// person knows.
    pub command: Option<Vec<String>>,
}

impl ClientRemedy {
    /// For `client`, by which somebody signed in to `key`. One that registered itself is registered anew by the next
    /// sign-in; one that somebody registered by hand has to be named again. What is wrong with a request may pass, and
    /// else a sign-in is another request.
    pub fn of(key: &CredentialKey, client: &Client, refused: Refused) -> Self {
        let remedy = Self::of_client(key, client);
        match refused {
            Refused::Client => remedy,
            Refused::Request => {
                Self { told: format!("try again; if that does not help, {}", remedy.told), ..remedy }
            }
        }
    }

    fn of_client(key: &CredentialKey, client: &Client) -> Self {
        let mut command = login(key);
        match client.registration {
            Registration::ClientCredentials => {
                let told = "sign the program in anew with credentials that the provider knows".to_owned();
                Self { told, command: None }
            }
            Registration::Preregistered => {
                if client.id.starts_with('-') {
                    // Joined to its option, it is not taken for another one.
                    command.push(format!("--client-id={}", client.id));
                } else {
                    command.extend(["--client-id".to_owned(), client.id.clone()]);
                }
                let run = shell(&command);
                match client.secret {
                    None => Self {
                        told: format!("run `{run}` with the id that the provider knows"),
                        command: Some(command),
                    },
                    Some(_) => Self {
                        told: format!(
                            "run `{run} --client-secret-file FILE` with the id and the secret that the provider knows"
                        ),
                        command: None,
                    },
                }
            }
            _ => Self { told: format!("run `{}` to register anew", shell(&command)), command: Some(command) },
        }
    }
}

impl fmt::Display for ClientRemedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

fn login(key: &CredentialKey) -> Vec<String> {
    let mut words = vec!["linchpin".to_owned(), "login".to_owned(), key.server.as_str().to_owned()];
    if key.profile != Profile::default() {
        words.extend(["--profile".to_owned(), key.profile.to_string()]);
    }
    words
}

fn shell(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use linchpin_store::{PlainHttp, Secret, ServerUrl};

    use super::*;

    #[test]
    fn f18_a_code_is_about_the_client_or_about_the_request() {
        for (code, refused) in [
            ("invalid_client", "this client"),
            ("unauthorized_client", "this client"),
            ("invalid_request", "the request"),
            ("invalid_scope", "the request"),
            ("unsupported_grant_type", "the request"),
            ("invalid_target", "the request"),
            ("too_many_of_them", "the request"),
            ("", "the request"),
        ] {
            assert_eq!(Refused::by(code).to_string(), refused, "{code}");
        }
    }

    #[test]
    fn p11_the_remedy_names_what_the_next_sign_in_by_such_a_client_needs() {
        use Registration::{ClientCredentials, Dynamic, MetadataDocument, Preregistered};
        let server =
            ServerUrl::parse("https://mcp.example.com/?a=b", PlainHttp::LoopbackOnly).expect("a URL");
        let plain = CredentialKey::new(Profile::default(), server.clone());
        let work = CredentialKey::new(Profile::parse("work").expect("a profile"), server);
        let url = "https://mcp.example.com/?a=b";
        let anew = "run `linchpin login 'https://mcp.example.com/?a=b'` to register anew";
        for (key, registration, id, secret, told, command) in [
            (&plain, Dynamic, "c", false, anew, Some(&[][..])),
            (&plain, Dynamic, "c", true, anew, Some(&[])),
            (&plain, MetadataDocument, "https://c.example.com/me", false, anew, Some(&[])),
            (
                &work,
                Dynamic,
                "c",
                false,
                "run `linchpin login 'https://mcp.example.com/?a=b' --profile work` to register anew",
                Some(&["--profile", "work"]),
            ),
            (
                &plain,
                Preregistered,
                "by-hand",
                false,
                "run `linchpin login 'https://mcp.example.com/?a=b' --client-id by-hand` with the id that the \
                 provider knows",
                Some(&["--client-id", "by-hand"]),
            ),
            (
                &work,
                Preregistered,
                "my app",
                true,
                "run `linchpin login 'https://mcp.example.com/?a=b' --profile work --client-id 'my app' \
                 --client-secret-file FILE` with the id and the secret that the provider knows",
                None,
            ),
            (
                &plain,
                Preregistered,
                "--force",
                false,
                "run `linchpin login 'https://mcp.example.com/?a=b' '--client-id=--force'` with the id that the \
                 provider knows",
                Some(&["--client-id=--force"]),
            ),
            (
                &plain,
                ClientCredentials,
                "robot",
                true,
                "sign the program in anew with credentials that the provider knows",
                None,
            ),
        ] {
            let client = Client {
                id: id.to_owned(),
                secret: secret.then(|| Secret::new("planted")),
                secret_expires_at_ms: None,
                registration,
                redirect_uri: None,
            };
            let remedy = ClientRemedy::of(key, &client, Refused::Client);
            assert_eq!(remedy.to_string(), told);
            let of_request = ClientRemedy::of(key, &client, Refused::Request);
            assert_eq!(of_request.to_string(), format!("try again; if that does not help, {told}"));
            assert_eq!(of_request.command, remedy.command);
            let words = command.map(|more| [&["linchpin", "login", url], more].concat());
            assert_eq!(remedy.command, words.map(|words| words.into_iter().map(str::to_owned).collect()));
        }
    }
}
