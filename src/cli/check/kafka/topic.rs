//! A topic's replicas and settings: which of them can lose records, or give an offset to two records.

use std::collections::BTreeMap;

use footprint_service::kafka::retention::Replicas;

use super::super::finding::{Findings, Line, Subject};

/// The replicas that a reassignment gives each partition, at most.
const REPLICAS_WANTED: usize = 3;

/// A topic that is there.
pub(super) struct Topic<'a> {
    pub(super) name: &'a str,
    pub(super) servers: &'a str,
    pub(super) subject: &'a Subject,
}

impl Topic<'_> {
    /// The command that gives a setting of the topic this value.
    pub(super) fn to_set(&self, setting: &str, value: &str) -> String {
        let Self { name, servers, .. } = self;
        format!(
            "run: kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {name} \
             --add-config {setting}={value}"
        )
    }

    /// One replica on a cluster of several brokers: the loss of one broker is the loss of records.
    pub(super) fn check_replicas(&self, replicas: &Replicas, findings: &mut Findings) {
        let (fewest, brokers) = (replicas.fewest(), replicas.brokers.len());
        let text = format!("replicas {fewest}, brokers {brokers}");
        if fewest > 1 || brokers < 2 {
            return findings.ok(Line::TopicReplication, self.subject, text);
        }
        let remedy = format!(
            "in bash, run: kafka-reassign-partitions.sh --bootstrap-server {} --execute --reassignment-json-file <(echo '{}')",
            self.servers,
            reassignment(self.name, replicas)
        );
        let text = format!("{text}: the loss of one broker's disk loses records");
        findings.wrong(Line::TopicReplication, self.subject, text, remedy);
    }

    /// The settings that can lose records, or give an offset to two records.
    pub(super) fn check_settings(
        &self,
        settings: &BTreeMap<String, String>,
        replicas: &Replicas,
        findings: &mut Findings,
    ) {
        let of = |name: &str| settings.get(name).map(String::as_str).unwrap_or_default();
        let text = match of("message.timestamp.type") {
            "LogAppendTime" => {
                "received_at is the broker's clock (LogAppendTime), which nobody can ask without writing a record"
            }
            _ => "received_at is the producer's clock (CreateTime)",
        };
        findings.ok(Line::TopicSettings, self.subject, text);
        let (fewest, min) = (replicas.fewest(), of("min.insync.replicas"));
        if min.parse().is_ok_and(|min: usize| min > fewest) {
            let text = format!("min.insync.replicas is {min}, replicas {fewest}: no producer with acks=all can write");
            let remedy = self.to_set("min.insync.replicas", &fewest.to_string());
            findings.wrong(Line::TopicMinInsync, self.subject, text, remedy);
        }
        if of("unclean.leader.election.enable") == "true" {
            let text = "unclean.leader.election.enable: a new leader may lack records, and give their offsets to others, \
                        which would then count as stored";
            let remedy = self.to_set("unclean.leader.election.enable", "false");
            findings.wrong(Line::TopicUncleanElection, self.subject, text, remedy);
        }
        let policy = of("cleanup.policy");
        if policy.split(',').any(|word| word.trim() == "compact") {
            let text = format!("cleanup.policy is {policy}: compaction removes records, stored or not");
            findings.wrong(Line::TopicCompaction, self.subject, text, self.to_set("cleanup.policy", "delete"));
        }
    }
}

/// The JSON that gives each partition up to three replicas. The first one stays.
fn reassignment(topic: &str, replicas: &Replicas) -> String {
    let partitions: Vec<String> = replicas
        .partitions
        .iter()
        .enumerate()
        .map(|(partition, held)| {
            let first = held.first().copied();
            let others = replicas.brokers.iter().cycle().skip(partition).take(replicas.brokers.len());
            let mut all: Vec<i32> = first.into_iter().collect();
            all.extend(others.filter(|broker| Some(**broker) != first));
            all.truncate(REPLICAS_WANTED);
            format!("{{\"topic\":\"{topic}\",\"partition\":{partition},\"replicas\":{all:?}}}")
        })
        .collect();
    format!("{{\"version\":1,\"partitions\":[{}]}}", partitions.join(",")).replace(", ", ",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_keeps_its_first_replica_and_gets_others() {
        let replicas = Replicas { brokers: vec![1, 2, 3, 4], partitions: vec![vec![1], vec![3], vec![2]] };
        assert_eq!(
            reassignment("visits", &replicas),
            "{\"version\":1,\"partitions\":[{\"topic\":\"visits\",\"partition\":0,\"replicas\":[1,2,3]},\
             {\"topic\":\"visits\",\"partition\":1,\"replicas\":[3,2,4]},\
             {\"topic\":\"visits\",\"partition\":2,\"replicas\":[2,3,4]}]}"
        );
    }
}
