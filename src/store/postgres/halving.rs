//! Finds the rows of a group that PostgreSQL refuses, by halving. Pure: the caller writes one piece after another, each under a savepoint,
//! and says whether PostgreSQL took it. A refused piece is halved until it is one row. The search is bounded: it ends if more than
//! [`Halving::allowed`] rows of one batch are refused, because then the rows are not the reason.

use std::ops::Range as Rows;

use footprint_service::postgres::error::Class;

use crate::limits::REFUSED_ROWS_MIN;

/// Consecutive rows of one batch of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Index of the batch in the group.
    pub(super) batch: usize,
    /// Indices of the rows in the batch.
    pub(super) rows: Rows<usize>,
}

/// A row that PostgreSQL refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Index of the batch in the group.
    pub(super) batch: usize,
    /// Index of the row in the batch.
    pub(super) row: usize,
    /// PostgreSQL's message.
    pub(super) why: String,
}

/// Why the search cannot continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SearchFailed {
    /// More rows of one batch are refused than allowed: the first refused row, and the number of refused rows.
    TooMany(Refused, usize),
    /// No row was taken, and the error code of this row does not say that the row is the reason.
    Unclear(Refused),
}

/// The search for the refused rows of one group.
pub(super) struct Halving {
    /// The number of rows of each batch.
    rows: Vec<usize>,
    share_max: f64,
    left: Vec<Piece>,
    refused: Vec<Refused>,
    accepted: usize,
    unclear: Option<Refused>,
}

impl Halving {
    /// `pieces`: what must be written, in order. `rows`: the number of rows of each batch. `share_max`: the share of a batch's rows
    /// that may be refused.
    pub(super) fn new(pieces: Vec<Piece>, rows: Vec<usize>, share_max: f64) -> Self {
        let mut left = pieces;
        left.reverse();
        Self { rows, share_max, left, refused: Vec::new(), accepted: 0, unclear: None }
    }

    /// The next piece to try, in the rows' order.
    pub(super) fn next(&mut self) -> Option<Piece> {
        self.left.pop()
    }

    /// Notes that PostgreSQL took the piece.
    pub(super) fn note_accepted(&mut self, piece: &Piece) {
        self.accepted += piece.rows.len();
    }

    /// Notes that PostgreSQL refused the piece. Its halves come next. If it has only one row, that row is refused.
    pub(super) fn note_refused(&mut self, piece: Piece, class: Class, why: &str) -> Result<(), SearchFailed> {
        let Rows { start, end } = piece.rows;
        if end - start > 1 {
            let middle = start + (end - start) / 2;
            self.left.push(Piece { rows: middle..end, ..piece });
            self.left.push(Piece { rows: start..middle, ..piece });
            return Ok(());
        }
        let refused = Refused { batch: piece.batch, row: start, why: why.to_owned() };
        if class != Class::Row {
            self.unclear.get_or_insert_with(|| refused.clone());
        }
        self.refused.push(refused);
        let of_batch = || self.refused.iter().filter(|refused| refused.batch == piece.batch);
        let count = of_batch().count();
        match of_batch().next() {
            Some(first) if count > self.allowed(piece.batch) => Err(SearchFailed::TooMany(first.clone(), count)),
            _ => Ok(()),
        }
    }

    /// How many rows of a batch may be refused.
    pub(super) fn allowed(&self, batch: usize) -> usize {
        let share = self.share_max * self.rows.get(batch).copied().unwrap_or_default() as f64;
        (share as usize).max(REFUSED_ROWS_MIN)
    }

    /// The refused rows, in the order of batch and row. All pieces must have been tried before.
    pub(super) fn finish(self) -> Result<Vec<Refused>, SearchFailed> {
        match self.unclear {
            Some(first) if self.accepted == 0 => Err(SearchFailed::Unclear(first)),
            _ => Ok(self.refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search; `bad` says how a row is refused. Returns the refused rows, and how many pieces were tried.
    fn halve(
        rows: &[usize],
        bad: impl Fn(usize, usize) -> Option<Class>,
    ) -> (Result<Vec<(usize, usize)>, SearchFailed>, usize) {
        let whole = |(batch, &count): (usize, &usize)| (count > 0).then_some(Piece { batch, rows: 0..count });
        let mut halving = Halving::new(rows.iter().enumerate().filter_map(whole).collect(), rows.to_vec(), 0.01);
        let mut tries = 0;
        while let Some(piece) = halving.next() {
            tries += 1;
            match piece.rows.clone().find_map(|row| bad(piece.batch, row)) {
                None => halving.note_accepted(&piece),
                Some(class) => {
                    if let Err(failed) = halving.note_refused(piece, class, "no") {
                        return (Err(failed), tries);
                    }
                }
            }
        }
        let found = halving.finish().map(|found| found.into_iter().map(|row| (row.batch, row.row)).collect());
        (found, tries)
    }

    #[test]
    fn refused_rows_are_found_in_order_and_nothing_else() {
        let bad = [(0, 0), (1, 4_095), (1, 4_096), (3, 6)];
        let (found, tries) = halve(&[1, 10_000, 0, 7], |batch, row| bad.contains(&(batch, row)).then_some(Class::Row));
        assert_eq!(found, Ok(bad.to_vec()));
        assert!(tries < 4 * 2 * 14, "{tries} tries");
    }

    #[test]
    fn too_many_refused_rows_of_one_batch_end_it() {
        let (found, tries) = halve(&[1_000], |_, row| (row % 5 == 0).then_some(Class::Row));
        assert!(matches!(found, Err(SearchFailed::TooMany(first, 101)) if first.row == 0));
        assert!(tries < 1_000);
        let (found, _) = halve(&[20_000], |_, row| (row % 100 == 0).then_some(Class::Row));
        assert_eq!(found.map(|found| found.len()), Ok(200), "one in a hundred is allowed");
        let (found, _) = halve(&[60, 60], |_, _| Some(Class::Row));
        assert_eq!(found.map(|found| found.len()), Ok(120), "each batch has its own bound");
    }

    #[test]
    fn an_unclear_refusal_is_the_rows_only_beside_rows_that_were_taken() {
        let (found, _) = halve(&[3], |_, row| (row == 1).then_some(Class::Unclear));
        assert_eq!(found, Ok(vec![(0, 1)]));
        let (found, _) = halve(&[3], |_, _| Some(Class::Unclear));
        assert!(matches!(found, Err(SearchFailed::Unclear(first)) if first.row == 0));
        let (found, _) = halve(&[1], |_, _| Some(Class::Unclear));
        assert!(matches!(found, Err(SearchFailed::Unclear(_))));
    }
}
