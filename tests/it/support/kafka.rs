//! Producers, and the group's commits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use footprint_event::generate::{GenerateOptions, Generator};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};

use super::oracle::Sent;
use super::stack;

pub fn client_config() -> ClientConfig {
    client_config_of(stack().kafka().unwrap().bootstrap())
}

/// The same for other brokers.
pub fn client_config_of(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// The place of each acknowledged record: number, partition, offset.
#[derive(Default)]
struct Places(Mutex<Vec<(usize, i32, i64)>>);

impl ClientContext for Places {}

impl ProducerContext for Places {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let message = result.as_ref().unwrap_or_else(|(error, _)| panic!("record {number} was not produced: {error}"));
        self.0.lock().unwrap().push((number, message.partition(), message.offset()));
    }
}

/// Sends generated records to one topic, and remembers them.
pub struct Feed {
    producer: BaseProducer<Places>,
    generator: Generator,
    topic: String,
    partitions: usize,
    /// The number of records sent so far. It decides the partition and the time of the next one.
    count: usize,
    start_ms: i64,
}

impl Feed {
    pub fn new(bootstrap: &str, topic: &str, partitions: usize, seed: u64, bad_share: f64) -> Self {
        Self::of(client_config_of(bootstrap), topic, partitions, seed, bad_share)
    }

    /// A transactional producer. The test begins each transaction, and commits or aborts it.
    pub fn transactional(topic: &str, partitions: usize, seed: u64) -> Self {
        let mut config = client_config();
        config.set("transactional.id", format!("{topic}-{seed}")).set("transaction.timeout.ms", "300000");
        let feed = Self::of(config, topic, partitions, seed, 0.0);
        feed.producer.init_transactions(Duration::from_secs(30)).unwrap();
        feed
    }

    /// Begins a transaction.
    pub fn begin(&self) {
        self.producer.begin_transaction().unwrap();
    }

    /// Commits the open transaction.
    pub fn commit(&self) {
        self.producer.commit_transaction(Duration::from_secs(30)).unwrap();
    }

    /// Aborts the open transaction.
    pub fn abort(&self) {
        self.producer.abort_transaction(Duration::from_secs(30)).unwrap();
    }

    fn of(mut config: ClientConfig, topic: &str, partitions: usize, seed: u64, bad_share: f64) -> Self {
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.max.bytes", "8000000")
            .set("message.timeout.ms", "120000")
            .set("queue.buffering.max.messages", "200000");
        let producer = config.create_with_context(Places::default()).unwrap();
        let options = GenerateOptions { bad_share, ..GenerateOptions::default() };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let start_ms = i64::try_from(since_epoch.as_millis()).unwrap();
        let generator = Generator::new(seed, options);
        Self { producer, generator, topic: topic.to_owned(), partitions, count: 0, start_ms }
    }

    /// Sends `count` records, waits until Kafka has acknowledged all of them, and returns them with their places.
    pub fn send(&mut self, count: usize) -> Vec<(i32, i64, Sent)> {
        let mut sent: Vec<Option<Sent>> = Vec::with_capacity(count);
        for number in 0..count {
            let timestamp_ms = self.start_ms + i64::try_from(self.count / 16).unwrap();
            let partition = i32::try_from(self.count / 50 % self.partitions).unwrap();
            self.count += 1;
            let generated = self.generator.generate();
            let headers = generated
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
            sent.push(Some(Sent {
                timestamp_ms,
                payload: generated.payload.map(<[u8]>::to_vec),
                key: generated.key.map(<[u8]>::to_vec),
                header_count: generated.headers.len(),
                fault: generated.fault,
            }));
            let mut record = BaseRecord::with_opaque_to(&self.topic, number)
                .partition(partition)
                .timestamp(timestamp_ms)
                .headers(headers);
            record.payload = generated.payload;
            record.key = generated.key;
            while let Err((error, again)) = self.producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                assert_eq!(error, full, "produce");
                self.producer.poll(Duration::from_millis(10));
                record = again;
            }
            if number % 1_000 == 0 {
                self.producer.poll(Duration::ZERO);
            }
        }
        self.producer.flush(Duration::from_secs(120)).unwrap();
        let places = std::mem::take(&mut *self.producer.context().0.lock().unwrap());
        assert_eq!(places.len(), count, "every record has its place");
        let placed = |(number, partition, offset): (usize, i32, i64)| {
            (partition, offset, sent[number].take().expect("one place a record"))
        };
        places.into_iter().map(placed).collect()
    }
}

