//! Waits until the ledger says that everything which a topic held at the start is stored, whoever stored it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::kafka::Inquirer;
use crate::ledger::SourceId;
use crate::ledger::postgres::Ledger;
use crate::offset::{Offset, Partition};
use crate::route::Route;

/// How often the ledger is asked.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long one question to Kafka may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Where each partition that holds records ends.
struct Goal {
    source: SourceId,
    ends: BTreeMap<Partition, Offset>,
    /// Where each starts.
    starts: BTreeMap<Partition, Offset>,
}

/// Returns when every route's topic is stored up to the end seen now.
///
/// # Errors
/// Kafka or the ledger cannot be asked, or a topic does not exist.
pub async fn wait_until_caught_up(config: &Config) -> anyhow::Result<()> {
    for route in &config.routes {
        let inquirer = Arc::new(Inquirer::new(&config.kafka)?);
        let asked = route.clone();
        let goal = spawn_blocking(move || goal(&inquirer, &asked)).await.context("asking kafka")??;
        reach(config, route, &goal).await?;
    }
    Ok(())
}

fn goal(inquirer: &Inquirer, route: &Route) -> anyhow::Result<Goal> {
    let cluster_id = inquirer.cluster_id(ASK_TIMEOUT)?;
    let topic = inquirer.describe_topic(&route.topic, ASK_TIMEOUT)?;
    let (mut starts, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for partition in 0..topic.partition_count {
        let (start, end) = inquirer.watermarks(&route.topic, partition, ASK_TIMEOUT)?;
        if end > start {
            ends.insert(partition, end);
            starts.insert(partition, start);
        }
    }
    Ok(Goal { source: SourceId::of(&cluster_id, &topic.topic_id), ends, starts })
}

async fn reach(config: &Config, route: &Route, goal: &Goal) -> anyhow::Result<()> {
    let length = |at: &dyn Fn(Partition) -> Offset| -> u64 {
        goal.ends.iter().map(|(&p, &end)| at(p).clamp(goal.starts[&p], end).abs_diff(goal.starts[&p])).sum()
    };
    let bar = ProgressBar::new(length(&|p| goal.ends[&p]));
    bar.set_style(
        ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec} lag {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut ledger: Option<Ledger> = None;
    let mut failures = 0;
    loop {
        let asked = match &ledger {
            Some(ledger) => ledger.progress(goal.source).await,
            None => match Ledger::connect(&config.postgres, &route.name, "footprint caught-up").await {
                Ok(connected) => {
                    let asked = connected.progress(goal.source).await;
                    ledger = Some(connected);
                    asked
                }
                Err(error) => Err(error),
            },
        };
        match asked {
            Ok(progress) => {
                failures = 0;
                let next =
                    |p: Partition| progress.iter().find(|row| row.partition == p).map_or(0, |row| row.nexts.lowest());
                let done = length(&next);
                bar.set_message(indicatif::HumanCount(bar.length().unwrap_or(0).saturating_sub(done)).to_string());
                bar.set_position(done);
                if goal.ends.iter().all(|(&p, &end)| next(p) >= end) {
                    bar.finish_and_clear();
                    return Ok(());
                }
            }
            // the pipeline itself says what is wrong, and waits for the ledger to come back
            Err(error) if error.is_passing() => {
                ledger = None;
                failures += 1;
            }
            Err(error) => bail!(error),
        }
        tokio::time::sleep(INTERVAL * (1 + failures.min(40))).await;
    }
}
