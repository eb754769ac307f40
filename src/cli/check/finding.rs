//! What `check` finds: one line for each question, with what to do if the answer is wrong. [`Line`] is the list of all questions.
//! Each has a test in which it goes wrong (`tests/tidy/check.rs` compares the two).

use std::error::Error;
use std::fmt::{self, Display};

use footprint_event::route::Route;
use footprint_service::health::Component;
use footprint_service::report::Chain;
use serde::Serialize;

/// How the answer to a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// In order.
    Ok,
    /// No fault, but good to know. It does not change the exit status.
    Note,
    /// Events would be lost, doubled, or not stored.
    Fault,
}

/// A question of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    KafkaAnswers,
    GroupMembers,
    TopicExists,
    TopicSettings,
    TopicReplication,
    TopicMinInsync,
    TopicUncleanElection,
    TopicCompaction,
    TopicRetention,
    PostgresAnswers,
    PostgresWrites,
    PostgresReplicationRole,
    PostgresFsync,
    PostgresFullPageWrites,
    PostgresZeroDamagedPages,
    PostgresIgnoreChecksumFailure,
    PostgresRights,
    LedgerVersion,
    LedgerTables,
    RouteTables,
    PostgresTable,
    PostgresTableRights,
    PostgresRowSecurity,
    PostgresUnlogged,
    PostgresTriggers,
    PostgresConstraints,
    PostgresClock,
    ClickHouseAnswers,
    ClickHouseSettings,
    ClickHouseRights,
    ClickHouseTable,
    ClickHouseTableSettings,
    ClickHouseConstraints,
    ClickHouseViews,
    ClickHouseClock,
    ClickHouseTaskDelays,
    ClickHouseProbe,
}

impl Line {
    /// Its name in the JSON document, its component, and its status if the answer is wrong.
    fn facts(self) -> (&'static str, Component, Status) {
        use Component::{ClickHouse, Kafka, Ledger, Postgres, Topic};
        use Status::{Fault, Note};
        match self {
            Self::KafkaAnswers => ("kafka_answers", Kafka, Fault),
            Self::GroupMembers => ("group_members", Kafka, Fault),
            Self::TopicExists => ("topic_exists", Topic, Fault),
            Self::TopicSettings => ("topic_settings", Topic, Note),
            Self::TopicReplication => ("topic_replication", Topic, Note),
            Self::TopicMinInsync => ("topic_min_insync", Topic, Fault),
            Self::TopicUncleanElection => ("topic_unclean_election", Topic, Fault),
            Self::TopicCompaction => ("topic_compaction", Topic, Fault),
            Self::TopicRetention => ("topic_retention", Topic, Note),
            Self::PostgresAnswers => ("postgres_answers", Postgres, Fault),
            Self::PostgresWrites => ("postgres_writes", Postgres, Fault),
            Self::PostgresReplicationRole => ("postgres_replication_role", Postgres, Note),
            Self::PostgresFsync => ("postgres_fsync", Postgres, Fault),
            Self::PostgresFullPageWrites => ("postgres_full_page_writes", Postgres, Fault),
            Self::PostgresZeroDamagedPages => ("postgres_zero_damaged_pages", Postgres, Fault),
            Self::PostgresIgnoreChecksumFailure => ("postgres_ignore_checksum_failure", Postgres, Fault),
            Self::PostgresRights => ("postgres_rights", Postgres, Fault),
            Self::LedgerVersion => ("ledger_version", Ledger, Fault),
            Self::LedgerTables => ("ledger_tables", Ledger, Fault),
            Self::RouteTables => ("route_tables", Ledger, Fault),
            Self::PostgresTable => ("postgres_table", Postgres, Fault),
            Self::PostgresTableRights => ("postgres_table_rights", Postgres, Fault),
            Self::PostgresRowSecurity => ("postgres_row_security", Postgres, Fault),
            Self::PostgresUnlogged => ("postgres_unlogged", Postgres, Fault),
            Self::PostgresTriggers => ("postgres_triggers", Postgres, Note),
            Self::PostgresConstraints => ("postgres_constraints", Postgres, Note),
            Self::PostgresClock => ("postgres_clock", Postgres, Note),
            Self::ClickHouseAnswers => ("clickhouse_answers", ClickHouse, Fault),
            Self::ClickHouseSettings => ("clickhouse_settings", ClickHouse, Fault),
            Self::ClickHouseRights => ("clickhouse_rights", ClickHouse, Fault),
            Self::ClickHouseTable => ("clickhouse_table", ClickHouse, Fault),
            Self::ClickHouseTableSettings => ("clickhouse_table_settings", ClickHouse, Fault),
            Self::ClickHouseConstraints => ("clickhouse_constraints", ClickHouse, Note),
            Self::ClickHouseViews => ("clickhouse_views", ClickHouse, Note),
            Self::ClickHouseClock => ("clickhouse_clock", ClickHouse, Note),
            Self::ClickHouseTaskDelays => ("clickhouse_task_delays", ClickHouse, Note),
            Self::ClickHouseProbe => ("clickhouse_probe", ClickHouse, Fault),
        }
    }
}

/// What a line is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The first words of the line, such as `topic visits`.
    label: String,
    route: Option<String>,
}

impl Subject {
    /// A server, or something that all routes share.
    pub(super) fn shared(label: impl Into<String>) -> Self {
        Self { label: label.into(), route: None }
    }

    /// Something that belongs to a route.
    pub(super) fn of(route: &Route, label: impl Into<String>) -> Self {
        Self { label: label.into(), route: Some(route.name.clone()) }
    }
}

/// The answer to one question.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    id: &'static str,
    status: Status,
    component: &'static str,
    route: Option<String>,
    text: String,
    /// A command or a statement, behind `run: ` up to the end. Empty if the answer is in order.
    remedy: String,
}

impl Finding {
    /// The word at the start of the printed line.
    pub(super) fn word(&self) -> &'static str {
        match self.status {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Fault => "FAULT",
        }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// The answers of one server, in the order in which they are printed.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// The answer is in order.
    pub(super) fn ok(&mut self, line: Line, subject: &Subject, text: impl Display) {
        self.push(line, Status::Ok, subject, text, String::new());
    }

    /// The answer is wrong.
    pub(super) fn wrong(&mut self, line: Line, subject: &Subject, text: impl Display, remedy: impl Into<String>) {
        let (_, _, status) = line.facts();
        self.push(line, status, subject, text, remedy.into());
    }

    /// The answer is an error, or there is none.
    pub(super) fn failed(&mut self, line: Line, subject: &Subject, error: &(dyn Error + 'static)) {
        let (why, what_to_do) = Chain(error).parts();
        // the label names the server already
        let why = why.trim_start_matches("kafka: ").trim_start_matches("postgresql at ");
        self.wrong(line, subject, why, what_to_do);
    }

    fn push(&mut self, line: Line, status: Status, subject: &Subject, text: impl Display, remedy: String) {
        let (id, component, _) = line.facts();
        let text = format!("{}: {text}", subject.label);
        self.0.push(Finding { id, status, component: component.as_str(), route: subject.route.clone(), text, remedy });
    }
}

/// All answers, and how many of each status there are.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    ok: usize,
    notes: usize,
    pub(super) faults: usize,
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn of(parts: impl IntoIterator<Item = Findings>) -> Self {
        let findings: Vec<Finding> = parts.into_iter().flat_map(|part| part.0).collect();
        let count = |status| findings.iter().filter(|finding| finding.status == status).count();
        Self { ok: count(Status::Ok), notes: count(Status::Note), faults: count(Status::Fault), findings }
    }
}
