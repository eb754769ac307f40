//! The table of `offsets show` and `verify`: one line for each partition, or one line for each number if the terminal is too narrow.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// The rows under their headings. `width`: the columns of the terminal; None: there is none. `narrow` aligns the numbers if each has a line
/// of its own.
pub(super) fn table<const N: usize>(
    headings: &[&str; N],
    rows: &[[String; N]],
    width: Option<usize>,
    narrow: CellAlignment,
) -> String {
    let mut wide = plain();
    wide.set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
    for row in rows {
        wide.add_row(row.iter().map(|cell| Cell::new(cell).set_alignment(CellAlignment::Right)));
    }
    if width.is_none_or(|width| wide.lines().all(|line| line.chars().count() <= width)) {
        return wide.to_string();
    }
    let tables = rows.iter().map(|row| {
        let mut table = plain();
        for (heading, cell) in headings.iter().zip(row) {
            table.add_row([Cell::new(heading), Cell::new(cell).set_alignment(narrow)]);
        }
        table.to_string()
    });
    tables.collect::<Vec<_>>().join("\n")
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table
}
