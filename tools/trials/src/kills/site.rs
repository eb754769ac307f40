//! Where it happens: the servers, the topics, what was sent to each, and the settings of every program.
//!
//! Every record says where it lies: a partition's records are sent by nobody else, so their offsets are known beforehand, and
//! its values are made of topic, partition and offset alone. So SQL can tell what each row must be, without footprint's help.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use footprint_stack::Stack;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::arrangement::PARTITIONS;
use super::life::{Aim, Life, Membership, Protocol};
use crate::trial::{Dice, Fixture, Program, Watch};

/// Kafka must acknowledge a wave within this.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// Records of a wave in each partition: at least two batches, and at least one record that is bad.
const WAVE_MIN: usize = 8;
const WAVE_MAX: usize = 16;
/// Rows of a batch: few, so that a wave is several.
const BATCH_ROWS: &str = "5";
/// How long the group waits for a silent member.
pub(super) const SESSION: Duration = Duration::from_millis(2_000);
/// How often a member of the new protocol must speak.
const HEARTBEAT: Duration = Duration::from_millis(300);
/// The group of the classic protocol; the other has a new one for each life, since it does not let a dead one's namesake in.
const CLASSIC_GROUP: &str = "kills";
/// The names of the two programs that can run at a time.
const INSTANCES: [&str; 2] = ["kills-a", "kills-b"];

/// One record in so many is bad, the one with this remainder.
pub(super) const BAD_EVERY: i64 = 8;
/// See [`BAD_EVERY`].
pub(super) const BAD_REMAINDER: i64 = 3;
/// The one of [`BAD_EVERY`] that a database may be made to refuse.
pub(super) const REFUSED_REMAINDER: i64 = 5;
/// The event time of offset 0, seconds since the epoch.
pub(super) const EVENTS_BEGIN_S: i64 = 1_714_953_600;

/// A topic and the ends of its partitions.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) ends: Vec<i64>,
}

/// See the module's head.
pub struct Site<'a> {
    pub(super) stack: &'a Stack,
    pub(super) watch: Watch<'a>,
    program: Program,
    producer: BaseProducer<Deliveries>,
    /// Kafka's time of offset 0, milliseconds since the epoch: near now, or retention would take the records.
    pub(super) began_ms: i64,
    /// The last one is read.
    pub(super) topics: Vec<Topic>,
    groups: u32,
}

/// Counts what Kafka acknowledged, and what it did not, or not where it had to be.
#[derive(Clone, Default)]
struct Deliveries(Arc<[AtomicU64; 2]>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<i64>;

    fn delivery(&self, result: &DeliveryResult<'_>, expected: Self::DeliveryOpaque) {
        let as_it_must = matches!(result, Ok(message) if message.offset() == *expected);
        self.0[usize::from(!as_it_must)].fetch_add(1, Ordering::SeqCst);
    }
}

impl<'a> Site<'a> {
    /// Makes the tables and a first topic.
    ///
    /// # Errors
    /// A server refuses.
    pub fn new(fixture: &Fixture<'a>, mut program: Program) -> Result<Self> {
        let stack = fixture.stack;
        program.set("FOOTPRINT_PIPELINE__BATCH_ROWS_MAX", BATCH_ROWS);
        program.set("FOOTPRINT_PIPELINE__LINGER_MS", "10");
        program.set("FOOTPRINT_KAFKA__SESSION_TIMEOUT_MS", &SESSION.as_millis().to_string());
        program.migrate()?;
        let producer: BaseProducer<Deliveries> = ClientConfig::new()
            .set("bootstrap.servers", stack.kafka()?.bootstrap())
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .create_with_context(Deliveries::default())
            .context("no producer")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
        let mut site = Self {
            stack,
            watch: Watch::connect(fixture)?,
            program,
            producer,
            began_ms: i64::try_from(now.as_millis()).context("a clock far from now")?,
            topics: Vec::new(),
            groups: 0,
        };
        site.new_topic()?;
        Ok(site)
    }

