//! The probe of Kafka: does a broker answer, is the topic there, has each partition a leader?

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_service::config::Config;
use footprint_service::health::{Reporter, Severity};
use footprint_service::kafka::{AskError, Inquirer, Leaders};
use tokio::task::spawn_blocking;

use super::severity;

/// How many partitions a message names.
const NAMED_MAX: usize = 10;

/// One client for the questions about all topics.
#[derive(Clone)]
pub(super) struct KafkaProbe {
    inquirer: Arc<Inquirer>,
    servers: String,
}

impl KafkaProbe {
    pub(super) fn new(config: &Config) -> Result<Self, AskError> {
        let inquirer = Arc::new(Inquirer::new(&config.kafka)?);
        Ok(Self { inquirer, servers: config.kafka.bootstrap_servers.clone() })
    }

    /// Asks once.
    pub(super) async fn look(
        &self,
        topic: &str,
        deadline: Duration,
        kafka: &Reporter,
        of_topic: &Reporter,
        began: Instant,
    ) {
        let (inquirer, name) = (Arc::clone(&self.inquirer), topic.to_owned());
        let asked = spawn_blocking(move || inquirer.leaders(&name, deadline)).await;
        match asked {
            Ok(Ok(leaders)) => {
                kafka.good();
                report_leaders(topic, &leaders, of_topic, began);
            }
            Ok(Err(error @ AskError::NoTopic { .. })) => {
                kafka.good();
                of_topic.bad(Severity::Lasting, &error, began);
            }
            Ok(Err(error)) => {
                let otherwise = format!("are the brokers at {} up, is kafka.bootstrap_servers right?", self.servers);
                kafka.bad_or(severity(!error.is_final()), &error, &otherwise, began);
            }
            // the question was not asked
            Err(_) => {}
        }
    }
}

fn report_leaders(topic: &str, leaders: &Leaders, of_topic: &Reporter, began: Instant) {
    let Leaders { count, missing } = leaders;
    if missing.is_empty() {
        return of_topic.good();
    }
    let named: Vec<String> = missing.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = if missing.len() > NAMED_MAX { ", ..." } else { "" };
    let why =
        format!("topic {topic}: {} of {count} partitions have no leader: {}{more}", missing.len(), named.join(", "));
    let severity = if missing.len() < *count { Severity::Partial } else { Severity::Passing };
    of_topic.says(severity, why, "start the brokers that hold these partitions; nobody can read or write them", began);
}
