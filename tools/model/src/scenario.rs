//! The scenarios to check. Each lets some faults strike, in every order. Together they cover what docs/protocol.md promises to
//! survive. Each alone is small enough to be visited whole.

use footprint_protocol::take_over::WhenSwitchedOn;

use crate::config::{Budget, Config};
use crate::guard::{Guard, Guards};
use crate::servers::Offsets;

/// A run with a name.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What strikes, in one sentence.
    pub about: &'static str,
    /// The run.
    pub config: Config,
}

const NONE: Budget = Budget {
    crashes: 0,
    moves: 0,
    retakes: 0,
    lost_answers: 0,
    late: 0,
    failures: 0,
    ages: 0,
    forgets: 0,
    clickhouse_crashes: 0,
    postgres_crashes: 0,
    backups: 0,
    restores: 0,
    replaces: 0,
    switches: 0,
    old_commits: 0,
    redefines: 0,
};

/// Scenarios with one process at a time. It dies and is started again, and the servers may do anything.
fn alone() -> Vec<Scenario> {
    let one = Config { consumers: 1, ..Config::default() };
    let with = |budget| Config { budget, ..one.clone() };
    let scenario = |name, about, config| Scenario { name, about, config };
    vec![
        scenario(
            "crashes",
            "a process dies twice; an answer of PostgreSQL is lost, a statement or an insert comes late",
            with(Budget { crashes: 2, lost_answers: 1, late: 1, ..NONE }),
        ),
        scenario(
            "started",
            "an old consumer continues until the partition is taken over; the process dies, answers are lost or late",
            with(Budget { old_commits: 2, crashes: 2, lost_answers: 1, late: 1, ..NONE }),
        ),
        scenario(
            "started-at-end",
            "the first start is at the log's end, and the log grows; the process dies, answers are lost or late",
            Config {
                starts_at_end: true,
                first_end: 1,
                ..with(Budget { crashes: 2, lost_answers: 1, late: 1, ..NONE })
            },
        ),
        scenario(
            "errors",
            "inserts fail twice, half landed or landing late; proofs age, tokens are forgotten",
            Config { queue_max: 1, ..with(Budget { failures: 2, late: 1, ages: 1, forgets: 1, ..NONE }) },
        ),
        scenario(
            "errors-crash",
            "inserts fail twice, tokens are forgotten, the process dies",
            Config { queue_max: 1, ..with(Budget { failures: 2, forgets: 1, crashes: 1, ..NONE }) },
        ),
        scenario(
            "fenced",
            "inserts fail twice, half landed or still running, the process dies twice, and ClickHouse knows no token",
            Config {
                queue_max: 1,
                guards: Guards::all().without(Guard::Token),
                ..with(Budget { failures: 2, crashes: 2, ..NONE })
            },
        ),
        scenario(
            "token-first",
            "ClickHouse crashes twice between token and part; inserts fail, the process dies",
            with(Budget { clickhouse_crashes: 2, failures: 1, crashes: 1, ..NONE }),
        ),
        scenario(
            "part-first",
            "ClickHouse crashes twice between part and token; inserts fail, the process dies",
            Config { token_first: false, ..with(Budget { clickhouse_crashes: 2, failures: 1, crashes: 1, ..NONE }) },
        ),
        scenario(
            "restored",
            "PostgreSQL is restored to an older copy of itself, or to nothing; the process dies, answers are lost",
            with(Budget { restores: 1, backups: 1, crashes: 1, lost_answers: 1, ..NONE }),
        ),
        scenario(
            "restored-token",
            "PostgreSQL is restored, and ClickHouse has crashed between token and part",
            with(Budget { restores: 1, backups: 1, clickhouse_crashes: 1, failures: 1, ..NONE }),
        ),
        scenario(
            "restored-grown",
            "PostgreSQL is restored while the log grows",
            Config { first_end: 2, ..with(Budget { restores: 1, backups: 1, clickhouse_crashes: 1, ..NONE }) },
        ),
        scenario(
            "restored-bad",
            "PostgreSQL is restored to nothing when only dead letters were stored; commits are slow",
            Config {
                bad: Offsets(0b011),
                slow_commits: true,
                ..with(Budget { restores: 1, backups: 1, crashes: 1, ..NONE })
            },
        ),
        scenario(
            "refused",
            "each database refuses another record; the process dies, an answer is lost, an insert fails",
            Config {
                queue_max: 1,
                bad: Offsets(0),
                refused_by_postgres: Offsets(0b001),
                refused_by_clickhouse: Offsets(0b010),
                ..with(Budget { crashes: 1, lost_answers: 1, failures: 1, late: 1, ..NONE })
            },
        ),
        scenario(
            "refused-restored",
            "each database refuses a record, one both; PostgreSQL is restored, the process dies",
            Config {
                queue_max: 1,
                refused_by_postgres: Offsets(0b001),
                refused_by_clickhouse: Offsets(0b011),
                ..with(Budget { restores: 1, backups: 1, crashes: 1, ..NONE })
            },
        ),
        scenario(
            "redefined",
            "the route's definition changes; the process dies twice, an answer is lost, an insert fails, half landed or landing late",
            Config { queue_max: 1, ..with(Budget { redefines: 1, crashes: 2, lost_answers: 1, failures: 1, ..NONE }) },
        ),
        scenario(
            "restarted",
            "PostgreSQL crashes twice and recovers; answers are lost, the process dies",
            with(Budget { postgres_crashes: 2, lost_answers: 1, crashes: 1, ..NONE }),
        ),
        scenario(
            "replaced",
            "the topic is deleted and created again under a running process, which may die",
            with(Budget { replaces: 1, crashes: 1, ..NONE }),
        ),
        scenario(
            "clickhouse-switched",
            "ClickHouse is switched off and on again, and filled; the process dies",
            with(Budget { switches: 1, crashes: 1, failures: 1, ..NONE }),
        ),
        scenario(
            "clickhouse-skipped",
            "ClickHouse is switched off and on again, and skips; the process dies",
            Config {
                when_switched_on: WhenSwitchedOn::Skip,
                ..with(Budget { switches: 1, crashes: 1, failures: 1, ..NONE })
            },
        ),
        scenario(
            "postgres-switched",
            "PostgreSQL's rows are switched off and on again, and filled; the process dies",
            Config { switch_postgres: true, ..with(Budget { switches: 1, crashes: 1, lost_answers: 1, ..NONE }) },
        ),
        scenario(
            "postgres-skipped",
            "PostgreSQL's rows are switched off and on again, and skip; the process dies",
            Config {
                switch_postgres: true,
                when_switched_on: WhenSwitchedOn::Skip,
                ..with(Budget { switches: 1, crashes: 1, lost_answers: 1, ..NONE })
            },
        ),
    ]
}

