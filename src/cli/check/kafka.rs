//! Kafka's part of `check`: the broker, the group, and each route's topic.

mod retention;
mod topic;

use std::time::{Duration, Instant};

use footprint_event::route::Route;
use footprint_service::config::Config;
use footprint_service::kafka::members::OtherConsumers;
use footprint_service::kafka::retention::Replicas;
use footprint_service::kafka::{AskError, Inquirer, TopicDescription, topic_settings};

use footprint_service::report::Chain;

use super::finding::{Findings, Line, Subject};
use super::{QUESTION_MAX, SERVER_MAX};

/// What the broker says.
struct Answers {
    cluster: String,
    other_consumers: Result<OtherConsumers, AskError>,
    topics: Vec<TopicAnswers>,
}

/// A topic, and the brokers that hold it.
type TopicAnswers = Result<(TopicDescription, Replicas), AskError>;

pub(super) async fn check(config: &Config) -> Findings {
    let mut findings = Findings::default();
    let server = Subject::shared("kafka");
    let servers = &config.kafka.bootstrap_servers;
    let until = Instant::now() + SERVER_MAX;
    let answers = match ask(config, until).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => {
            findings.failed(Line::KafkaAnswers, &Subject::shared(format!("kafka: {servers}")), &error);
            return findings;
        }
        Err(error) => {
            findings.wrong(Line::KafkaAnswers, &server, error, "report this");
            return findings;
        }
    };
    findings.ok(Line::KafkaAnswers, &server, format!("{servers} answers, cluster {}", answers.cluster));
    check_group(&config.kafka.group_id, answers.other_consumers, &mut findings);
    for (route, description) in config.routes.iter().zip(answers.topics) {
        check_topic(config, route, description, until, &mut findings).await;
    }
    findings
}

/// The time for a question: the usual time, or what is left until `until`.
fn time_left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).min(QUESTION_MAX)
}

/// Asks the questions that block.
async fn ask(config: &Config, until: Instant) -> Result<Result<Answers, AskError>, tokio::task::JoinError> {
    let kafka = config.kafka.clone();
    let topics: Vec<String> = config.routes.iter().map(|route| route.topic.clone()).collect();
    let asked = tokio::task::spawn_blocking(move || {
        let inquirer = Inquirer::new(&kafka)?;
        let of_topic = |topic: &String| {
            let description = inquirer.describe_topic(topic, time_left(until))?;
            Ok((description, inquirer.replicas(topic, time_left(until))?))
        };
        Ok(Answers {
            cluster: inquirer.cluster_id(time_left(until))?,
            other_consumers: inquirer.other_consumers(time_left(until)),
            topics: topics.iter().map(of_topic).collect(),
        })
    });
    asked.await
}

/// An old consumer that still runs keeps partitions of the group, and stores their records itself.
fn check_group(group_id: &str, other_consumers: Result<OtherConsumers, AskError>, findings: &mut Findings) {
    let subject = Subject::shared(format!("group {group_id}"));
    match other_consumers {
        Ok(others) if others.is_empty() => findings.ok(Line::GroupMembers, &subject, "no other consumer is in it"),
        Ok(others) => {
            let remedy = "stop it: then footprint gets the partitions, and continues where it has committed";
            findings.wrong(Line::GroupMembers, &subject, format!("another consumer is in it: {others}"), remedy);
        }
        Err(error) => findings.failed(Line::GroupMembers, &subject, &error),
    }
}

async fn check_topic(config: &Config, route: &Route, answers: TopicAnswers, until: Instant, findings: &mut Findings) {
    let (topic, servers) = (&route.topic, &config.kafka.bootstrap_servers);
    let subject = Subject::of(route, format!("topic {topic}"));
    let (TopicDescription { topic_id, partition_count: count }, replicas) = match answers {
        Ok(answers) => answers,
        Err(AskError::NoTopic { .. }) => {
            let command = format!("kafka-topics.sh --bootstrap-server {servers} --create --topic {topic}");
            let remedy = format!("set TOPIC to the right name, or run: {command}");
            return findings.wrong(Line::TopicExists, &subject, "does not exist", remedy);
        }
        Err(error) => return findings.failed(Line::TopicExists, &subject, &error),
    };
    let partitions = if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") };
    findings.ok(Line::TopicExists, &subject, format!("{partitions}, id {topic_id}"));
    let about = topic::Topic { name: topic, servers, subject: &subject };
    about.check_replicas(&replicas, findings);
    match topic_settings(&config.kafka, topic, time_left(until)).await {
        Ok(settings) => {
            about.check_settings(&settings, &replicas, findings);
            retention::check(config, &about, count, &settings, time_left(until), findings).await;
        }
        Err(error) => {
            let user = config.kafka.properties.get("sasl.username").map_or("USER", String::as_str);
            let remedy = format!(
                "as an administrator, run: kafka-acls.sh --bootstrap-server {servers} --add --allow-principal User:{user} \
                 --operation DescribeConfigs --topic {topic}"
            );
            findings.wrong(Line::TopicSettings, &subject, Chain(&error), remedy);
        }
    }
}
