//! The page that a person sees when the browser comes back.

use super::callback::{Listener, Waiting};

/// What the browser is told.
#[derive(Debug)]
pub(super) enum Told {
    SignedIn,
    Failed(&'static str),
    TooLate,
}

/// The page of a browser that waits to be told how the sign-in ended. Dropped without a word, it says that the
/// sign-in was not completed.
#[derive(Debug)]
pub struct BrowserPage {
    waiting: Waiting,
    listener: Listener,
}

impl BrowserPage {
    pub(super) fn new(waiting: Waiting, listener: Listener) -> Self {
        Self { waiting, listener }
    }

    /// Says that the person is signed in. Returns when the page was sent, after 1 s at most.
    pub async fn signed_in(self) {
        self.waiting.tell(Told::SignedIn);
        self.listener.close().await;
    }

    /// Says that the sign-in could not be saved. Returns when the page was sent, after 1 s at most.
    pub async fn not_saved(self) {
        self.waiting
            .tell(Told::Failed("You were signed in, but the sign-in could not be saved on this machine."));
        self.listener.close().await;
    }
}

pub(super) fn signed_in(server: &str) -> String {
    let server = escape(server);
    page(
        "Signed in",
        "ok",
        "&#10003;",
        "You are signed in",
        &format!(
            "<p>Programs on this machine can now use <strong>{server}</strong>.</p><p>You can close this page.</p>"
        ),
    )
}

pub(super) fn failed(why: &str) -> String {
    let why = escape(why);
    page(
        "Not signed in",
        "bad",
        "!",
        "You are not signed in",
        &format!("<p>{why}</p><p>Go back to the terminal and run the command again.</p>"),
    )
}

/// For a second visit: the first one decides, so this page must not say that nobody is signed in.
pub(super) fn too_late() -> String {
    page(
        "Nothing to do",
        "bad",
        "!",
        "This page was already used",
        "<p>No sign-in is waiting for it any more. The terminal says how it ended.</p>",
    )
}

fn page(title: &str, class: &str, mark: &str, heading: &str, text: &str) -> String {
    format!(
        "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>{title} - Linchpin</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c1e21; --paper: #f6f7f9; --card: #fff; --ok: #15803d; --bad: #b42318; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8eaed; --paper: #17181b; --card: #222428; --ok: #4ade80; --bad: #ff8a80; }}
}}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper);
  color: var(--ink); font: 1.05rem/1.5 system-ui, sans-serif; }}
main {{ max-width: 26rem; margin: 1rem; padding: 2.5rem; border-radius: 1rem; background: var(--card);
  text-align: center; box-shadow: 0 1px 3px rgb(0 0 0 / .15); overflow-wrap: anywhere; }}
.mark {{ width: 3rem; height: 3rem; margin: 0 auto 1rem; border-radius: 50%; border: .15rem solid; display: grid;
  place-items: center; font-size: 1.5rem; font-weight: 700; }}
.ok {{ color: var(--ok); }} .bad {{ color: var(--bad); }}
h1 {{ margin: 0 0 .75rem; font-size: 1.4rem; }} p {{ margin: .5rem 0; }}
</style>
<main><div class=\"mark {class}\" aria-hidden=\"true\">{mark}</div><h1>{heading}</h1>{text}</main>
</html>
"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_on_the_page_is_unescaped() {
        let page = signed_in("<script>alert(1)</script>");
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        assert!(failed("a & b").contains("a &amp; b"));
    }
}
