//! *Runbook*: docs/runbook.md inside Grafana, one panel for each alert. So links from panels work on every site.

use std::fs;

use anyhow::{Context as _, Result};

use crate::dashboard::Dashboard;
use crate::look::Look;
use crate::panel::{Asks, Panel, Place};
use crate::root;

const FILE: &str = "footprint-runbook";
/// Letters of a line in a panel of half the width, about.
const LINE_LETTERS: usize = 90;
/// What a line, and the space behind a paragraph, need of a unit of height.
const LINE_HEIGHT: f64 = 0.6;
const SPACE_HEIGHT: f64 = 0.45;

/// A section: its title (for the first one, "Runbook") and its text.
struct Section {
    title: String,
    text: String,
}

fn sections() -> Result<Vec<Section>> {
    let path = root().join("docs/runbook.md");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let text = text.strip_prefix("# ").with_context(|| format!("{} has no title", path.display()))?;
    let section = |section: &str| {
        let (title, text) = section.split_once('\n').unwrap_or((section, ""));
        Section { title: title.to_owned(), text: without_links(text.trim()) }
    };
    Ok(text.split("\n## ").map(section).collect())
}

/// Links to other files of the repository lead nowhere in Grafana: only their text is left.
fn without_links(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('[') {
        let link = after.split_once("](").and_then(|(name, more)| Some((name, more.split_once(')')?.1)));
        plain += before;
        (plain, rest) = match link {
            Some((name, behind)) => (plain + name, behind),
            None => (plain + "[", after),
        };
    }
    plain + rest
}

/// The link from a panel to the section of an alert.
pub(crate) fn link(alert: &str) -> Result<String> {
    let sections = sections()?;
    let at = sections.iter().position(|section| section.title == alert);
    let at = at.with_context(|| format!("docs/runbook.md has no section {alert}"))?;
    Ok(format!("/d/{FILE}?viewPanel={}", at + 1))
}

/// Lines that stay lines.
fn code_lines(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("    ") || line.starts_with("- ")).count()
}

/// The dashboard.
pub(crate) fn dashboard() -> Result<Dashboard> {
    let mut panels = Vec::new();
    let (mut y, mut is_left, mut row_height) = (0, true, 0);
    for section in sections()? {
        let is_first = panels.is_empty();
        let width = if is_first { 24 } else { 12 };
        let letters = if is_first { 2 * LINE_LETTERS } else { LINE_LETTERS };
        // a paragraph of the file is one of the panel, whose lines are longer or shorter
        let height_of =
            |text: &str| text.len().div_ceil(letters).max(code_lines(text)) as f64 * LINE_HEIGHT + SPACE_HEIGHT;
        let height = 2 + section.text.split("\n\n").map(height_of).sum::<f64>().ceil() as u32;
        let x = if is_left { 0 } else { 12 };
        row_height = if is_left { height } else { height.max(row_height) };
        panels.push(Panel {
            title: section.title,
            description: "A section of docs/runbook.md, which comes with footprint.",
            place: Place { x, y, width, height },
            look: Look::Text { content: section.text },
            asks: Asks::Nothing,
            runbook: None,
        });
        if is_first || !is_left {
            y += row_height;
        }
        is_left = is_first || !is_left;
    }
    Ok(Dashboard {
        file: FILE.to_owned(),
        title: "Runbook".to_owned(),
        description: "What each alert means, what is at risk, where to look, what to do, and how you know that it is over.",
        time_from: "now-1h",
        refresh: "",
        variables: vec![],
        panels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_leave_their_text() {
        assert_eq!(without_links("see [a](b.md) and [c](d.md#e), [1]"), "see a and c, [1]");
    }
}
