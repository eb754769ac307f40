//! A real Kafka broker: KRaft, one node that is broker and controller, on two ports.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use crate::blocking;
use crate::cache::{Cache, remove_tree};
use crate::deadline::Deadline;
use crate::download;
use crate::error::StackError;
use crate::kafka_security::KafkaSecurity;
use crate::ports::Port;
use crate::progress::Progress;
use crate::run_dir::RunDir;
use crate::secret;
use crate::server::{Launch, Server};
use crate::spawner;
use crate::tool;

const NAME: &str = "Kafka";
const FORMAT_LIMIT: Duration = Duration::from_secs(60);
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// One request for metadata while waiting for readiness.
const PROBE_LIMIT: Duration = Duration::from_millis(500);
const CONSOLE_LIMIT: Duration = Duration::from_secs(300);

/// A running Kafka. It derefs to its [`Server`], which can be killed, paused, restarted and so on.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    bootstrap: String,
    security: Option<KafkaSecurity>,
    libraries: PathBuf,
    directory: PathBuf,
    _ports: [Port; 2],
}

impl Deref for Kafka {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Kafka {
    /// Downloads Kafka if needed and starts it with its data in `run_dir`. `secured`: also with listeners that ask for a login.
    pub(crate) fn start_in(
        cache: &Cache,
        run_dir: &RunDir,
        secured: bool,
        progress: &Progress,
    ) -> Result<Self, StackError> {
        let libraries = download::kafka(cache, progress)?;
        let step = progress.step("Starting Kafka");
        let directory = run_dir.server("kafka")?;
        let ports = [Port::lease(cache)?, Port::lease(cache)?];
        let [broker, controller] = [ports[0].number(), ports[1].number()];
        let configuration = directory.join("server.properties");
        let data = directory.join("data");
        let security = if secured { Some(KafkaSecurity::prepare(cache, &directory)?) } else { None };
        let text = properties(broker, controller, security.as_ref(), &data);
        fs::write(&configuration, text).map_err(StackError::file("write", &configuration))?;
        let cluster_id = cluster_id(&directory)?;
        // The tool writes this file last. If it is missing, the formatting was interrupted.
        if !data.join("meta.properties").exists() {
            remove_tree(&data)?;
            let more = security.as_ref().map_or_else(Vec::new, KafkaSecurity::format_arguments);
            format_storage(&libraries, &directory, &configuration, &cluster_id, &more)?;
        }
        let bootstrap = format!("127.0.0.1:{broker}");
        let launch = Launch {
            small_disk: None,
            name: NAME,
            log: directory.join("kafka.log"),
            stop_signal: libc::SIGTERM,
            drop_signal: libc::SIGKILL,
            command: Box::new({
                let (libraries, directory) = (libraries.clone(), directory.clone());
                move || server_command(&libraries, &directory, &configuration)
            }),
            ready: Box::new({
                let bootstrap = bootstrap.clone();
                move || is_ready(&bootstrap, &cluster_id)
            }),
        };
        let server = Server::start(launch)?;
        step.done();
        Ok(Self { server, bootstrap, security, libraries, directory, _ports: ports })
    }

    /// The listeners that ask for a login. It is an error if the stack was started without them.
    pub fn security(&self) -> Result<&KafkaSecurity, StackError> {
        self.security.as_ref().ok_or(StackError::NotStarted { server: "Kafka's secured listeners" })
    }

    /// The directory of a partition's log.
    pub fn log_directory(&self, topic: &str, partition: u16) -> PathBuf {
        self.directory.join("data").join(format!("{topic}-{partition}"))
    }

    /// `host:port`, for `bootstrap.servers`. It is the same after every restart.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Creates a topic, e.g. with `&[("cleanup.policy", "compact")]`, and waits until every partition has its leader.
    pub fn create_topic(&self, topic: &str, partitions: u16, config: &[(&str, &str)]) -> Result<(), StackError> {
        let new = NewTopic {
            name: topic,
            num_partitions: i32::from(partitions),
            replication: TopicReplication::Fixed(1),
            config: config.to_vec(),
        };
        let admin = self.admin()?;
        blocking::run(&format!("creating topic {topic}"), REQUEST_LIMIT, async {
            let results = admin.create_topics([&new], &admin_options()).await.map_err(refused)?;
            one_result(results)
        })?;
        self.wait_for_topic(topic, |found| found == Some(usize::from(partitions)))
    }

    /// Deletes a topic and waits until the broker no longer knows it.
    pub fn delete_topic(&self, topic: &str) -> Result<(), StackError> {
        let admin = self.admin()?;
        blocking::run(&format!("deleting topic {topic}"), REQUEST_LIMIT, async {
            let results = admin.delete_topics(&[topic], &admin_options()).await.map_err(refused)?;
            one_result(results)
        })?;
        self.wait_for_topic(topic, |found| found.is_none())
    }

