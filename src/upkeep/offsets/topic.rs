//! What Kafka says about a route's topic: its present life, and the log and the commit of its partitions. The calls block, so they have a
//! thread.

use std::collections::BTreeMap;
use std::time::Duration;

use footprint_event::route::Route;
use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::Kafka;
use footprint_service::kafka::{AskError, Inquirer, source_id};

use super::OffsetsError;

/// How long one answer of Kafka may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// One partition as Kafka has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub(super) start: Offset,
    pub(super) end: Offset,
    /// What the group has committed.
    pub(super) committed: Option<Offset>,
}

/// The topic's present life.
pub(super) struct Topic {
    pub(super) source: SourceId,
    pub(super) logs: BTreeMap<Partition, Log>,
}

/// Asks for the topic's life, and for one partition, or for all.
pub(super) async fn topic(kafka: &Kafka, route: &Route, only: Option<Partition>) -> Result<Topic, OffsetsError> {
    let (config, name) = (kafka.clone(), route.topic.clone());
    let asking = tokio::task::spawn_blocking(move || ask(&config, &name, only));
    let answer = asking.await.map_err(OffsetsError::Thread)?;
    answer.map_err(|source| OffsetsError::Kafka { bootstrap_servers: kafka.bootstrap_servers.clone(), source })
}

fn ask(kafka: &Kafka, topic: &str, only: Option<Partition>) -> Result<Topic, AskError> {
    let inquirer = Inquirer::new(kafka)?;
    let cluster = inquirer.cluster_id(ASK_TIMEOUT)?;
    let described = inquirer.describe_topic(topic, ASK_TIMEOUT)?;
    let mut logs = BTreeMap::new();
    for partition in (0..described.partition_count).filter(|partition| only.is_none_or(|only| only == *partition)) {
        let (start, end) = inquirer.watermarks(topic, partition, ASK_TIMEOUT)?;
        let committed = inquirer.committed(topic, partition, ASK_TIMEOUT)?.map(|(offset, _)| offset);
        logs.insert(partition, Log { start, end, committed });
    }
    Ok(Topic { source: source_id(&cluster, &described.topic_id), logs })
}
