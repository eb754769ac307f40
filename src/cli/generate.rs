//! `footprint generate`: sends page moves to Kafka, to try the pipeline or to measure it. [`footprint_event::generate`] makes the
//! records. This file sets their pace, spreads them over partitions, sends them, and waits. It succeeds only if Kafka has
//! acknowledged every record.

mod acknowledgements;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow, bail, ensure};
use footprint_event::generate::{GenerateOptions, Generated, Generator};
use footprint_event::normalize::instant_of_text_with_offset;
use footprint_service::config::Kafka;
use footprint_service::console::Output;
use footprint_service::kafka::events::ClientEvents;
use footprint_service::kafka::{AskError, Inquirer, client_config, config_over};
use footprint_service::signals::Signals;
use indicatif::{ProgressBar, ProgressStyle};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use self::acknowledgements::Acknowledgements;
use crate::cli::Exit;
use crate::limits::PARTITIONS_MAX;

/// A record fails if Kafka does not acknowledge it within this time.
const ACKNOWLEDGE_DEADLINE: Duration = Duration::from_secs(60);
/// How long it may take to create the topic and ask for its partitions.
const TOPIC_DEADLINE: Duration = Duration::from_secs(15);
/// The acknowledgements are looked at once for each this number of records.
const POLL_EVERY: u64 = 1_024;
/// How long one wait for the next record's time may last, so that Ctrl-C is noticed soon.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// How long one wait for room or acknowledgements lasts. The binding's poll never returns early.
const POLL: Duration = Duration::from_millis(5);
/// Without a rate, the events are spread over this time before now.
const SPAN_US: u64 = 3_600_000_000;

/// Send a realistic load of page moves to the topic, some of them bad.
///
/// The same seed gives the same events. The topic is created if it does not exist.
#[derive(clap::Args, Clone, Debug)]
pub struct GenerateArgs {
    /// How many records to send
    #[arg(long, value_name = "RECORDS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,

    /// Records a second; 0 sends them as fast as Kafka takes them
    ///
    /// With a rate, the events happen now, one after the other. Without a rate, they are spread over the hour before now, so that
    /// a dashboard shows a curve.
    #[arg(long, value_name = "RECORDS", default_value_t = 0.0, value_parser = rate)]
    pub rate: f64,

    /// The seed: the same seed, count, rate and start time make the same records
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// The time of the first event, RFC 3339 with an offset; by default the last event is about now
    #[arg(long, value_name = "TIME", value_parser = start_time)]
    pub start: Option<i64>,

    /// Partitions of the topic if it does not exist yet; an existing topic is not changed
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=PARTITIONS_MAX as i64))]
    pub partitions: i32,

    /// The share of records that cannot be stored, 0 to 1: broken JSON, missing fields, impossible times and so on
    ///
    /// `footprint run` makes a dead letter of each. The last line of output says how many there were.
    #[arg(long, value_name = "SHARE", default_value_t = 0.001, value_parser = share)]
    pub bad_share: f64,

    /// The topic, if it is not the one of the configuration
    #[arg(long)]
    pub topic: Option<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1e9).contains(&rate) => Ok(rate),
        _ => Err("not a number of records from 0 to 1e9".into()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("not a number from 0 to 1, such as 0.001".into()),
    }
}

fn start_time(text: &str) -> Result<i64, String> {
    instant_of_text_with_offset(text).map_err(|why| format!("it {why}"))
}

/// Sends the records and waits until Kafka has acknowledged all of them. `kafka` has the settings of every client; its properties
/// win over the producer's own. After a signal, it stops sending and waits for the records already sent.
///
/// # Errors
/// No topic, or a record that Kafka did not acknowledge.
pub async fn run(
    args: GenerateArgs,
    kafka: &Kafka,
    topic: &str,
    signals: &Signals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let topic = args.topic.clone().unwrap_or_else(|| topic.to_owned());
    tokio::select! {
        created = create_topic(kafka, &topic, args.partitions) => created?,
        () = signals.wait() => return Err(anyhow!("interrupted: nothing was sent")),
    }
    let stop = StopOnDrop::default();
    let stopped = Arc::clone(&stop.0);
    let config = producer_config(kafka);
    let mut sending = tokio::task::spawn_blocking(move || send_all(&args, &config, &topic, &stopped));
    // the result is checked first: once all records are sent, a signal has nothing left to stop
    let sent = tokio::select! {
        biased;
        sent = &mut sending => sent,
        () = signals.wait() => {
            stop.0.store(true, Ordering::Relaxed);
            sending.await
        }
    };
    let Sent { line, is_whole } = sent.context("the sending thread failed")??;
    output.line(line);
    Ok(if is_whole { Exit::Done } else { Exit::Failed })
}