    /// The number of partitions of a topic. `None`: there is no such topic.
    pub fn partition_count(&self, topic: &str) -> Result<Option<usize>, StackError> {
        led_partitions(&self.client()?, topic)
    }

    /// The offset after the last record of each partition of `topic`.
    pub fn end_offsets(&self, topic: &str) -> Result<BTreeMap<i32, i64>, StackError> {
        let client = self.client()?;
        let count = led_partitions(&client, topic)?.ok_or_else(|| refused(format!("no topic {topic}")))?;
        let end = |partition| client.fetch_watermarks(topic, partition, REQUEST_LIMIT).map(|(_, end)| (partition, end));
        (0..count as i32).map(end).collect::<Result<_, _>>().map_err(refused)
    }

    /// Sets how long the group waits for a silent member under the new protocol (KIP-848), and how often a member must send a
    /// heartbeat.
    pub fn set_group_session(&self, group: &str, session: Duration, heartbeat: Duration) -> Result<(), StackError> {
        let [session, heartbeat] = [session, heartbeat].map(|time| time.as_millis().to_string());
        let config = AlterConfig::new(ResourceSpecifier::Group(group))
            .set("consumer.session.timeout.ms", &session)
            .set("consumer.heartbeat.interval.ms", &heartbeat);
        let admin = self.admin()?;
        blocking::run(&format!("configuring group {group}"), REQUEST_LIMIT, async {
            for result in admin.alter_configs([&config], &admin_options()).await.map_err(refused)? {
                result.map_err(|(_, code)| refused(format!("group {group}: {code}")))?;
            }
            Ok(())
        })
    }

    /// Sets one setting of a topic; the others get their defaults.
    pub fn set_topic(&self, topic: &str, name: &str, value: &str) -> Result<(), StackError> {
        let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        let admin = self.admin()?;
        blocking::run(&format!("configuring topic {topic}"), REQUEST_LIMIT, async {
            for result in admin.alter_configs([&config], &admin_options()).await.map_err(refused)? {
                result.map_err(|(_, code)| refused(format!("topic {topic}: {code}")))?;
            }
            Ok(())
        })
    }

    /// Sends each line of `lines` as a record, with Kafka's own console producer.
    pub fn console_producer(&self, topic: &str, lines: &str) -> Result<(), StackError> {
        let mut command = java(&self.libraries, "-Xmx128m");
        command.arg("org.apache.kafka.tools.ConsoleProducer");
        command
            .args(["--bootstrap-server", &self.bootstrap, "--topic", topic, "--max-block-ms", "10000"])
            .current_dir("/");
        let log = self.directory.with_file_name(format!("console-producer-{}.log", secret::password()?));
        tool::run_fed("Kafka's console producer", command, &log, CONSOLE_LIMIT, lines)?;
        // The producer's exit status is 0 even if sending failed. Its errors are then in the log.
        let said = tool::tail(&log, 2_000);
        fs::remove_file(&log).map_err(StackError::file("remove", &log))?;
        match said.lines().find(|line| line.contains("ERROR") || line.contains("Exception")) {
            Some(line) => Err(StackError::Refused { server: NAME, message: line.to_owned() }),
            None => Ok(()),
        }
    }

    /// Lets `user` do only these operations on a topic, with Kafka's own tool. Until then it may do everything.
    pub fn allow(&self, user: &str, operations: &[&str], topic: &str) -> Result<(), StackError> {
        let mut command = java(&self.libraries, "-Xmx128m");
        command
            .arg("org.apache.kafka.tools.AclCommand")
            .args(["--bootstrap-server", &self.bootstrap, "--add", "--topic", topic])
            .args(["--allow-principal", &format!("User:{user}")])
            .args(operations.iter().flat_map(|operation| ["--operation", operation]))
            .current_dir("/");
        let log = self.directory.with_file_name(format!("acls-{}.log", secret::password()?));
        tool::run("Kafka's access control tool", command, &log, CONSOLE_LIMIT)?;
        fs::remove_file(&log).map_err(StackError::file("remove", &log))
    }

    fn client(&self) -> Result<BaseConsumer, StackError> {
        client_config(&self.bootstrap).create().map_err(refused)
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, StackError> {
        client_config(&self.bootstrap).create().map_err(refused)
    }

    fn wait_for_topic(&self, topic: &str, wanted: impl Fn(Option<usize>) -> bool) -> Result<(), StackError> {
        let client = self.client()?;
        Deadline::after(REQUEST_LIMIT)
            .poll(&format!("topic {topic}"), || led_partitions(&client, topic).map(|found| wanted(found).then_some(())))
    }
}

fn client_config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
    config
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(REQUEST_LIMIT)).request_timeout(Some(REQUEST_LIMIT))
}

fn refused(error: impl std::fmt::Display) -> StackError {
    StackError::Refused { server: NAME, message: error.to_string() }
}

