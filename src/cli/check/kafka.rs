//! Kafka's part of `check`: the broker, and each route's topic.

use std::time::Duration;

use footprint_service::config::Config;
use footprint_service::kafka::members::OtherConsumers;
use footprint_service::kafka::{AskError, Inquirer, TopicDescription, topic_timestamp_type};

use footprint_service::report::Chain;

use super::Report;

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn check(config: &Config, report: &mut Report<'_>) {
    let kafka = config.kafka.clone();
    let topics: Vec<String> = config.routes.iter().map(|route| route.topic.clone()).collect();
    // librdkafka's questions block
    let asked = tokio::task::spawn_blocking(move || {
        let inquirer = Inquirer::new(&kafka)?;
        let cluster = inquirer.cluster_id(TIMEOUT)?;
        let described = topics.iter().map(|topic| inquirer.describe_topic(topic, TIMEOUT)).collect();
        let other_consumers = inquirer.other_consumers(TIMEOUT);
        Ok::<(String, Vec<Result<TopicDescription, AskError>>, Result<OtherConsumers, AskError>), AskError>((
            cluster,
            described,
            other_consumers,
        ))
    });
    let servers = &config.kafka.bootstrap_servers;
    let described = match asked.await {
        Ok(Ok((cluster, described, other_consumers))) => {
            report.ok("kafka", format!("{servers} answers, cluster {cluster}"));
            check_group(&config.kafka.group_id, other_consumers, report);
            described
        }
        Ok(Err(error)) => {
            return report
                .fault("kafka", format!("{servers}: {}", Chain(&error).to_string().trim_start_matches("kafka: ")));
        }
        Err(error) => return report.fault("kafka", error),
    };
    for (route, description) in config.routes.iter().zip(described) {
        let what = format!("topic {}", route.topic);
        let description = match description {
            Ok(description) => description,
            Err(error) => {
                report.fault(&what, Chain(&error));
                continue;
            }
        };
        let count = description.partition_count;
        let partitions = if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") };
        let times = match topic_timestamp_type(&config.kafka, &route.topic, TIMEOUT).await {
            Ok(kind) if kind == "LogAppendTime" => "received_at is the broker's clock (LogAppendTime)".to_owned(),
            Ok(kind) => format!("received_at is the producer's clock ({kind})"),
            Err(error) => format!("message.timestamp.type is not known ({})", Chain(&error)),
        };
        report.ok(&what, format!("{partitions}, id {}, {times}", description.topic_id));
    }
}

/// An old consumer that still runs keeps partitions of the group, and stores their records itself.
fn check_group(group_id: &str, other_consumers: Result<OtherConsumers, AskError>, report: &mut Report) {
    let what = format!("group {group_id}");
    match other_consumers {
        Ok(others) if others.is_empty() => report.ok(&what, "no other consumer is in it"),
        Ok(others) => report.fault(&what, others.advice(group_id)),
        Err(error) => report.fault(&what, Chain(&error)),
    }
}
