//! What is printed, and what is kept in `bench/FAULTS.md`: a section a part, each replaced by a later run of that part.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::tally::Misses;

const HEAD: &str = "# What it survived\n\nWritten by `cargo xtask faults --full` and `cargo xtask faults --soak 30m`. \
                    ARCHITECTURE.md says how the campaign works.\n";

/// The sections of one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sections: Vec<(String, String)>,
    misses: usize,
}

impl Report {
    /// Adds a section, and prints it. `about` says what was done and what has to be so.
    pub(crate) fn section(&mut self, title: &str, about: &str, table: &Table, misses: &Misses) {
        let mut text = format!("{about}\n\n{}", table.text());
        if misses.count() == 0 {
            text.push_str("\nEvery target met.\n");
        } else {
            let _ = writeln!(text, "\n{} targets missed, such as:", misses.count());
            for told in misses.told() {
                let _ = writeln!(text, "- {told}");
            }
        }
        self.misses += misses.count();
        say(&format!("\n## {title}\n{text}"));
        let _ = write!(text, "\n{}\n", circumstances());
        self.sections.push((title.to_owned(), text));
    }

    pub(crate) fn misses(&self) -> usize {
        self.misses
    }

    /// Puts the sections into the file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = std::fs::read_to_string(path).unwrap_or_else(|_| HEAD.to_owned());
        for (title, section) in &self.sections {
            text = with_section(&text, title, section);
        }
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// `text` with the section of this title replaced, or added at its end.
fn with_section(text: &str, title: &str, section: &str) -> String {
    let heading = format!("## {title}\n");
    let whole = format!("{heading}{}\n", section.trim_end());
    let Some(start) = text.find(&heading) else {
        return format!("{}\n\n{whole}", text.trim_end());
    };
    let after = start + heading.len();
    let end = text[after..].find("\n## ").map_or(text.len(), |end| after + end);
    format!("{}{whole}{}", &text[..start], &text[end..])
}

fn circumstances() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get);
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    format!("{date}, debug build, {cores} cores, load {load} at the end.")
}

/// A table in Markdown.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (place, row) in self.rows.iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if place == 0 {
                let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
            }
        }
        text
    }
}

#[expect(clippy::print_stdout, reason = "a program for developers")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a program for developers")]
pub(crate) fn warn(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_the_one_of_its_title() {
        let text = with_section("# Head\n", "One", "first\n");
        let text = with_section(&text, "Two", "second\n");
        assert_eq!(text, "# Head\n\n## One\nfirst\n\n## Two\nsecond\n");
        let text = with_section(&text, "One", "third\n");
        assert_eq!(text, "# Head\n\n## One\nthird\n\n## Two\nsecond\n");
        assert_eq!(with_section(&text, "Two", "x"), "# Head\n\n## One\nthird\n\n## Two\nx\n");
    }
}
