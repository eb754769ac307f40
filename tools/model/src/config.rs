//! The settings of a run: how many records and consumers, how often each fault may strike, and which guards hold.

use footprint_protocol::offset::Offset;
use footprint_protocol::take_over::Switches;
use footprint_protocol::take_over::{OnLostRecords, WhenSwitchedOn};

use crate::guard::Guards;
use crate::servers::Offsets;

/// How often each fault may still strike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A process dies.
    pub crashes: u8,
    /// The group moves the partition: it revokes it, or takes it from a silent member that continues.
    pub moves: u8,
    /// A consumer that no longer has the partition in the group, and does not know, takes it over again.
    pub retakes: u8,
    /// Answers of PostgreSQL are lost.
    pub lost_answers: u8,
    /// Statements or inserts reach their server late.
    pub late: u8,
    /// Inserts are answered with an error.
    pub failures: u8,
    /// Proofs grow old.
    pub ages: u8,
    /// Tokens are forgotten.
    pub forgets: u8,
    /// ClickHouse crashes.
    pub clickhouse_crashes: u8,
    /// PostgreSQL crashes.
    pub postgres_crashes: u8,
    /// A backup is taken.
    pub backups: u8,
    /// It is restored.
    pub restores: u8,
    /// The topic is replaced.
    pub replaces: u8,
    /// A sink is switched.
    pub switches: u8,
    /// The old consumer stores and commits a record.
    pub old_commits: u8,
    /// The route's definition changes.
    pub redefines: u8,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The guards in force.
    pub guards: Guards,
    /// Processes.
    pub consumers: usize,
    /// Records of each life at the end.
    pub records: Offset,
    /// Records of the first life at the start.
    pub first_end: Offset,
    /// Records that cannot become rows.
    pub bad: Offsets,
    /// Records that PostgreSQL's table refuses, of those that can become rows.
    pub refused_by_postgres: Offsets,
    /// Records that ClickHouse's table refuses, of those that can become rows.
    pub refused_by_clickhouse: Offsets,
    /// The longest batch.
    pub batch_max: Offset,
    /// Batches that the writers have at once.
    pub queue_max: usize,
    /// How often each fault may strike.
    pub budget: Budget,
    /// The server writes the token before the part. Otherwise it writes it after the part.
    pub token_first: bool,
    /// What happens to a sink that is switched on again: it is filled, or skips.
    pub when_switched_on: WhenSwitchedOn,
    /// Commits reach Kafka some time after their heartbeat. Otherwise they reach it with the heartbeat.
    pub slow_commits: bool,
    /// Partitions without a commit start at the log's end.
    pub starts_at_end: bool,
    /// Which sink may be switched: PostgreSQL's rows if true, otherwise ClickHouse's.
    pub switch_postgres: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            guards: Guards::all(),
            consumers: 2,
            records: 3,
            first_end: 3,
            // a range of the first two is split over two table partitions; the third is a dead letter
            bad: Offsets(0b100),
            refused_by_postgres: Offsets(0),
            refused_by_clickhouse: Offsets(0),
            batch_max: 2,
            queue_max: 2,
            budget: Budget::default(),
            token_first: true,
            when_switched_on: WhenSwitchedOn::Fill,
            slow_commits: false,
            starts_at_end: false,
            switch_postgres: false,
        }
    }
}

impl Config {
    /// Whether the topic may be replaced. Then reading, asking for its id and claiming are separate steps. Otherwise the time of
    /// reading a record makes no difference.
    pub fn topic_may_change(&self) -> bool {
        self.budget.replaces > 0
    }

    /// Whether the start of the route matters. Otherwise it starts at the log's start, and recording that is no step.
    pub fn has_first_start(&self) -> bool {
        self.starts_at_end || self.budget.old_commits > 0
    }

    /// Records that become rows.
    pub fn good(&self) -> Offsets {
        Offsets::below(self.records).minus(self.bad)
    }

    /// Records that become dead letters.
    pub fn bad(&self) -> Offsets {
        Offsets::below(self.records).and(self.bad)
    }

    /// Records whose rows PostgreSQL refuses.
    pub fn not_for_postgres(&self) -> Offsets {
        self.good().and(self.refused_by_postgres)
    }

    /// Records whose rows ClickHouse refuses.
    pub fn not_for_clickhouse(&self) -> Offsets {
        self.good().and(self.refused_by_clickhouse)
    }

    /// The switches of a process that starts now.
    pub fn switches(&self, postgres_on: bool, clickhouse_on: bool) -> Switches {
        Switches {
            postgres: postgres_on.then_some(self.when_switched_on),
            clickhouse: clickhouse_on.then_some(self.when_switched_on),
            on_lost_records: OnLostRecords::Stop,
        }
    }
}
