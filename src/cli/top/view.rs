//! What a person sees: a head, the sections of one route, and a line of keys. It draws into a buffer of any size, or gives all lines
//! as plain text. Pure.

mod lines;
mod partitions;
mod sections;

use std::fmt::Write as _;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};

use self::lines::{labelled, paragraph, piece, plain, wrapped};
use self::partitions::partitions;
use super::amounts::{clock, time};
use super::figures::{Figures, Route};
use super::troubles::Troubles;

/// The width of plain text that is not for a terminal.
pub(super) const PLAIN_WIDTH: usize = 80;
/// An answer is as fresh as it can be if it is only this much older than the interval.
const LATE: Duration = Duration::from_secs(2);

/// What is shown.
pub(super) struct Shown<'a> {
    pub address: &'a str,
    /// None: there was no answer yet.
    pub figures: Option<&'a Figures>,
    /// The age of the figures beyond the interval.
    pub late: Duration,
    pub silence: Option<Silence>,
    pub troubles: &'a Troubles,
}

/// The consumer does not answer.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    /// The time here, RFC 3339.
    pub since: String,
    pub lasts: Duration,
    pub why: String,
}

/// What the person has chosen.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub route: usize,
    /// The first line of the sections that is shown. Drawing corrects it.
    pub first: usize,
    pub is_by_lag: bool,
    pub shows_keys: bool,
    pub colours: bool,
}

const KEYS: [(&str, &str); 8] = [
    ("q, Esc, Ctrl-C", "quit"),
    ("Up, Down", "one line"),
    ("PgUp, PgDn", "one page"),
    ("Home, End", "to the first or the last line"),
    ("Tab, Shift-Tab", "the next or the previous route"),
    ("s", "sort the partitions by number or by lag"),
    ("?", "these keys"),
    ("", "Rates are those of the last seconds. Totals are since the consumer's start."),
];

/// Draws it. Returns by how many lines a page moves.
pub(super) fn draw(buffer: &mut Buffer, shown: &Shown<'_>, look: &mut Look) -> usize {
    let Rect { width, height, .. } = buffer.area;
    let (columns, rows) = (usize::from(width), usize::from(height));
    let head = head(shown, look, columns);
    let body = body(shown, look, columns);
    let page = rows.saturating_sub(head.len() + 1).max(1);
    look.first = look.first.min(body.len().saturating_sub(page));
    let foot = foot(look, body.len(), page);
    let mut visible: Vec<Line<'_>> = body.iter().skip(look.first).take(page).cloned().collect();
    // the names of the columns stay while the partitions scroll below them
    let partition_count = chosen(shown, look).filter(|_| !look.shows_keys).map_or(0, |route| route.partitions.len());
    let names = body.len().saturating_sub(partition_count + 1);
    if partition_count > 0 && names < look.first {
        visible.splice(..visible.len().min(1), body.get(names).cloned());
    }
    for (row, mut line) in (0..height.saturating_sub(1)).zip(head.into_iter().chain(visible)) {
        uncolour(&mut line, look.colours);
        buffer.set_line(0, row, &line, width);
    }
    if height > 0 {
        buffer.set_line(0, height - 1, &foot, width);
        buffer.set_style(Rect::new(0, height - 1, width, 1), Style::new().reversed());
    }
    page.saturating_sub(1).max(1)
}

/// All of it as text, every route below the other.
pub(super) fn text(shown: &Shown<'_>, width: usize) -> String {
    let mut lines = consumer(shown, width);
    if let Some(figures) = shown.figures {
        lines.extend(sections::budget(&figures.budget, &figures.process, width));
        for number in 0..figures.routes.len() {
            let look = Look { route: number, ..Look::default() };
            lines.push(Line::default());
            lines.extend(route_head(shown, &look, width));
            lines.extend(chosen(shown, &look).map(|route| about(route, shown, width)).unwrap_or_default());
            lines.extend(chosen(shown, &look).map(|route| partitions(route, false, width)).unwrap_or_default());
        }
    }
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{}", line.to_string().trim_end());
        text
    })
}

fn uncolour(line: &mut Line<'_>, colours: bool) {
    if !colours {
        line.spans.iter_mut().for_each(|span| span.style = Style { fg: None, bg: None, ..span.style });
    }
}