/// Scenarios with two processes that may both believe that they own the partition. If more than the group strikes, the world is
/// small: two records, and one batch with the writers at a time.
fn together() -> Vec<Scenario> {
    let with = |budget: Budget| {
        let budget = Budget { moves: budget.moves.max(1), ..budget };
        Config { budget, ..Config::default() }
    };
    let small = |budget| Config { queue_max: 1, records: 2, first_end: 2, bad: Offsets(0), ..with(budget) };
    let scenario = |name, about, config| Scenario { name, about, config };
    vec![
        scenario("moved", "the partition is revoked, or taken from a silent owner that continues", with(NONE)),
        scenario(
            "moved-crash",
            "the partition moves, a process dies, a statement or an insert comes late",
            small(Budget { crashes: 1, late: 1, ..NONE }),
        ),
        scenario(
            "moved-stale",
            "a silent owner continues and takes the partition over again; an answer is lost",
            small(Budget { retakes: 1, lost_answers: 1, ..NONE }),
        ),
        scenario(
            "moved-forgotten",
            "the partition moves, an insert fails, proofs age and tokens are forgotten",
            small(Budget { failures: 1, ages: 1, forgets: 1, ..NONE }),
        ),
        scenario(
            "moved-token-first",
            "the partition moves and ClickHouse crashes between token and part",
            small(Budget { clickhouse_crashes: 1, failures: 1, ..NONE }),
        ),
        scenario(
            "moved-part-first",
            "the partition moves and ClickHouse crashes between part and token",
            Config { token_first: false, ..small(Budget { clickhouse_crashes: 1, failures: 1, ..NONE }) },
        ),
        scenario(
            "moved-told",
            "the partition moves, ClickHouse crashes between token and part, commits are slow",
            Config { slow_commits: true, ..small(Budget { clickhouse_crashes: 1, ..NONE }) },
        ),
        scenario(
            "moved-restored",
            "the partition moves, PostgreSQL is restored, the silent owner takes the partition over again",
            small(Budget { retakes: 1, restores: 1, backups: 1, ..NONE }),
        ),
        scenario(
            "moved-refused",
            "the partition moves while each database refuses a record; an answer is lost",
            Config {
                refused_by_postgres: Offsets(0b01),
                refused_by_clickhouse: Offsets(0b10),
                ..small(Budget { lost_answers: 1, ..NONE })
            },
        ),
        scenario(
            "moved-replaced",
            "the partition moves and the topic is replaced",
            small(Budget { replaces: 1, ..NONE }),
        ),
        scenario(
            "moved-switched",
            "the partition moves, and ClickHouse is switched",
            small(Budget { switches: 1, ..NONE }),
        ),
        scenario(
            "moved-redefined",
            "the partition moves between processes of two definitions; an answer is lost",
            small(Budget { redefines: 1, lost_answers: 1, ..NONE }),
        ),
        scenario("raced", "reassignments race a take-over", small(Budget { moves: 2, retakes: 1, ..NONE })),
    ]
}

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    let mut all = alone();
    all.extend(together());
    all
}

/// The scenario of a name.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}