/// Ends the sending thread, even if nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn producer_config(kafka: &Kafka) -> ClientConfig {
    config_over(
        kafka,
        &[
            ("enable.idempotence", "true"),
            ("compression.type", "lz4"),
            ("linger.ms", "20"),
            ("batch.size", &(1 << 20).to_string()),
            ("batch.num.messages", "50000"),
            ("queue.buffering.max.messages", "500000"),
            ("queue.buffering.max.kbytes", "65536"),
            // some of the bad records are larger than a valid record may be
            ("message.max.bytes", &(2 << 20).to_string()),
            ("message.timeout.ms", &ACKNOWLEDGE_DEADLINE.as_millis().to_string()),
        ],
    )
}

/// Creates the topic unless it exists. If it exists, or if we may not create it, a later step finds that out.
async fn create_topic(kafka: &Kafka, topic: &str, partitions: i32) -> anyhow::Result<()> {
    // asked first: if a broker refuses the login, this client can say why
    let asking = kafka.clone();
    tokio::task::spawn_blocking(move || Inquirer::new(&asking)?.cluster_id(TOPIC_DEADLINE))
        .await
        .context("asking kafka failed")??;
    let config = client_config(kafka);
    let admin: AdminClient<ClientEvents> =
        config.create_with_context(ClientEvents::new(&config)).map_err(|error| AskError::client(&error))?;
    // -1: as many replicas as the broker is configured to keep
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().request_timeout(Some(TOPIC_DEADLINE)).operation_timeout(Some(TOPIC_DEADLINE));
    let answers = admin
        .create_topics([&new], &options)
        .await
        .with_context(|| format!("creating topic {topic}; is kafka.bootstrap_servers right and the broker up?"))?;
    for answer in answers {
        match answer {
            Ok(_)
            | Err((
                _,
                RDKafkaErrorCode::TopicAlreadyExists
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            )) => {}
            Err((_, code)) => bail!("creating topic {topic}: {code}"),
        }
    }
    Ok(())
}

/// The last line, and whether everything was sent.
struct Sent {
    line: String,
    is_whole: bool,
}

/// Sends all records, on a thread that may block.
fn send_all(args: &GenerateArgs, config: &ClientConfig, topic: &str, stopped: &AtomicBool) -> anyhow::Result<Sent> {
    let producer: BaseProducer<Acknowledgements> =
        config.create_with_context(Acknowledgements::new(config)).map_err(|error| AskError::client(&error))?;
    let partition_count = partition_count(&producer, topic)?;
    let mut generator = Generator::new(args.seed, options(args));
    let started = Instant::now();
    let bar = progress_bar(args.count);
    let (mut good, mut bad) = (0_u64, 0_u64);
    for index in 0..args.count {
        wait_until_due(&producer, args.rate, index, started, stopped);
        if index % POLL_EVERY == 0 {
            producer.poll(Duration::ZERO);
            producer.context().check()?;
            bar.set_position(producer.context().acknowledged.load(Ordering::Relaxed));
        }
        let made = generator.generate();
        let is_good = made.fault.is_none();
        let partition = (index % partition_count) as i32;
        if stopped.load(Ordering::Relaxed) || !send(&producer, topic, partition, &made, stopped)? {
            break;
        }
        if is_good { good += 1 } else { bad += 1 }
    }
    wait_for_all(&producer, good + bad, &bar)?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let rate = (good + bad) as f64 / seconds.max(1e-9);
    let is_whole = good + bad == args.count;
    let interrupted = if is_whole { "" } else { ", interrupted" };
    let line = format!(
        "sent {} records to {topic} ({partition_count} partitions): {good} good, {bad} bad, in {seconds:.2} s, \
         {rate:.0} a second{interrupted}",
        good + bad
    );
    Ok(Sent { line, is_whole })
}