/// The lines that do not scroll.
fn head(shown: &Shown<'_>, look: &Look, width: usize) -> Vec<Line<'static>> {
    let mut lines = consumer(shown, width);
    lines.extend(route_head(shown, look, width));
    lines
}

/// The consumer, and that it does not answer.
fn consumer(shown: &Shown<'_>, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(silence) = &shown.silence {
        let alarm = Style::new().fg(Color::Red).bold();
        let since = format!(
            "NO ANSWER since {} UTC, for {}:",
            clock(&silence.since, Some(&silence.since)),
            time(silence.lasts.as_secs_f64())
        );
        let mut pieces = vec![piece(since, alarm)];
        pieces.extend(silence.why.split_whitespace().map(plain));
        lines.extend(wrapped(pieces, 1, width).into_iter().map(Line::from));
    }
    let mut pieces = Vec::new();
    match shown.figures {
        None if shown.silence.is_none() => pieces.push(plain(format!("asking {}", shown.address))),
        None => {}
        Some(figures) => {
            let is_old = shown.silence.is_some();
            pieces.push(if is_old {
                plain("before:")
            } else {
                sections::state(if figures.ready { "ready" } else { "not ready" })
            });
            pieces.push(piece(format!("footprint {}", figures.version), Style::new().bold()));
            pieces.push(plain(shown.address));
            pieces.extend(figures.pid.map(|pid| plain(format!("pid {pid}"))));
            pieces.extend(figures.uptime_seconds.map(|uptime| plain(format!("up {}", time(uptime as f64)))));
            pieces.extend(figures.at.as_deref().map(|at| plain(format!("{} UTC", clock(at, Some(at))))));
            if !is_old && shown.late >= LATE {
                pieces.push(plain(format!("late by {}", time(shown.late.as_secs_f64()))));
            }
        }
    }
    if !pieces.is_empty() {
        lines.extend(wrapped(pieces, 2, width).into_iter().map(Line::from));
    }
    lines
}

/// The route that is shown, and which others are not ready.
fn route_head(shown: &Shown<'_>, look: &Look, width: usize) -> Vec<Line<'static>> {
    let Some((route, figures)) = chosen(shown, look).zip(shown.figures) else { return Vec::new() };
    let mut pieces = vec![piece(&route.route, Style::new().bold()), sections::state(route.state)];
    let others = figures.routes.len() - 1;
    if others > 0 {
        pieces.push(plain(format!("{} of {}", look.route % figures.routes.len() + 1, figures.routes.len())));
        let bad = figures.routes.iter().filter(|other| !other.ready && other.route != route.route);
        let bad: Vec<_> = bad.map(|other| plain(&other.route)).collect();
        if !bad.is_empty() {
            pieces.push(piece(if route.ready { "not ready:" } else { "not ready either:" }, Style::new().bold()));
            pieces.extend(bad);
        }
    }
    labelled("Route", pieces, width)
}

fn chosen<'a>(shown: &Shown<'a>, look: &Look) -> Option<&'a Route> {
    let routes = &shown.figures?.routes;
    routes.get(look.route.checked_rem(routes.len())?)
}

/// The lines that scroll.
fn body(shown: &Shown<'_>, look: &Look, width: usize) -> Vec<Line<'static>> {
    if look.shows_keys {
        let key = |(keys, what): (&str, &str)| match keys {
            "" => paragraph(what, Style::new(), width),
            _ => labelled(keys, vec![plain(format!("  {what}"))], width),
        };
        return KEYS.into_iter().flat_map(key).collect();
    }
    let Some((route, figures)) = chosen(shown, look).zip(shown.figures) else { return Vec::new() };
    [
        about(route, shown, width),
        sections::budget(&figures.budget, &figures.process, width),
        partitions(route, look.is_by_lag, width),
    ]
    .concat()
}

/// All about a route but its partitions.
fn about(route: &Route, shown: &Shown<'_>, width: usize) -> Vec<Line<'static>> {
    let at = shown.figures.and_then(|figures| figures.at.as_deref());
    [
        sections::health(route, at, width),
        sections::flow(route, width),
        sections::sinks(route, width),
        sections::brokers(&route.brokers, width),
        sections::dead_letters(&route.dead_letters, width),
        sections::ledger(&route.ledger, width),
        sections::audit(route.audit.as_ref(), width),
        sections::ended(shown.troubles.ended_of(&route.route), at, width),
    ]
    .concat()
}

/// Which lines are shown, and the keys.
fn foot(look: &Look, lines: usize, page: usize) -> Line<'static> {
    let mut text = String::new();
    if lines > page {
        let _ = write!(text, "lines {}-{} of {lines}  ", look.first + 1, (look.first + page).min(lines));
    }
    text.push_str("q quit  ? keys  Up/Down PgUp/PgDn scroll  Tab route  s sort");
    Line::from(Span::raw(text))
}

#[cfg(test)]
mod tests;
