//! Page moves in the form that each server takes, encoded once. The bare load sends these bytes and does nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use footprint_event::decode::Decoder;
use footprint_event::generate::{GenerateOptions, Generator};
use footprint_event::record::Record;
use footprint_event::route::Route;
use footprint_event::rows::{Rows, Values};
use footprint_service::config::Config;

use super::encode::{copy_chunks, native_block};

/// The source id of the bare load's rows. It is the hash of no topic.
pub(super) const BARE_SOURCE: i64 = 1;
/// The most rows that are held in memory. A larger load sends them again.
pub(super) const ROWS_MAX: u64 = 2_000_000;
/// Rows of a COPY transaction.
const COPY_ROWS: usize = 50_000;
/// Rows of a Native block.
const BLOCK_ROWS: usize = 500_000;
// a block is a whole number of transactions, and the rows in memory are a whole number of blocks
const _: () = assert!(BLOCK_ROWS.is_multiple_of(COPY_ROWS) && (ROWS_MAX as usize).is_multiple_of(BLOCK_ROWS));

/// Rows as the two servers take them.
pub(super) struct Prepared {
    /// The number of rows.
    pub(super) rows: u64,
    copies: Vec<Vec<Bytes>>,
    blocks: Vec<Bytes>,
    /// The totals of each block's rows.
    totals: Vec<Totals>,
}

/// Totals of some rows. They show whether a database holds the values that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// The number of rows.
    pub(super) rows: u64,
    /// The bytes of both texts.
    pub(super) text_bytes: u64,
    /// The sum of the events' times, microseconds since the epoch.
    pub(super) time_us: i128,
}

impl Prepared {
    /// Makes `events` events, at most [`ROWS_MAX`], and encodes them.
    pub(super) fn new(events: u64) -> Result<Self> {
        let rows_wanted = events.min(ROWS_MAX);
        let route = &Config::load(None, &[])?.routes[0];
        let mut generator = Generator::new(1, GenerateOptions { bad_share: 0.0, ..GenerateOptions::default() });
        let mut decoder = Decoder::new(route)?;
        let mut prepared = Self { rows: rows_wanted, copies: Vec::new(), blocks: Vec::new(), totals: Vec::new() };
        let mut rows = Rows::empty(route);
        // the rows arrive at the present time: ClickHouse's table is partitioned by the month of arrival
        let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        for offset in 0..i64::try_from(rows_wanted)? {
            let event = generator.generate();
            let record = Record {
                offset,
                timestamp_ms: now_ms + offset / 1_000,
                key: event.key,
                payload: event.payload,
                headers: None,
            };
            if let Err(reason) = decoder.decode(record, &mut rows) {
                bail!("a generated event is bad: {reason}");
            }
            if rows.len() == BLOCK_ROWS {
                prepared.encode(route, &rows)?;
                rows = Rows::empty(route);
            }
        }
        if !rows.is_empty() {
            prepared.encode(route, &rows)?;
        }
        Ok(prepared)
    }

    fn encode(&mut self, route: &Route, rows: &Rows) -> Result<()> {
        self.blocks.push(native_block(route, rows, BARE_SOURCE)?);
        self.totals.push(Totals::of(rows));
        for from in (0..rows.len()).step_by(COPY_ROWS) {
            self.copies.push(copy_chunks(rows, from, (from + COPY_ROWS).min(rows.len()), BARE_SOURCE)?);
        }
        Ok(())
    }

    /// The transactions of a load of `rows`, each as the chunks of one COPY.
    pub(super) fn copies(&self, rows: u64) -> Result<Vec<Vec<Bytes>>> {
        self.of(&self.copies, COPY_ROWS, rows)
    }

    /// The Native blocks of a load of `rows`.
    pub(super) fn blocks(&self, rows: u64) -> Result<Vec<Bytes>> {
        self.of(&self.blocks, BLOCK_ROWS, rows)
    }

    /// The totals of a load of `rows`.
    pub(super) fn totals(&self, rows: u64) -> Result<Totals> {
        Ok(self.of(&self.totals, BLOCK_ROWS, rows)?.into_iter().fold(Totals::default(), Totals::plus))
    }

    /// As many pieces as `rows` need. If that is more than are held, it starts again from the first piece. The bytes are shared.
    fn of<T: Clone>(&self, pieces: &[T], piece_rows: usize, rows: u64) -> Result<Vec<T>> {
        let whole = rows.is_multiple_of(BLOCK_ROWS as u64) && self.rows.is_multiple_of(BLOCK_ROWS as u64);
        ensure!(
            rows == self.rows || whole,
            "{rows} rows cannot be made of {}: take a multiple of {BLOCK_ROWS}",
            self.rows
        );
        Ok(pieces.iter().cycle().take(usize::try_from(rows)?.div_ceil(piece_rows)).cloned().collect())
    }
}

impl Totals {
    fn of(rows: &Rows) -> Self {
        let mut totals = Self { rows: rows.len() as u64, ..Self::default() };
        for column in &rows.columns {
            match &column.values {
                Values::Text { bytes, .. } => totals.text_bytes += bytes.len() as u64,
                Values::Timestamp(times) => totals.time_us += times.iter().map(|&time| i128::from(time)).sum::<i128>(),
                _ => {}
            }
        }
        totals
    }

    fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            text_bytes: self.text_bytes + other.text_bytes,
            time_us: self.time_us + other.time_us,
        }
    }
}
