//! The probes: small questions to each server, on connections of their own, whose answers go to the health of the route. They find
//! what the pipeline meets only when there is something to store, or only after a long wait: a server that is silent, a login that is
//! refused, a right that was taken away.

mod clickhouse;
mod kafka;
mod postgres;

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_service::config::Config;
use footprint_service::health::{Component, Health, Reporter, Severity};
use footprint_service::kafka::AskError;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::clickhouse::ClickHouseProbe;
use self::kafka::KafkaProbe;
use self::postgres::PostgresProbe;

/// The time from the beginning of one probe to that of the next.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long a probe may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// The components of a route: a database that is switched off is none of them.
pub(crate) fn components(config: &Config) -> Vec<Component> {
    let is_on = |&component: &Component| match component {
        Component::Postgres => config.postgres.enabled,
        Component::ClickHouse => config.clickhouse.enabled,
        _ => true,
    };
    Component::ALL.into_iter().filter(is_on).collect()
}

/// Probes the servers of all routes until the set is dropped.
///
/// # Errors
/// A property of Kafka's client is wrong.
pub(crate) fn start(config: &Config, boards: &[Arc<Health>]) -> Result<JoinSet<()>, AskError> {
    let kafka = KafkaProbe::new(config)?;
    let mut probes = JoinSet::new();
    for (route, health) in config.routes.iter().zip(boards) {
        probes.spawn(watch_kafka(kafka.clone(), route.topic.clone(), Arc::clone(health)));
        probes.spawn(watch_postgres(PostgresProbe::new(config, route), Arc::clone(health)));
        if config.clickhouse.enabled {
            probes.spawn(watch_clickhouse(ClickHouseProbe::new(config, route), Arc::clone(health)));
        }
    }
    Ok(probes)
}

async fn watch_kafka(probe: KafkaProbe, topic: String, health: Arc<Health>) {
    let (kafka, of_topic) = (health.reporter(Component::Kafka), health.reporter(Component::Topic));
    let mut interval = interval();
    loop {
        interval.tick().await;
        let began = Instant::now();
        probe.look(&topic, DEADLINE, &kafka, &of_topic, began).await;
    }
}

async fn watch_postgres(probe: PostgresProbe, health: Arc<Health>) {
    let (ledger, rows) = (health.reporter(Component::Ledger), health.reporter(Component::Postgres));
    let mut interval = interval();
    loop {
        interval.tick().await;
        let began = Instant::now();
        if timeout(DEADLINE, probe.look(&ledger, &rows, began)).await.is_err() {
            [&ledger, &rows].into_iter().for_each(|reporter| silent(reporter, "DB_HOST", began));
        }
    }
}

async fn watch_clickhouse(probe: ClickHouseProbe, health: Arc<Health>) {
    let reporter = health.reporter(Component::ClickHouse);
    let mut interval = interval();
    loop {
        interval.tick().await;
        let began = Instant::now();
        if timeout(DEADLINE, probe.look(&reporter, began)).await.is_err() {
            silent(&reporter, "CH_HOST", began);
        }
    }
}

fn interval() -> tokio::time::Interval {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// Reports that the server at the address that `host` names gave no answer.
fn silent(reporter: &Reporter, host: &str, began: Instant) {
    let what_to_do = format!("is it up, is {host} right? a server that is stopped or overloaded answers nobody");
    reporter.says(Severity::Passing, format!("no answer in {DEADLINE:?}"), what_to_do, began);
}

/// How bad it is if trying again helps, or does not.
fn severity(is_passing: bool) -> Severity {
    if is_passing { Severity::Passing } else { Severity::Lasting }
}