    /// The program, with its settings.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Sets one of the environment names of every program started from now on.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.program.set(name, value);
    }

    /// Records sent so far.
    pub fn sent(&self) -> u64 {
        self.topics.iter().flat_map(|topic| &topic.ends).sum::<i64>().unsigned_abs()
    }

    /// The topic that is read.
    pub(super) fn topic(&self) -> Result<&Topic> {
        self.topics.last().context("no topic")
    }

    /// From now on another topic is read, one that nobody has read.
    pub(super) fn new_topic(&mut self) -> Result<()> {
        let name = format!("kills-{}", self.topics.len() + 1);
        self.stack.kafka()?.create_topic(&name, PARTITIONS, &[])?;
        self.program.set("TOPIC", &name);
        self.topics.push(Topic { name, ends: vec![0; usize::from(PARTITIONS)] });
        Ok(())
    }

    /// Sends a wave of records to every partition and waits until Kafka has them.
    pub(super) fn wave(&mut self, dice: &mut Dice) -> Result<()> {
        let began_ms = self.began_ms;
        let Self { producer, topics, .. } = self;
        let topic = topics.last_mut().context("no topic")?;
        for (partition, end) in topic.ends.iter_mut().enumerate() {
            let count = WAVE_MIN + dice.below(WAVE_MAX - WAVE_MIN + 1);
            for _ in 0..count {
                let payload = payload(&topic.name, partition, *end);
                let record: BaseRecord<'_, (), str, Box<i64>> = BaseRecord::with_opaque_to(&topic.name, Box::new(*end))
                    .partition(i32::try_from(partition)?)
                    .timestamp(began_ms + *end)
                    .payload(&payload);
                producer.send(record).map_err(|(error, _)| error).context("cannot send")?;
                *end += 1;
            }
        }
        producer.flush(SEND_LIMIT).context("Kafka does not acknowledge")?;
        let sent: i64 = self.topics.iter().flat_map(|topic| &topic.ends).sum();
        let [fine, wrong] = [0, 1].map(|kind: usize| self.producer.context().0[kind].load(Ordering::SeqCst));
        ensure!(wrong == 0 && fine == sent.unsigned_abs(), "of {sent} records {fine} were acknowledged, {wrong} not");
        Ok(())
    }

    /// Who a program is that joins alone.
    pub(super) fn membership(&mut self, protocol: Protocol) -> Membership {
        match protocol {
            Protocol::Classic => Membership { protocol, group: CLASSIC_GROUP.into(), instance: INSTANCES[0] },
            Protocol::Consumer => {
                self.groups += 1;
                Membership { protocol, group: format!("kills-{}", self.groups), instance: "" }
            }
        }
    }

    /// The group of a member will not bear its silence for long; a member that has joined before hears of it late.
    pub(super) fn hasten(&self, member: &Membership) -> Result<()> {
        if member.protocol == Protocol::Consumer {
            self.stack.kafka()?.set_group_session(&member.group, SESSION, HEARTBEAT)?;
        }
        Ok(())
    }

    /// Who a program is that joins the group of `other`, whose silence the group will not bear for long.
    pub(super) fn joining(&self, other: &Membership) -> Result<Membership> {
        self.hasten(other)?;
        let Membership { protocol, group, instance } = other.clone();
        let instance = match protocol {
            Protocol::Consumer => "",
            Protocol::Classic if instance == INSTANCES[0] => INSTANCES[1],
            Protocol::Classic => INSTANCES[0],
        };
        Ok(Membership { protocol, group, instance })
    }

    /// Starts a program.
    pub(super) fn start(&self, membership: Membership, aim: Option<Aim>) -> Result<Life> {
        // the second name belongs to the second program: the first may still run
        let second = membership.instance == INSTANCES[1];
        self.start_as(membership, aim, if second { "aim-2" } else { "aim-1" })
    }

    /// Starts a program that is aimed by a file of that name.
    pub(super) fn start_as(&self, membership: Membership, aim: Option<Aim>, aim_file: &str) -> Result<Life> {
        Life::start(&self.program, membership, self.stack.directory().join(aim_file), aim)
    }

    /// A stopped program must not sit on a row of the ledger: nothing frees a row whose owner is stuck in COPY.
    pub(super) fn ledger_is_free(&self) -> Result<()> {
        let lock = "begin; set local lock_timeout = '1s'; select partition from footprint_ledger for update; commit";
        self.watch.ask(lock).context("the stopped program holds a row of the ledger locked")?;
        Ok(())
    }

    /// The source's number, once a program has registered it.
    pub(super) fn source(&self) -> Result<Option<String>> {
        let topic = self.topic()?;
        let rows = self.watch.ask(&format!("select id from footprint_source where topic = '{}'", topic.name))?;
        Ok(rows.concat().pop())
    }
}

/// What the record of an offset holds.
fn payload(topic: &str, partition: usize, offset: i64) -> String {
    if offset % BAD_EVERY == BAD_REMAINDER {
        return format!("no event: {topic}/{partition}/{offset}");
    }
    let method = if offset % 2 == 0 { "GET" } else { "POST" };
    format!(
        r#"{{"method":"{method}","link":"https://kills.example/{topic}/{partition}/{offset}","footprint_time":{}}}"#,
        EVENTS_BEGIN_S + offset
    )
}
