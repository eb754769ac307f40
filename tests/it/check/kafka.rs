//! What `check` finds wrong with Kafka, one test for each line.

use footprint_stack::KafkaSecurity;

use super::found::{check, found};
use super::ready;
use crate::support::databases::{fresh_database, told_by_environment};
use crate::support::kafka::Stranger;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

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
