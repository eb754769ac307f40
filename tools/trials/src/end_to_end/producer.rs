//! Sends events to Kafka at a steady rate, from a thread of this process. Unless the topic says otherwise, each record's Kafka timestamp is
//! the moment at which it was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use footprint_event::generate::{GenerateOptions, Generator};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::visible::now_us;

/// The time between two sends. Each sends all records that are due.
const BEAT: Duration = Duration::from_millis(1);
const FLUSH_LIMIT: Duration = Duration::from_secs(60);

/// Sends events until it is stopped.
pub(super) struct Producer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Sent>>>,
}

/// What a producer has sent, all of it acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// The number of records.
    pub(super) records: u64,
    /// The longest time by which it fell behind its rate.
    pub(super) late: Duration,
}

/// Counts what Kafka refused.
#[derive(Default)]
struct Refusals(AtomicU64);

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Producer {
    /// Sends `rate` records a second to the partitions in turn.
    pub(super) fn start(bootstrap: &str, topic: &str, partitions: u16, rate: u64) -> Result<Self> {
        let (producer, stop, topic) = (connect(bootstrap)?, Arc::new(AtomicBool::new(false)), topic.to_owned());
        let stopped = Arc::clone(&stop);
        let body = move || send_on(&producer, &topic, partitions, rate, &stopped);
        let thread = std::thread::Builder::new().name("producer".to_owned()).spawn(body)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops sending and waits until Kafka has acknowledged all.
    pub(super) fn finish(mut self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a producer is finished once")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Sends single records.
pub(super) struct Sender(BaseProducer<Refusals>);

impl Sender {
    /// A sender that reaches the broker with its first record.
    pub(super) fn connect(bootstrap: &str) -> Result<Self> {
        connect(bootstrap).map(Self)
    }

    /// Sends one record and waits until Kafka has acknowledged it.
    pub(super) fn send(&self, topic: &str, partition: i32) -> Result<()> {
        send(&self.0, topic, partition, &mut generator())?;
        flush(&self.0)
    }
}

fn connect(bootstrap: &str) -> Result<BaseProducer<Refusals>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        // the default of Kafka's own clients; a request for each record would keep the broker busier than the consumer
        .set("linger.ms", "5")
        .set("message.timeout.ms", FLUSH_LIMIT.as_millis().to_string());
    config.create_with_context(Refusals::default()).context("kafka producer")
}

fn generator() -> Generator {
    Generator::new(1, GenerateOptions { bad_share: 0.0, start_us: now_us(), ..GenerateOptions::default() })
}

fn send_on(
    producer: &BaseProducer<Refusals>,
    topic: &str,
    partitions: u16,
    rate: u64,
    stopped: &AtomicBool,
) -> Result<Sent> {
    let mut generator = generator();
    let started = Instant::now();
    let (mut records, mut late) = (0, Duration::ZERO);
    while !stopped.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        if records < due {
            late = late.max(Duration::from_secs_f64((due - records) as f64 / rate as f64));
        }
        while records < due {
            send(producer, topic, (records % u64::from(partitions)) as i32, &mut generator)?;
            records += 1;
        }
        producer.poll(Duration::ZERO);
        std::thread::sleep(BEAT);
    }
    flush(producer)?;
    Ok(Sent { records, late })
}

/// Gives one record to the client, and waits for room if its queue is full.
fn send(producer: &BaseProducer<Refusals>, topic: &str, partition: i32, generator: &mut Generator) -> Result<()> {
    let event = generator.generate();
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
    record.key = event.key;
    record.payload = event.payload;
    loop {
        record = match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => back,
            Err((error, _)) => return Err(error).context("kafka did not take a record"),
        };
        // this ends: a record that Kafka does not acknowledge fails after its timeout
        producer.poll(BEAT);
    }
}

fn flush(producer: &BaseProducer<Refusals>) -> Result<()> {
    producer.flush(FLUSH_LIMIT).context("kafka has not acknowledged everything")?;
    let refused = producer.context().0.load(Ordering::Relaxed);
    ensure!(refused == 0, "kafka refused {refused} records");
    Ok(())
}
