//! PostgreSQL's writer, like `store/postgres/writer.rs` and `store/writer.rs`.

use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::Range;
use footprint_protocol::write::{Resolution, resolve};

use crate::config::Config;
use crate::consumer::{Batch, Owning};
use crate::guard::{Guard, Guards};
use crate::ledger::{self, Advance};
use crate::servers::{Fingerprint, Late, Offsets, Write};
use crate::world::{Answer, Broken, World};

/// A partition's part of a transaction.
struct Share {
    range: Range,
    rows: bool,
    dead_letters: bool,
    definition: Fingerprint,
    foreign: bool,
}

impl Owning {
    /// The part for the next `count` batches. None: they cannot share a transaction.
    fn share(&self, count: usize) -> Option<Share> {
        let batches = self.queue.get(self.postgres_done..self.postgres_done + count)?;
        let wants = |range| (self.plan.postgres_wants_rows(range), self.plan.wants_dead_letters(range));
        let (first, last) = (batches.first()?, batches.last()?);
        let (rows, dead_letters) = wants(first.range);
        let definition = first.definition;
        let alike = |batch: &Batch| wants(batch.range) == (rows, dead_letters) && batch.definition == definition;
        let joins = batches.iter().all(alike);
        let foreign = batches.iter().any(|batch| batch.content != self.life);
        let range = Range::new(first.range.start, last.range.end);
        joins.then_some(Share { range, rows, dead_letters, definition, foreign })
    }

    /// Whether `count` batches wait and may share a transaction.
    pub fn may_write(&self, count: usize) -> bool {
        self.postgres_uncertain == 0 && self.share(count).is_some()
    }
}

impl World {
    pub(super) fn write(&mut self, config: &Config, by: usize, count: usize, answer: Answer) {
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let Some(share) = owning.share(count) else { return };
        if !share.rows && !share.dead_letters {
            return self.consumers[by].acknowledge(SinkName::Postgres, count);
        }
        let (life, range) = (owning.life, share.range);
        let still = owning.plan.frontiers;
        let advance = Advance {
            fence: owning.fence,
            dead_letters: if share.dead_letters {
                (range.start, range.end)
            } else {
                (still.dead_letters, still.dead_letters)
            },
            rows: still.postgres.map(|next| if share.rows { (range.start, range.end) } else { (next, next) }),
            end: range.end,
        };
        let of = Offsets::of(range);
        let wanted = if share.rows { of.and(config.good()) } else { Offsets::default() };
        // the transaction itself finds them by halving, however it ends
        let (rows, refused) = (wanted.minus(config.not_for_postgres()), wanted.and(config.not_for_postgres()));
        let dead_letters = if share.dead_letters { of.and(config.bad()) } else { Offsets::default() };
        let write = Write { advance, rows, definition: share.definition, dead_letters, refused };
        if share.foreign && !(wanted.is_empty() && dead_letters.is_empty()) {
            self.fault(Broken::ForeignRecord);
        }
        if answer == Answer::Late {
            self.postgres.late.push(Late::Write { life, write });
        }
        let landed = answer != Answer::Late && self.land_write(life, &write, config.guards);
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        if landed && answer == Answer::Fine {
            self.consumers[by].acknowledge(SinkName::Postgres, count);
        } else {
            owning.postgres_uncertain = count;
        }
    }

    /// Writes the transaction, as a whole or not at all.
    pub(super) fn land_write(&mut self, life: usize, write: &Write, guards: Guards) -> bool {
        let compared = ledger::advance(&mut self.postgres.tables.ledger[life], &write.advance, guards);
        if (compared || !guards.hold(Guard::RefusedWithRows)) && !self.land_refused(life, 0, write.refused) {
            self.fault(Broken::DoubledInPostgres);
        }
        if !compared && guards.hold(Guard::CompareAndSet) {
            return false;
        }
        let tables = &mut self.postgres.tables;
        let (rows, dead_letters) = (&mut tables.rows[life], &mut tables.dead_letters[life]);
        let doubled = !rows.and(write.rows).is_empty() || !dead_letters.and(write.dead_letters).is_empty();
        if write.definition == 1 {
            tables.redefined[life] = tables.redefined[life].or(write.rows);
        }
        *rows = rows.or(write.rows);
        *dead_letters = dead_letters.or(write.dead_letters);
        if doubled || !rows.and(*dead_letters).is_empty() {
            self.fault(Broken::DoubledInPostgres);
        }
        true
    }

    /// Writes dead letters for one database alone. False: one is there already, or its row is.
    pub(super) fn land_refused(&mut self, life: usize, sink: usize, letters: Offsets) -> bool {
        let stored = [self.postgres.tables.rows[life], self.clickhouse.rows[life]][sink];
        let held = &mut self.postgres.tables.refused[life][sink];
        let fresh = held.or(stored).and(letters).is_empty();
        *held = held.or(letters);
        fresh
    }

    /// After a lost or refused answer the row decides.
    pub(super) fn resolve(&mut self, by: usize) {
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let count = std::mem::take(&mut owning.postgres_uncertain);
        let Some(share) = owning.share(count) else { return };
        let found = ledger::reread(&mut self.postgres.tables.ledger[owning.life], &owning.fence);
        let value = found
            .and_then(|row| if share.dead_letters { Some(row.frontiers.dead_letters) } else { row.frontiers.postgres });
        match resolve(found.is_some(), value, share.range) {
            Resolution::Landed => self.consumers[by].acknowledge(SinkName::Postgres, count),
            Resolution::SendAgain => {}
            Resolution::TakeOver => self.end(by),
        }
    }
}
