//! Places panels from left to right, row by row.

use crate::look::{Look, Step};
use crate::metrics::Query;
use crate::panel::{Asks, Panel, Place};

/// Grafana's grid.
pub(crate) const COLUMNS: u32 = 24;
/// The height of a panel with lines.
const HEIGHT: u32 = 8;

/// Panels from left to right, row by row.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) panels: Vec<Panel>,
    x: u32,
    y: u32,
    height: u32,
}

impl Layout {
    /// Begins a group of panels.
    pub(crate) fn row(&mut self, title: &str) {
        self.panel(COLUMNS, 1, title, Look::Row, vec![], "", None);
    }

    #[allow(clippy::too_many_arguments, reason = "one line of a table")]
    pub(crate) fn panel(
        &mut self,
        width: u32,
        height: u32,
        title: &str,
        look: Look,
        queries: Vec<Query>,
        description: &'static str,
        runbook: Option<&'static str>,
    ) {
        if self.x + width > COLUMNS {
            (self.x, self.y, self.height) = (0, self.y + self.height, 0);
        }
        let place = Place { x: self.x, y: self.y, width, height };
        self.x += width;
        self.height = self.height.max(height);
        let asks = if queries.is_empty() { Asks::Nothing } else { Asks::Metrics(queries) };
        self.panels.push(Panel { title: title.to_owned(), description, place, look, asks, runbook });
    }

    /// A number for each query.
    pub(crate) fn stat(
        &mut self,
        title: &str,
        (unit, steps): (&'static str, &[Step]),
        queries: Vec<Query>,
        description: &'static str,
        runbook: Option<&'static str>,
    ) {
        self.panel(6, 4, title, Look::Stat { unit, steps: steps.to_vec() }, queries, description, runbook);
    }

    /// Lines, two panels side by side.
    pub(crate) fn lines(
        &mut self,
        title: &str,
        (unit, steps): (&'static str, &[Step]),
        queries: Vec<Query>,
        description: &'static str,
        runbook: Option<&'static str>,
    ) {
        self.panel(12, HEIGHT, title, Look::Lines { unit, steps: steps.to_vec() }, queries, description, runbook);
    }
}
