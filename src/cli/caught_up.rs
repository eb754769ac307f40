//! Waits until the ledger says that all records which the topics held at the start are stored in every sink that is on. It does
//! not matter which process stored them. Also says how many are stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use footprint_event::route::Route;
use footprint_protocol::ledger::{Frontiers, Row, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::Config;
use footprint_service::escape::{Keep, escaped};
use footprint_service::kafka::{AskError, Inquirer, source_id};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::ledger::statements::{Ledger, LedgerError};
use crate::outcome::Stored;

/// How often the ledger is asked.
const INTERVAL: Duration = Duration::from_millis(50);
/// The ledger is asked for pauses at each of these questions.
const PAUSES_EVERY: u32 = 20;
/// How long one question to Kafka may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the ledger may take, after all pipelines have ended, to say how many records are stored.
const LAST_TIMEOUT: Duration = Duration::from_secs(5);

/// The records to store, and how to ask whether they are stored.
pub(super) struct CaughtUp<'a> {
    config: &'a Config,
    /// One for each route. Empty until Kafka has said where the topics end.
    goals: OnceCell<Vec<Goal>>,
    /// The last answer.
    last: Mutex<Stored>,
}

/// Where each partition of a route's topic starts and ends.
struct Goal {
    route: String,
    source: SourceId,
    bounds: BTreeMap<Partition, (Offset, Offset)>,
}

/// Which sinks must have a record for it to be stored.
#[derive(Clone, Copy)]
struct Wanted {
    postgres: bool,
    clickhouse: bool,
}

impl Wanted {
    /// The offset below which every wanted sink has stored. A wanted sink without a frontier in the row was switched on again.
    /// Until a take-over has recorded that, it has stored nothing that counts.
    fn stored_below(self, frontiers: Frontiers) -> Offset {
        let awaits_take_over =
            (self.postgres && frontiers.postgres.is_none()) || (self.clickhouse && frontiers.clickhouse.is_none());
        if awaits_take_over { 0 } else { frontiers.lowest() }
    }
}

impl Goal {
    /// The records that are stored, the records to store, and whether all are stored. Records below the offset at which a
    /// partition first started are not ours. That offset is not known until a process has taken the partition over.
    fn stored(&self, wanted: Wanted, rows: &[(Partition, Row)]) -> (Stored, bool) {
        let (mut sum, mut is_reached) = (Stored::default(), true);
        for (&partition, &(start, end)) in &self.bounds {
            let row = rows.iter().find(|(of, _)| *of == partition).map(|(_, row)| row);
            let start = row.and_then(|row| row.first_offset).unwrap_or(0).clamp(start, end);
            let next = row.map_or(0, |row| wanted.stored_below(row.frontiers));
            sum.wanted += end.abs_diff(start);
            sum.stored += next.clamp(start, end).abs_diff(start);
            is_reached &= next >= end;
        }
        (sum, is_reached)
    }
}

impl<'a> CaughtUp<'a> {
    /// Asks nothing yet.
    pub(super) fn new(config: &'a Config) -> Self {
        Self { config, goals: OnceCell::new(), last: Mutex::default() }
    }

    /// Returns when every route's topic is stored up to the end seen now.
    ///
    /// # Errors
    /// Kafka or the ledger cannot be asked, or a topic does not exist.
    pub(super) async fn wait(&self) -> anyhow::Result<()> {
        let mut found = Vec::new();
        for route in &self.config.routes {
            let inquirer = Arc::new(Inquirer::new(&self.config.kafka)?);
            let asked = route.clone();
            found.push(spawn_blocking(move || goal(&inquirer, &asked)).await.context("asking kafka")??);
        }
        let goals = self.goals.get_or_init(|| async { found }).await;
        let bar = progress_bar();
        let mut ledgers: Vec<Option<Ledger>> = goals.iter().map(|_| None).collect();
        let mut failures = 0;
        for number in 0_u32.. {
            match self.ask(goals, &mut ledgers).await {
                Ok((stored, is_reached)) => {
                    failures = 0;
                    bar.set_length(stored.wanted);
                    bar.set_message(indicatif::HumanCount(stored.wanted - stored.stored).to_string());
                    bar.set_position(stored.stored);
                    if is_reached {
                        bar.finish_and_clear();
                        return Ok(());
                    }
                    if number.is_multiple_of(PAUSES_EVERY) {
                        refuse_paused(goals, &ledgers).await?;
                    }
                }
                // the pipeline itself reports what is wrong, and waits for the ledger to come back
                Err(error) if error.is_passing() => {
                    ledgers.fill_with(|| None);
                    failures += 1;
                }
                Err(error) => bail!(error),
            }
            tokio::time::sleep(INTERVAL * (1 + failures.min(40))).await;
        }
        Ok(())
    }

    /// How many records are stored now, and whether that is all. None: it is not known yet how many there are to store. If the
    /// ledger does not answer, its last answer is the least.
    pub(super) async fn stored(&self) -> Option<(Stored, bool)> {
        let goals = self.goals.get()?;
        let mut ledgers: Vec<Option<Ledger>> = goals.iter().map(|_| None).collect();
        match timeout(LAST_TIMEOUT, self.ask(goals, &mut ledgers)).await {
            Ok(Ok(answer)) => Some(answer),
            // an error here counts as no answer: the run itself reports what is wrong with the ledger
            Ok(Err(_)) | Err(_) => {
                let last = *self.last.lock();
                let last = match last.wanted {
                    0 => goals.iter().map(|goal| goal.stored(self.sinks(), &[]).0).fold(last, Stored::and),
                    _ => last,
                };
                Some((Stored { at_least: true, ..last }, false))
            }
        }
    }

