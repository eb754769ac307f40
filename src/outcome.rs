//! How a run ends: one plain type, from the pipeline to the exit status and the last line. No other type says how it ended.

use footprint_service::status::Moved;

/// How a pipeline, or all of them together, ended. A later variant wins over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to stop, and everything under way is stored.
    Drained,
    /// Everything that it was asked to store is stored.
    CaughtUp(Moved),
    /// It was asked to stop before everything was stored. None: it did not yet know how much there is to store.
    Interrupted(Option<Stored>),
    /// It was asked to stop, and not everything under way was stored in time.
    NotDrained(Left),
    /// A person is needed. The text says what happened and what to do.
    Failed(String),
}

/// How many of the records to store are stored, by this process or another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Records that every sink has.
    pub stored: u64,
    /// Records to store.
    pub wanted: u64,
    /// The ledger did not answer at the end, so there may be more.
    pub at_least: bool,
}

impl Stored {
    /// Adds the two.
    pub fn and(self, other: Self) -> Self {
        Self {
            stored: self.stored + other.stored,
            wanted: self.wanted + other.wanted,
            at_least: self.at_least || other.at_least,
        }
    }
}

/// The records that this process claimed and that, as far as it knows, not every sink has stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Offsets that are claimed and not stored.
    pub records: u64,
    /// Partitions of these offsets.
    pub partitions: usize,
    /// Some of them are not in PostgreSQL.
    pub postgres: bool,
    /// Some of them are not in ClickHouse.
    pub clickhouse: bool,
    /// Routes whose pipelines did not answer at all.
    pub silent_routes: usize,
}

impl Left {
    /// Adds the two.
    pub fn and(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            partitions: self.partitions + other.partitions,
            postgres: self.postgres || other.postgres,
            clickhouse: self.clickhouse || other.clickhouse,
            silent_routes: self.silent_routes + other.silent_routes,
        }
    }

    fn text(self) -> String {
        let sinks: Vec<&str> = [(self.postgres, "postgresql"), (self.clickhouse, "clickhouse")]
            .into_iter()
            .filter_map(|(is_behind, sink)| is_behind.then_some(sink))
            .collect();
        let mut parts = Vec::new();
        if self.partitions > 0 {
            parts.push(format!(
                "{} of {} not stored in {}",
                counted(self.records, "record"),
                counted(self.partitions as u64, "partition"),
                sinks.join(" and ")
            ));
        }
        if self.silent_routes > 0 {
            parts.push(format!("{} gave no answer", counted(self.silent_routes as u64, "route")));
        }
        parts.join("; ")
    }
}

impl Outcome {
    /// The worse of the two outcomes. The records left by both add up.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::NotDrained(one), Self::NotDrained(other)) => Self::NotDrained(one.and(other)),
            (one, other) => {
                if other.weight() > one.weight() {
                    other
                } else {
                    one
                }
            }
        }
    }

    fn weight(&self) -> u8 {
        match self {
            Self::Drained => 0,
            Self::CaughtUp(_) => 1,
            Self::Interrupted(_) => 2,
            Self::NotDrained(_) => 3,
            Self::Failed(_) => 4,
        }
    }

    /// Whether the run ended as it should.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Drained | Self::CaughtUp(_))
    }

    /// The last line of the program's output.
    pub fn line(&self) -> String {
        match self {
            Self::Drained => "drained: everything under way is stored".into(),
            Self::CaughtUp(Moved { records, first_read_at: Some(first), last_stored_at: Some(last) }) => {
                let seconds = last.saturating_duration_since(*first).as_secs_f64();
                format!("caught up: {records} records, {seconds:.3} s from the first record read to the last stored")
            }
            Self::CaughtUp(_) => "caught up: nothing was left to store".into(),
            Self::Interrupted(None) => "interrupted: nothing was read yet".into(),
            Self::Interrupted(Some(Stored { stored, wanted, at_least })) => {
                let least = if *at_least { "at least " } else { "" };
                format!("interrupted: {least}{stored} of {wanted} stored; the next start continues from there")
            }
            Self::NotDrained(left) => {
                format!("not drained: {}; nothing is lost, the next start finishes the claims", left.text())
            }
            Self::Failed(why) => why.clone(),
        }
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_outcome_wins_and_what_is_left_adds_up() {
        let left = Left { records: 5, partitions: 1, clickhouse: true, ..Left::default() };
        let other = Left { records: 1, partitions: 1, postgres: true, ..Left::default() };
        let outcomes = [
            Outcome::Drained,
            Outcome::CaughtUp(Moved::default()),
            Outcome::Interrupted(None),
            Outcome::NotDrained(left),
            Outcome::Failed("a".into()),
        ];
        for (index, one) in outcomes.iter().enumerate() {
            for (other_index, other) in outcomes.iter().enumerate() {
                if index != other_index {
                    assert_eq!(one.clone().and(other.clone()), outcomes[index.max(other_index)]);
                }
            }
        }
        let both = Outcome::NotDrained(left).and(Outcome::NotDrained(other));
        assert_eq!(
            both.line(),
            "not drained: 6 records of 2 partitions not stored in postgresql and clickhouse; \
             nothing is lost, the next start finishes the claims"
        );
        assert!(!both.is_good() && Outcome::Drained.is_good());
    }

    #[test]
    fn the_last_line_says_how_much_is_stored() {
        let stored = Stored { stored: 88_000, wanted: 300_000, at_least: false };
        assert!(Outcome::Interrupted(Some(stored)).line().starts_with("interrupted: 88000 of 300000 stored"));
    }
}
