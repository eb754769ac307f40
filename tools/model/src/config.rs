//! What a run of the model is about: how many records and consumers, which faults may strike how often, which guards hold.

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
    /// The group moves the partition: asked back, or taken from a silent member who goes on.
    pub moves: u8,
    /// One to whom the group does not give the partition any more, and who does not know, takes it over again.
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
    /// It is put back.
    pub restores: u8,
    /// The topic is replaced.
    pub replaces: u8,
    /// A sink is switched.
    pub switches: u8,
    /// The old consumer stores and commits a record.
    pub old_commits: u8,
    /// The route is defined anew.
    pub redefines: u8,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The guards in force.
    pub guards: Guards,
    /// Processes.
    pub consumers: usize,
    /// Records of each life in the end.
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
    /// Batches with the writers at once.
    pub queue_max: usize,
    /// What strikes how often.
    pub budget: Budget,
    /// The server writes a token before the part, else after it.
    pub token_first: bool,
    /// A sink that is switched on again is filled, or skips.
    pub when_switched_on: WhenSwitchedOn,
    /// Commits reach Kafka some time after the heartbeat that they follow from, else with it.
    pub slow_commits: bool,
    /// Partitions without a commit start at the log's end.
    pub starts_at_end: bool,
    /// Which sinks may be switched: PostgreSQL's rows, else ClickHouse's.
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
    /// Whether the topic may be replaced: then reading, asking for its id and claiming are steps of their own. Elsewhere
    /// it makes no difference when a record was read.
    pub fn topic_may_change(&self) -> bool {
        self.budget.replaces > 0
    }

    /// Whether it matters where the route starts. Elsewhere it starts at the log's start, and writing that down is no step.
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
