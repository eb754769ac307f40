//! What `check` finds wrong with Kafka, one test for each line.

use std::time::{SystemTime, UNIX_EPOCH};

use footprint_stack::KafkaSecurity;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::found::{check, found};
use super::ready;
use crate::support::databases::{Databases, fresh_database, runtime, told_by_environment};
use crate::support::kafka::{Stranger, client_config, commit_as_another, delete_records};
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, cluster, stack};

#[test]
fn a_broker_that_is_not_there_is_named_with_its_setting() {
    let _up = calm();
    let mut databases = ready("check_no_broker");
    databases.config.kafka.bootstrap_servers = "127.0.0.1:1".into();
    let found = check(&databases.config);
    let finding = found.fault("kafka_answers");
    assert!(finding.text.starts_with("kafka: 127.0.0.1:1: ") && finding.text.contains("refused"), "{finding:?}");
    assert_eq!(finding.remedy, "is kafka.bootstrap_servers right and the broker up?");
    assert_eq!((finding.component.as_str(), finding.route), ("kafka", None));
    assert_eq!(found.ids("fault"), ["kafka_answers"], "the other servers are asked all the same");
}

#[test]
fn another_consumer_of_the_group_is_named() {
    let _up = calm();
    let databases = ready("check_group");
    let (group, topic) = (&databases.config.kafka.group_id, &databases.config.routes[0].topic);
    let stranger = Stranger::join(group, topic, "old-consumer", "range");
    until_or("it is in the group", STORED, || (stranger.partitions() > 0).then_some(()), String::new);
    let mut command = told_by_environment(&databases.config, "check");
    let finding = found(command.arg("--json").env("GROUP_ID", group)).fault("group_members");
    assert!(finding.text.contains("client \"old-consumer\" on 127.0.0.1"), "{finding:?}");
    assert!(finding.remedy.starts_with("stop it: "), "{finding:?}");
}

#[test]
fn a_missing_topic_comes_with_the_command_that_makes_it() {
    let _up = calm();
    let databases = fresh_database("check_topic");
    let topic = &databases.config.routes[0].topic;
    let finding = check(&databases.config).fault("topic_exists");
    assert_eq!(finding.text, format!("topic {topic}: does not exist"));
    assert_eq!((finding.component.as_str(), finding.route.as_deref()), ("topic", Some("user_footprint")));
    let bootstrap = stack().kafka().unwrap().bootstrap();
    let command = format!("kafka-topics.sh --bootstrap-server {bootstrap} --create --topic {topic}");
    assert_eq!(finding.to_run(), command);
}

/// A world whose program logs in as a user that may only do what is given to it on the topic.
fn with_rights(name: &str, operations: &[&str]) -> World {
    let kafka = stack().kafka().unwrap();
    let KafkaSecurity { sasl, user, password, .. } = kafka.security().unwrap();
    let mut world = World::new(name, 1, 0.0);
    world.set("kafka.bootstrap_servers", &format!("{sasl:?}"));
    let properties = format!(
        "{{ \"security.protocol\" = \"SASL_PLAINTEXT\", \"sasl.mechanisms\" = \"PLAIN\", \"sasl.username\" = {user:?}, \
         \"sasl.password\" = {password:?} }}"
    );
    world.set("kafka.properties", &properties);
    kafka.allow(user, operations, &world.topic).unwrap();
    world
}

#[test]
fn without_the_right_to_see_a_topics_settings_the_right_is_named() {
    let _up = calm();
    let world = with_rights("check_acl", &["Read", "Describe"]);
    let found = found(&mut world.program(&["check", "--json"]));
    let finding = found.note("topic_settings");
    assert!(finding.text.contains("does not show them to this user"), "{finding:?}");
    let command = finding.to_run();
    assert!(
        command.starts_with("kafka-acls.sh --bootstrap-server ") && command.contains("DescribeConfigs"),
        "{command}"
    );
    found.is_clean();
    found.ok("topic_exists");
}

/// A site whose topic has these settings.
fn with_settings(what: &str, settings: &[(&str, &str)]) -> Databases {
    let databases = fresh_database(what);
    stack().kafka().unwrap().create_topic(&databases.config.routes[0].topic, 1, settings).unwrap();
    runtime().block_on(databases.migrate());
    databases
}

#[test]
fn settings_of_a_topic_that_lose_records_come_with_the_command_that_ends_it() {
    let _up = calm();
    let settings = [
        ("cleanup.policy", "compact,delete"),
        ("unclean.leader.election.enable", "true"),
        ("min.insync.replicas", "2"),
    ];
    let databases = with_settings("check_topic_settings", &settings);
    let (bootstrap, topic) = (stack().kafka().unwrap().bootstrap(), &databases.config.routes[0].topic);
    let command = |setting: &str| {
        format!(
            "kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {topic} \
             --add-config {setting}"
        )
    };
    let found = check(&databases.config);
    assert_eq!(found.fault("topic_compaction").to_run(), command("cleanup.policy=delete"));
    assert_eq!(found.fault("topic_unclean_election").to_run(), command("unclean.leader.election.enable=false"));
    assert_eq!(found.fault("topic_min_insync").to_run(), command("min.insync.replicas=1"));
    // the others get their defaults
    stack().kafka().unwrap().set_topic(topic, "cleanup.policy", "delete").unwrap();
    check(&databases.config).is_clean();
}

#[test]
fn one_replica_on_several_brokers_is_noted_with_the_command_that_makes_more() {
    let (cluster, _proxy, _turn) = cluster();
    let _calm = calm();
    let mut databases = fresh_database("check_replicas");
    databases.config.kafka.bootstrap_servers = cluster.bootstrap();
    let topic = databases.config.routes[0].topic.clone();
    cluster.create_topic_at(1, &topic, &[vec![1], vec![3]]).unwrap();
    let finding = check(&databases.config).note("topic_replication");
    assert!(finding.text.contains("replicas 1, brokers 3"), "{finding:?}");
    let json = finding.to_run().split_once("<(echo '").unwrap().1.trim_end_matches("')");
    let document: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(document["partitions"][1]["replicas"], serde_json::json!([3, 2, 1]), "{json}");
}

#[test]
fn records_that_retention_deletes_before_they_are_read_are_noted() {
    const HOUR_MS: i64 = 3_600_000;
    let _up = calm();
    let databases = with_settings("check_retention", &[("retention.ms", &(100 * HOUR_MS).to_string())]);
    let (topic, group) = (&databases.config.routes[0].topic, &databases.config.kafka.group_id);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let producer: BaseProducer = client_config().create().unwrap();
    for hours in [60, 60, 1] {
        producer.send(BaseRecord::<(), str>::to(topic).payload("x").timestamp(now - hours * HOUR_MS)).unwrap();
    }
    producer.flush(STORED).unwrap();
    let found = || {
        let mut command = told_by_environment(&databases.config, "check");
        found(command.arg("--json").env("GROUP_ID", group))
    };
    found().ok("topic_retention");
    commit_as_another(group, topic, [(0, 2)]);
    found().ok("topic_retention");
    commit_as_another(group, topic, [(0, 1)]);
    let finding = found().note("topic_retention");
    assert!(finding.text.contains("oldest of 2 unread records has used half of retention.ms"), "{finding:?}");
    assert!(finding.to_run().ends_with(&format!("retention.ms={}", 200 * HOUR_MS)), "{finding:?}");
    delete_records(topic, 0, 2);
    let finding = found().note("topic_retention");
    assert!(finding.text.contains("1 records were deleted before they were read"), "{finding:?}");
}