fn one_result(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<(), StackError> {
    for result in results {
        result.map_err(|(topic, code)| refused(format!("{topic}: {code}")))?;
    }
    Ok(())
}

/// How many partitions of `topic` have a leader. `None`: the topic does not exist.
fn led_partitions(client: &BaseConsumer, topic: &str) -> Result<Option<usize>, StackError> {
    let metadata = client.fetch_metadata(Some(topic), REQUEST_LIMIT).map_err(refused)?;
    let known = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    Ok(known.map(|found| found.partitions().iter().filter(|partition| partition.leader() >= 0).count()))
}

/// Ready means that it answers as the cluster that we have formatted, and counts itself among the live brokers.
pub(crate) fn is_ready(bootstrap: &str, cluster_id: &str) -> bool {
    let Ok(client) = client_config(bootstrap).create::<BaseConsumer>() else { return false };
    client.fetch_metadata(None, PROBE_LIMIT).is_ok_and(|metadata| !metadata.brokers().is_empty())
        && client.client().fetch_cluster_id(PROBE_LIMIT).as_deref() == Some(cluster_id)
}

fn properties(broker: u16, controller: u16, security: Option<&KafkaSecurity>, data: &Path) -> String {
    let listeners = security.map_or_else(String::new, KafkaSecurity::listeners);
    let protocols = security.map_or_else(String::new, KafkaSecurity::protocols);
    let secured = security.map_or("", KafkaSecurity::properties);
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=BROKER://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}{listeners}\n\
         advertised.listeners=BROKER://127.0.0.1:{broker}{listeners}\n\
         listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
         inter.broker.listener.name=BROKER\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={data}\n\
         {secured}{FIXED_PROPERTIES}",
        data = data.display(),
    )
}

/// One broker, so one replica of everything. Few internal partitions, since each costs files and start-up time. Short sessions
/// are allowed, so that a test need not wait 45 s for a dead member.
pub(crate) const FIXED_PROPERTIES: &str = "\
auto.create.topics.enable=false
delete.topic.enable=true
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
default.replication.factor=1
min.insync.replicas=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=1000
group.consumer.session.timeout.ms=6000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
";

fn java(libraries: &Path, memory: &str) -> Command {
    let mut command = Command::new("java");
    command.arg(memory).arg("-cp").arg(libraries.join("*"));
    command
}

pub(crate) fn server_command(libraries: &Path, directory: &Path, configuration: &Path) -> Command {
    let mut command = java(libraries, "-Xmx512m");
    command
        // It lives for minutes. The better compiler would be busy all that time, at the expense of what is measured, with code
        // that a broker compiles once in days.
        .arg("-XX:TieredStopAtLevel=1")
        .args(["-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info"])
        .arg("kafka.Kafka")
        .arg(configuration)
        .current_dir(directory);
    command
}

pub(crate) fn format_storage(
    libraries: &Path,
    directory: &Path,
    configuration: &Path,
    id: &str,
    more: &[String],
) -> Result<(), StackError> {
    // It lives only a short time. With the quick compiler and the smallest collector it takes half a second less.
    let mut command = java(libraries, "-Xmx128m");
    command
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "kafka.tools.StorageTool", "format"])
        .args(["--cluster-id", id, "--config"])
        .arg(configuration)
        .args(more)
        .current_dir(directory);
    spawner::as_server_user(&mut command);
    tool::run("Kafka's storage tool", command, &directory.join("format.log"), FORMAT_LIMIT)
}

/// The cluster's id, made once for a data directory.
pub(crate) fn cluster_id(directory: &Path) -> Result<String, StackError> {
    let path = directory.join("cluster.id");
    if let Ok(id) = fs::read_to_string(&path) {
        return Ok(id);
    }
    let mut bytes = secret::random::<16>()?;
    // Kafka's own tools take an id that begins with '-' (one in 64) for an option. A first bit of 0 prevents that.
    if let Some(first) = bytes.first_mut() {
        *first &= 0x7f;
    }
    let id = base64_url(&bytes);
    fs::write(&path, &id).map_err(StackError::file("write", &path))?;
    Ok(id)
}

/// 22 characters for 16 bytes, the form of Kafka's Uuid: base64 for URLs, no padding (RFC 4648, section 5).
fn base64_url(bytes: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = u128::from_be_bytes(*bytes);
    // 128 bits are 21 whole digits of 6 bits and one of 2, which are the high bits of its digit.
    let digits = (0..21).map(|place| number >> (122 - 6 * place)).chain([number << 4]);
    digits.map(|digit| char::from(ALPHABET[(digit & 63) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::base64_url;

    #[test]
    fn cluster_ids_are_base64() {
        assert_eq!(base64_url(&[0; 16]), "A".repeat(22));
        assert_eq!(base64_url(&[255; 16]), format!("{}w", "_".repeat(21)));
        assert_eq!(base64_url(&std::array::from_fn(|index| index as u8)), "AAECAwQFBgcICQoLDA0ODw");
    }
}
