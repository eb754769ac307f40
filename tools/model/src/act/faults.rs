//! Faults of the servers.

use crate::config::Config;
use crate::consumer::Consumer;
use crate::ledger;
use crate::servers::{Late, Tables};
use crate::world::World;

impl World {
    /// Voids every proof of a consumer.
    pub(super) fn void(&mut self, by: usize) {
        let consumer = &mut self.consumers[by];
        if let Some(taking) = &mut consumer.taking {
            taking.sighted = false;
        }
        if let Some(owning) = consumer.owning_mut() {
            owning.void();
        }
    }

    pub(super) fn age(&mut self) {
        for by in 0..self.consumers.len() {
            self.void(by);
        }
    }

    /// A whole window of inserts has passed, and with it more time than a proof lasts.
    pub(super) fn forget(&mut self) {
        self.age();
        for tokens in &mut self.clickhouse.tokens {
            tokens.clear();
        }
    }

    /// Committed transactions stay. Connections and statements in flight are gone.
    pub(super) fn crash_postgres(&mut self) {
        self.postgres.late.clear();
        for row in self.postgres.tables.ledger.iter_mut().flatten() {
            row.fresh = false;
        }
        for consumer in self.consumers.iter_mut().filter(|consumer| consumer.up) {
            consumer.broken = true;
        }
    }

    /// A restore takes longer than a proof lasts. Restored to nothing, it is another cluster, whose ledger is in other query ids.
    /// If nothing shows that there was an old one, the inserts of its first seconds have ended (assumed).
    pub(super) fn restore(&mut self) {
        let is_known = self.kafka.committed.is_some() || self.clickhouse.rows.iter().any(|rows| !rows.is_empty());
        if *self.postgres.backup == Tables::default() && is_known {
            self.postgres.cluster += 1;
        }
        self.postgres.tables = (*self.postgres.backup).clone();
        self.crash_postgres();
        self.age();
    }

    /// A statement without a client reaches the server after all.
    pub(super) fn land_late(&mut self, config: &Config, at: usize) {
        match self.postgres.late.remove(at) {
            Late::Starts { life, starts } => self.land_starts(config, life, &starts),
            Late::TakeOver { life, owner, start } => {
                let birth = self.fresh_birth(life);
                ledger::take_over(&mut self.postgres.tables.ledger[life], owner, &start, birth);
            }
            Late::Settle { life, fence, settled } => {
                self.land_settled(life, &fence, &settled);
            }
            Late::Claim { life, wanted } => {
                ledger::claim(&mut self.postgres.tables.ledger[life], &wanted, config.guards);
            }
            Late::Write { life, write } => {
                self.land_write(life, &write, config.guards);
            }
            Late::LeaveOut { life, fence, offset } => {
                self.land_left_out(life, &fence, offset, config.guards);
            }
        }
    }

    pub(super) fn replace(&mut self, config: &Config) {
        self.kafka.life += 1;
        self.kafka.end = config.first_end;
        self.kafka.committed = None;
        self.kafka.late_commit = None;
    }

    fn reconfigure(&mut self) {
        for by in 0..self.consumers.len() {
            if self.consumers[by].up {
                self.crash(by);
            }
        }
        debug_assert!(self.consumers.iter().all(|consumer| *consumer == Consumer::down()));
    }

    pub(super) fn switch_postgres(&mut self) {
        self.reconfigure();
        self.postgres_on = !self.postgres_on;
    }

    pub(super) fn switch_clickhouse(&mut self) {
        self.reconfigure();
        self.clickhouse_on = !self.clickhouse_on;
    }
}