    fn sinks(&self) -> Wanted {
        Wanted { postgres: self.config.postgres.enabled, clickhouse: self.config.clickhouse.enabled }
    }

    async fn ask(&self, goals: &[Goal], ledgers: &mut [Option<Ledger>]) -> Result<(Stored, bool), LedgerError> {
        let (mut sum, mut all) = (Stored::default(), true);
        for (goal, ledger) in goals.iter().zip(ledgers) {
            let ledger = match ledger {
                Some(connected) => connected,
                none => none.insert(Ledger::connect(&self.config.postgres, &goal.route, "footprint caught-up").await?),
            };
            let (stored, is_reached) = goal.stored(self.sinks(), &ledger.rows(goal.source).await?);
            sum = sum.and(stored);
            all &= is_reached;
        }
        *self.last.lock() = sum;
        Ok((sum, all))
    }
}

/// What is paused is never caught up, so waiting for it would not end.
async fn refuse_paused(goals: &[Goal], ledgers: &[Option<Ledger>]) -> anyhow::Result<()> {
    for (goal, ledger) in goals.iter().zip(ledgers) {
        let Some(ledger) = ledger else { continue };
        let pauses = match ledger.pauses().await {
            Ok(pauses) => pauses,
            // the next question shows whether the ledger is away
            Err(error) if error.is_passing() => continue,
            Err(error) => bail!(error),
        };
        if let Some(pause) = pauses.first() {
            let sink = pause.sink.map_or(String::new(), |sink| format!(" --sink {}", sink.as_str()));
            let pause = escaped(&pause.to_string(), Keep::Nothing).to_string();
            bail!(
                "route {} cannot be caught up, it is {pause}; run `footprint resume {}{sink}` first",
                goal.route,
                goal.route
            );
        }
    }
    Ok(())
}

fn goal(inquirer: &Inquirer, route: &Route) -> Result<Goal, AskError> {
    let cluster_id = inquirer.cluster_id(ASK_TIMEOUT)?;
    let topic = inquirer.describe_topic(&route.topic, ASK_TIMEOUT)?;
    let mut bounds = BTreeMap::new();
    for partition in 0..topic.partition_count {
        let (start, end) = inquirer.watermarks(&route.topic, partition, ASK_TIMEOUT)?;
        // a log that retention has emptied counts too: its take-over says whether a sink has lost records
        if end > 0 {
            bounds.insert(partition, (start, end));
        }
    }
    Ok(Goal { route: route.name.clone(), source: source_id(&cluster_id, &topic.topic_id), bounds })
}

/// Shown only on a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec} lag {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use footprint_protocol::ledger::{FORMAT, OwnerId};

    fn goal() -> Goal {
        Goal { route: "a".into(), source: SourceId(1), bounds: BTreeMap::from([(0, (100, 300)), (1, (50, 50))]) }
    }

    fn row(partition: Partition, postgres: Option<Offset>, clickhouse: Option<Offset>) -> (Partition, Row) {
        let dead_letters = postgres.or(clickhouse).unwrap_or(0);
        let row = Row {
            epoch: 1,
            owner: OwnerId(0),
            claimed: 0,
            frontiers: Frontiers { dead_letters, postgres, clickhouse },
            postgres_stopped: None,
            clickhouse_stopped: None,
            claims: Vec::new(),
            doubtful_below: None,
            birth: 1,
            first_offset: None,
            format: FORMAT,
        };
        (partition, row)
    }

    fn stored(wanted: Wanted, rows: &[(Partition, Row)]) -> (u64, u64, bool) {
        let (stored, is_reached) = goal().stored(wanted, rows);
        (stored.stored, stored.wanted, is_reached)
    }

    const BOTH: Wanted = Wanted { postgres: true, clickhouse: true };

    #[test]
    fn a_sink_that_was_switched_on_counts_only_after_the_ledger_knows() {
        let off = [row(0, Some(300), None), row(1, Some(50), None)];
        assert_eq!(stored(BOTH, &off), (0, 200, false));
        assert_eq!(stored(Wanted { clickhouse: false, ..BOTH }, &off), (200, 200, true));
        let off = [row(0, None, Some(300)), row(1, None, Some(50))];
        assert_eq!(stored(BOTH, &off), (0, 200, false));
        let filling = [row(0, Some(300), Some(150)), row(1, Some(50), Some(50))];
        assert_eq!(stored(BOTH, &filling), (50, 200, false));
        let filled = [row(0, Some(300), Some(310)), row(1, Some(50), Some(50))];
        assert_eq!(stored(BOTH, &filled), (200, 200, true));
    }

    #[test]
    fn what_nobody_has_taken_over_is_not_stored() {
        assert_eq!(stored(BOTH, &[]), (0, 200, false));
        assert_eq!(stored(BOTH, &[row(0, Some(300), Some(300))]), (200, 200, false));
    }

    #[test]
    fn what_lies_below_a_partitions_first_start_is_not_ours() {
        let mut started = row(0, Some(250), Some(260));
        started.1.first_offset = Some(240);
        assert_eq!(stored(BOTH, &[started, row(1, Some(50), Some(50))]), (10, 60, false));
        let mut at_end = row(0, Some(300), Some(300));
        at_end.1.first_offset = Some(310);
        assert_eq!(stored(BOTH, &[at_end, row(1, Some(50), Some(50))]), (0, 0, true));
    }
}
