//! How text becomes lines: a label in a column of its own, pieces that stay whole and wrap between each other, and tables that leave
//! out the less important columns where there is no room. Every text is escaped here, so none can act on the terminal. Pure.

use footprint_service::escape::{Keep, escaped};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns of the labels, with the gap after them.
pub(super) const LABEL: usize = 14;
/// Columns between two columns of a table.
const GAP: usize = 2;

/// A text that is not broken unless it is wider than a line.
pub(super) fn piece(text: impl AsRef<str>, style: impl Into<Style>) -> Span<'static> {
    Span::styled(escaped(text.as_ref(), Keep::Nothing).into_owned(), style)
}

/// The same without a style.
pub(super) fn plain(text: impl AsRef<str>) -> Span<'static> {
    piece(text, Style::new())
}

/// A label, and the pieces after it on as many lines as they need.
pub(super) fn labelled(label: &str, pieces: Vec<Span<'static>>, width: usize) -> Vec<Line<'static>> {
    let label = piece(format!("{label:LABEL$}"), Style::new().bold());
    wrapped(pieces, GAP, width.saturating_sub(LABEL))
        .into_iter()
        .enumerate()
        .map(|(index, mut line)| {
            line.insert(0, if index == 0 { label.clone() } else { Span::raw(" ".repeat(LABEL)) });
            Line::from(line)
        })
        .collect()
}

/// A text, broken between words, below a label and further to the right.
pub(super) fn paragraph(text: &str, style: Style, width: usize) -> Vec<Line<'static>> {
    let indent = LABEL + 2;
    let words = text.split_whitespace().map(|word| piece(word, style)).collect();
    wrapped(words, 1, width.saturating_sub(indent))
        .into_iter()
        .map(|mut line| {
            line.insert(0, Span::raw(" ".repeat(indent)));
            Line::from(line)
        })
        .collect()
}

/// The pieces on lines of `room` columns, with `gap` blanks between two pieces.
pub(super) fn wrapped(pieces: Vec<Span<'static>>, gap: usize, room: usize) -> Vec<Vec<Span<'static>>> {
    let room = room.max(1);
    let (mut lines, mut line, mut used) = (Vec::new(), Vec::new(), 0);
    for piece in pieces.into_iter().flat_map(|piece| cut(piece, room)) {
        let width = piece.width();
        if used > 0 && used + gap + width > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(Span::raw(" ".repeat(gap)));
            used += gap;
        }
        used += width;
        line.push(piece);
    }
    lines.push(line);
    lines
}

/// A piece that is wider than the room, in parts.
fn cut(piece: Span<'static>, room: usize) -> Vec<Span<'static>> {
    if piece.width() <= room {
        return vec![piece];
    }
    let (mut parts, mut part) = (Vec::new(), String::new());
    for character in piece.content.chars() {
        let longer = format!("{part}{character}");
        if Span::raw(&*longer).width() > room && !part.is_empty() {
            parts.push(Span::styled(std::mem::take(&mut part), piece.style));
        }
        part.push(character);
    }
    parts.push(Span::styled(part, piece.style));
    parts
}

/// A column of a table.
pub(super) struct Column {
    pub head: &'static str,
    /// Where there is no room, the column with the largest number goes first. 0 stays.
    pub rank: u8,
    pub cells: Vec<String>,
}

/// A table. The first column is as wide as a label and begins at the left, all others end at the right.
pub(super) fn table(mut columns: Vec<Column>, width: usize) -> Vec<Line<'static>> {
    let width_of = |index: usize, column: &Column| {
        let cells = column.cells.iter().map(|cell| Span::raw(cell.as_str()).width());
        let widest = cells.chain([column.head.len()]).max().unwrap_or(0);
        if index == 0 { widest.max(LABEL - GAP) } else { widest + GAP }
    };
    let total = |columns: &[Column]| columns.iter().enumerate().map(|(at, column)| width_of(at, column)).sum::<usize>();
    while total(&columns) > width {
        let last = columns.iter().enumerate().max_by_key(|(_, column)| column.rank);
        match last {
            Some((at, column)) if column.rank > 0 => drop(columns.remove(at)),
            _ => break,
        }
    }
    let row = |cell: &dyn Fn(&Column) -> String, style: Style| {
        let cells = columns.iter().enumerate().map(|(at, column)| {
            let (text, width) = (cell(column), width_of(at, column));
            let blanks = " ".repeat(width.saturating_sub(Span::raw(text.as_str()).width()));
            piece(if at == 0 { text + &blanks } else { blanks + &text }, style)
        });
        Line::from(cells.collect::<Vec<_>>())
    };
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let head = row(&|column| column.head.to_owned(), Style::new().bold());
    let body = (0..rows).map(|at| row(&|column| column.cells.get(at).cloned().unwrap_or_default(), Style::new()));
    std::iter::once(head).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[Line<'_>]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pieces_stay_whole_and_only_one_that_no_line_holds_is_cut() {
        let pieces = ["one two", "three", "fourfourfour", "漢字漢字"].map(plain).to_vec();
        let lines = texts(&labelled("Label", pieces, LABEL + 8));
        let indent = " ".repeat(LABEL);
        let expected = ["Label         one two", "three", "fourfour", "four", "漢字漢字"];
        let expected: Vec<String> = expected
            .iter()
            .enumerate()
            .map(|(at, text)| if at == 0 { (*text).to_owned() } else { format!("{indent}{text}") })
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_room_of_nothing_loses_nothing() {
        let lines = texts(&labelled("Label", vec![plain("ab")], 3));
        assert_eq!(lines, ["Label         a", "              b"]);
    }

    #[test]
    fn a_table_leaves_out_what_is_least_important() {
        let columns = || {
            let column = |head, rank, cell: &str| Column { head, rank, cells: vec![cell.to_owned()] };
            vec![column("what", 0, "a"), column("rows", 1, "7"), column("more", 3, "12345"), column("bytes", 2, "8")]
        };
        assert_eq!(
            texts(&table(columns(), 80)),
            ["what          rows   more  bytes", "a                7  12345      8"]
        );
        assert_eq!(texts(&table(columns(), 25)), ["what          rows  bytes", "a                7      8"]);
        assert_eq!(texts(&table(columns(), 5)), ["what        ", "a           "]);
    }

    #[test]
    fn no_text_acts_on_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J\n\u{202e}b").content, "a\\u001b[2J\\n\\u202eb");
        let columns = vec![Column { head: "h", rank: 0, cells: vec!["\u{7}".to_owned()] }];
        assert_eq!(texts(&table(columns, 80))[1].trim_end(), "\\u0007");
    }
}