/// The clock of the events: with a rate the wall clock, without a rate an hour of history.
fn options(args: &GenerateArgs) -> GenerateOptions {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_us = now.as_micros() as i64;
    if args.rate > 0.0 {
        let step_us = (1e6 / args.rate) as u64;
        return GenerateOptions { bad_share: args.bad_share, start_us: args.start.unwrap_or(now_us), step_us };
    }
    let start_us = args.start.unwrap_or(now_us - SPAN_US as i64);
    GenerateOptions { bad_share: args.bad_share, start_us, step_us: SPAN_US / args.count }
}

/// Asks for the topic until the broker knows it. A new topic takes a moment to spread.
fn partition_count(producer: &BaseProducer<Acknowledgements>, topic: &str) -> anyhow::Result<u64> {
    let deadline = Instant::now() + TOPIC_DEADLINE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let metadata = producer
            .client()
            .fetch_metadata(Some(topic), left.max(WAIT_MAX))
            .with_context(|| format!("asking for topic {topic}"))?;
        let count = metadata.topics().first().map_or(0, |found| found.partitions().len());
        if count > 0 {
            return Ok(count as u64);
        }
        ensure!(!left.is_zero(), "topic {topic} does not exist and could not be created; create it, or set TOPIC");
        producer.poll(WAIT_MAX);
    }
}

/// Waits until the record of `index` is due, and looks at acknowledgements meanwhile.
fn wait_until_due(
    producer: &BaseProducer<Acknowledgements>,
    rate: f64,
    index: u64,
    started: Instant,
    stopped: &AtomicBool,
) {
    if rate == 0.0 {
        return;
    }
    let due = started + Duration::from_secs_f64(index as f64 / rate);
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() || stopped.load(Ordering::Relaxed) {
            return;
        }
        // no poll of that length: the binding's poll spins for the last millisecond
        producer.poll(Duration::ZERO);
        std::thread::sleep(left.min(WAIT_MAX));
    }
}

/// Gives a record to the producer, and waits for room in its queue. False: it was stopped before there was room.
fn send(
    producer: &BaseProducer<Acknowledgements>,
    topic: &str,
    partition: i32,
    made: &Generated<'_>,
    stopped: &AtomicBool,
) -> anyhow::Result<bool> {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
    record.key = made.key;
    record.payload = made.payload;
    if !made.headers.is_empty() {
        let empty = OwnedHeaders::new_with_capacity(made.headers.len());
        let headers = made
            .headers
            .iter()
            .fold(empty, |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
        record = record.headers(headers);
    }
    loop {
        record = match producer.send(record) {
            Ok(()) => return Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => back,
            Err((error, _)) => return Err(error).context("kafka did not take a record"),
        };
        if stopped.load(Ordering::Relaxed) {
            return Ok(false);
        }
        // this ends: a record that nobody acknowledges fails after its deadline
        producer.poll(POLL);
        producer.context().check()?;
    }
}

/// Waits until Kafka has acknowledged every record sent.
fn wait_for_all(producer: &BaseProducer<Acknowledgements>, sent: u64, bar: &ProgressBar) -> anyhow::Result<()> {
    let deadline = Instant::now() + ACKNOWLEDGE_DEADLINE;
    loop {
        // its only error is that some are still in flight
        let _ = producer.flush(POLL);
        producer.context().check()?;
        let acknowledged = producer.context().acknowledged.load(Ordering::Relaxed);
        bar.set_position(acknowledged);
        if acknowledged == sent {
            return Ok(());
        }
        let late = sent.saturating_sub(acknowledged);
        ensure!(Instant::now() < deadline, "kafka has not acknowledged {late} records in {ACKNOWLEDGE_DEADLINE:?}");
    }
}

/// Shown only on a terminal.
fn progress_bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    let template = "{wide_bar} {human_pos}/{human_len} records  {per_sec}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
