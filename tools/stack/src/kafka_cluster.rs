//! Several real Kafka brokers as one cluster: KRaft, and the first broker is also the controller. Every other broker learns of
//! topics through a connection to the controller. A caller may lead this connection through its own proxy, to delay it.

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::cache::Cache;
use crate::deadline::Deadline;
use crate::download::{self, Wanted};
use crate::error::StackError;
use crate::kafka::{FIXED_PROPERTIES, cluster_id, format_storage, is_ready, server_command};
use crate::kafka_admin as admin;
use crate::ports::Port;
use crate::progress::Progress;
use crate::run_dir::RunDir;
use crate::server::{Launch, Server};

/// How long it may take until all brokers know each other.
const TOGETHER_LIMIT: Duration = Duration::from_secs(60);

/// Brokers of one cluster, numbered from 1. Dropping it ends them and removes their data.
#[derive(Debug)]
pub struct KafkaCluster {
    // Dropped in this order: the servers before their data.
    brokers: Vec<Server>,
    addresses: Vec<String>,
    _ports: Vec<Port>,
    _run_dir: RunDir,
}

impl KafkaCluster {
    /// Starts `count` brokers. `way` receives the controller's port, and returns the port that all other brokers use to reach it.
    pub fn start(count: u16, progress: &Progress, way: impl FnOnce(u16) -> u16) -> Result<Self, StackError> {
        let cache = Cache::open()?;
        download::check_prerequisites(&cache, Wanted { kafka: true, postgres: false, clickhouse: false })?;
        let libraries = download::kafka(&cache, progress)?;
        let run_dir = RunDir::temporary(&cache)?;
        let step = progress.step("Starting a Kafka cluster");
        let ports = (0..=count).map(|_| Port::lease(&cache)).collect::<Result<Vec<_>, _>>()?;
        let controller = ports[0].number();
        let way = way(controller);
        let id = cluster_id(&run_dir.server("kafka-cluster")?)?;
        let addresses: Vec<String> = ports[1..].iter().map(|port| format!("127.0.0.1:{}", port.number())).collect();
        let start = |(number, address): (u16, &String)| {
            let directory = run_dir.server(&format!("kafka-{number}"))?;
            let node = Node { number, address, controller, way, data: directory.join("data") };
            Server::start(node.launch(&libraries, &directory, &id)?)
        };
        // all at once: none is ready before it has found the controller
        let brokers = std::thread::scope(|scope| {
            let nodes = (1..=count).zip(&addresses);
            let started: Vec<_> = nodes.map(|node| scope.spawn(move || start(node))).collect();
            let ended = |start: ScopedJoinHandle<'_, _>| start.join().unwrap_or_else(|panic| resume_unwind(panic));
            started.into_iter().map(ended).collect::<Result<Vec<_>, StackError>>()
        })?;
        let cluster = Self { brokers, addresses, _ports: ports, _run_dir: run_dir };
        cluster.wait_for_each_other()?;
        step.done();
        Ok(cluster)
    }

    /// `host:port` of every broker, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.addresses.join(",")
    }

    /// `host:port` of one broker, numbered from 1.
    pub fn address(&self, number: usize) -> &str {
        &self.addresses[number - 1]
    }

    /// One broker, numbered from 1.
    pub fn broker(&self, number: usize) -> &Server {
        &self.brokers[number - 1]
    }

    /// Creates a topic. The brokers of `replicas` keep its partitions, and the first of them leads. Asks one broker, and waits
    /// until that broker knows the topic. The others may not know it yet.
    pub fn create_topic_at(&self, broker: usize, topic: &str, replicas: &[Vec<i32>]) -> Result<(), StackError> {
        let client = self.client_of(broker)?;
        admin::create_topic(&client, broker, topic, replicas)?;
        self.wait_until_known(&client, broker, topic, true)
    }

    /// Deletes a topic, in the same way.
    pub fn delete_topic_at(&self, broker: usize, topic: &str) -> Result<(), StackError> {
        let client = self.client_of(broker)?;
        admin::delete_topic(&client, broker, topic)?;
        self.wait_until_known(&client, broker, topic, false)
    }

    fn client_of(&self, broker: usize) -> Result<BaseConsumer, StackError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address(broker)).create().map_err(admin::refused)
    }

    fn wait_until_known(
        &self,
        client: &BaseConsumer,
        broker: usize,
        topic: &str,
        wanted: bool,
    ) -> Result<(), StackError> {
        Deadline::after(TOGETHER_LIMIT).poll(&format!("topic {topic} at broker {broker}"), || {
            Ok((admin::knows_topic(client, broker, topic)? == wanted).then_some(()))
        })
    }

    fn wait_for_each_other(&self) -> Result<(), StackError> {
        let wanted = self.brokers.len();
        Deadline::after(TOGETHER_LIMIT).poll("the brokers know each other", || {
            let knows_all = |address: &String| {
                let client = ClientConfig::new().set("bootstrap.servers", address).create::<BaseConsumer>();
                let metadata = client.and_then(|client| client.fetch_metadata(None, Duration::from_secs(1)));
                metadata.is_ok_and(|metadata| metadata.brokers().len() == wanted)
            };
            Ok(self.addresses.iter().all(knows_all).then_some(()))
        })
    }
}

/// One broker of a cluster.
struct Node<'a> {
    number: u16,
    address: &'a str,
    /// The controller's port.
    controller: u16,
    /// The port that the other brokers use to reach the controller.
    way: u16,
    data: PathBuf,
}

impl Node<'_> {
    fn launch(self, libraries: &Path, directory: &Path, id: &str) -> Result<Launch, StackError> {
        let configuration = directory.join("server.properties");
        fs::write(&configuration, self.properties()).map_err(StackError::file("write", &configuration))?;
        format_storage(libraries, directory, &configuration, id, &[])?;
        let (libraries, directory) = (libraries.to_owned(), directory.to_owned());
        let (address, id) = (self.address.to_owned(), id.to_owned());
        Ok(Launch {
            small_disk: None,
            name: "Kafka",
            log: directory.join("kafka.log"),
            stop_signal: libc::SIGTERM,
            drop_signal: libc::SIGKILL,
            command: Box::new(move || server_command(&libraries, &directory, &configuration)),
            ready: Box::new(move || is_ready(&address, &id)),
        })
    }

    /// A broker that hears nothing from the controller stays a member for ten seconds, and so long one that comes back waits. The first broker reaches the controller
    /// directly, whatever becomes of the others.
    fn properties(&self) -> String {
        let Self { number, address, controller, way, data } = self;
        let (roles, listener, advertised, voter) = if *number == 1 {
            let advertised = format!(",CONTROLLER://127.0.0.1:{way}");
            ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}"), advertised, controller)
        } else {
            ("broker", String::new(), String::new(), way)
        };
        format!(
            "process.roles={roles}\n\
             node.id={number}\n\
             controller.quorum.voters=1@127.0.0.1:{voter}\n\
             listeners=BROKER://{address}{listener}\n\
             advertised.listeners=BROKER://{address}{advertised}\n\
             listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=BROKER\n\
             controller.listener.names=CONTROLLER\n\
             broker.session.timeout.ms=10000\n\
             log.dirs={data}\n\
             {FIXED_PROPERTIES}\
             offsets.topic.replication.factor=3\n",
            data = data.display(),
        )
    }
}