impl Feed {
    /// Sends these payloads to one partition, in order, each with a key and a header.
    pub fn send_these(&mut self, partition: i32, payloads: &[String]) -> Vec<(i32, i64, Sent)> {
        self.send_at(partition, payloads, |_| self.start_ms)
    }

    /// The same. `time_ms` returns the time of each record by its index.
    pub fn send_at(
        &self,
        partition: i32,
        payloads: &[String],
        time_ms: impl Fn(usize) -> i64,
    ) -> Vec<(i32, i64, Sent)> {
        for (number, payload) in payloads.iter().enumerate() {
            let headers = OwnedHeaders::new().insert(Header { key: "from", value: Some("a test") });
            let record = BaseRecord::with_opaque_to(&self.topic, number)
                .partition(partition)
                .timestamp(time_ms(number))
                .key("a key")
                .payload(payload)
                .headers(headers);
            assert!(self.producer.send(record).is_ok());
        }
        self.producer.flush(Duration::from_secs(120)).unwrap();
        let mut places = std::mem::take(&mut *self.producer.context().0.lock().unwrap());
        places.sort_unstable();
        let sent = |number: usize| Sent {
            timestamp_ms: time_ms(number),
            payload: Some(payloads[number].clone().into_bytes()),
            key: Some(b"a key".to_vec()),
            header_count: 1,
            fault: None,
        };
        places.into_iter().map(|(number, partition, offset)| (partition, offset, sent(number))).collect()
    }
}

/// A group's commits for a topic: offset and mark by partition.
pub fn committed(bootstrap: &str, group: &str, topic: &str, partitions: usize) -> BTreeMap<i32, (i64, String)> {
    let consumer: Arc<BaseConsumer> = Arc::new(client_config_of(bootstrap).set("group.id", group).create().unwrap());
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, i32::try_from(partitions).unwrap() - 1);
    let list = consumer.committed_offsets(list, Duration::from_secs(10)).unwrap();
    let known = list.elements();
    let offsets = known.iter().filter_map(|element| match element.offset() {
        rdkafka::Offset::Offset(offset) => Some((element.partition(), (offset, element.metadata().to_owned()))),
        _ => None,
    });
    offsets.collect()
}

/// Gives a topic more partitions.
pub fn add_partitions(topic: &str, partitions: usize) {
    let admin: AdminClient<DefaultClientContext> = client_config().create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let added = [NewPartitions::new(topic, partitions)];
    let answers = runtime.block_on(admin.create_partitions(&added, &AdminOptions::new())).unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// Makes Kafka delete the records of a partition below an offset, as retention does.
pub fn delete_records(topic: &str, partition: i32, below: i64) {
    let admin: AdminClient<DefaultClientContext> = client_config().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(below)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deleted = runtime.block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
    deleted.find_partition(topic, partition).unwrap().error().unwrap();
}

/// Commits for a group like an old consumer, without our mark.
pub fn commit_as_another(group: &str, topic: &str, offsets: impl IntoIterator<Item = (i32, i64)>) {
    let consumer: BaseConsumer = client_config().set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(offset)).unwrap();
    }
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

/// Another program's consumer: a member of the group that polls and commits nothing. It leaves on drop.
pub struct Stranger {
    stop: Arc<AtomicBool>,
    partitions: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Stranger {
    /// Joins, with an assignor of librdkafka.
    pub fn join(group: &str, topic: &str, client_id: &str, assignor: &str) -> Self {
        let mut config = client_config();
        config
            .set("group.id", group)
            .set("client.id", client_id)
            .set("partition.assignment.strategy", assignor)
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "300")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let (stop, partitions) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (Arc::clone(&stop), Arc::clone(&partitions));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                drop(consumer.poll(Duration::from_millis(20)));
                counted.store(consumer.assignment().unwrap().count(), Ordering::SeqCst);
            }
            consumer.unsubscribe();
        });
        Self { stop, partitions, thread: Some(thread) }
    }

    /// The number of its partitions.
    pub fn partitions(&self) -> usize {
        self.partitions.load(Ordering::SeqCst)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
