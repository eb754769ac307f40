//! The place of the trial: the servers, the topics, what was sent to each, and the settings of every program.
//!
//! Every record names its own place. Only this program sends to a partition, so it knows each offset beforehand. It makes a record's values
//! of topic, partition and offset alone. So SQL can say what each row must be, without footprint's help.

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
use super::member::{Aim, Member, Membership, Protocol};
use crate::trial::{Dice, Fixture, Program, Watch};

/// Kafka must acknowledge a wave within this time.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// Records of a wave in each partition: at least two batches, and at least one bad record.
const WAVE_MIN: usize = 8;
const WAVE_MAX: usize = 16;
/// Rows of a batch: few, so that a wave becomes several batches.
const BATCH_ROWS: &str = "5";
/// How long the group waits for a silent member.
pub(super) const SESSION: Duration = Duration::from_millis(2_000);
/// How often a member under the new protocol must send a heartbeat.
const HEARTBEAT: Duration = Duration::from_millis(300);
/// The group under the classic protocol. The other protocol has a new group for each member, since it does not let a new member take the
/// name of a dead one.
const CLASSIC_GROUP: &str = "kills";
/// The names of the two programs that can run at a time.
const INSTANCES: [&str; 2] = ["kills-a", "kills-b"];

/// One record in this many is bad: the one whose offset leaves [`BAD_REMAINDER`].
pub(super) const BAD_EVERY: i64 = 8;
/// See [`BAD_EVERY`].
pub(super) const BAD_REMAINDER: i64 = 3;
/// The remainder by [`BAD_EVERY`] of the offsets that a round may make a database refuse.
pub(super) const REFUSED_REMAINDER: i64 = 5;
/// The event time of offset 0, seconds since the epoch.
pub(super) const EVENTS_BEGIN_S: i64 = 1_714_953_600;

/// A topic and the ends of its partitions.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) ends: Vec<i64>,
}

/// The servers and what was sent to them.
pub struct Site<'a> {
    pub(super) stack: &'a Stack,
    pub(super) watch: Watch<'a>,
    program: Program,
    producer: BaseProducer<Deliveries>,
    /// Kafka's time of offset 0, milliseconds since the epoch. It is near now, or retention would delete the records.
    pub(super) began_ms: i64,
    /// All topics so far. The programs read the last one.
    pub(super) topics: Vec<Topic>,
    groups: u32,
}

/// Counts the records that Kafka acknowledged at their offset, and all others.
#[derive(Clone, Default)]
struct Deliveries(Arc<[AtomicU64; 2]>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<i64>;

    fn delivery(&self, result: &DeliveryResult<'_>, expected: Self::DeliveryOpaque) {
        let is_expected = matches!(result, Ok(message) if message.offset() == *expected);
        self.0[usize::from(!is_expected)].fetch_add(1, Ordering::SeqCst);
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

    /// The number of records sent so far.
    pub fn sent(&self) -> u64 {
        self.topics.iter().flat_map(|topic| &topic.ends).sum::<i64>().unsigned_abs()
    }

    /// The topic that is read.
    pub(super) fn topic(&self) -> Result<&Topic> {
        self.topics.last().context("no topic")
    }

    /// Makes another topic, which the programs read from now on.
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

    /// The membership of a program that joins alone.
    pub(super) fn membership(&mut self, protocol: Protocol) -> Membership {
        match protocol {
            Protocol::Classic => Membership { protocol, group: CLASSIC_GROUP.into(), instance: INSTANCES[0] },
            Protocol::Consumer => {
                self.groups += 1;
                Membership { protocol, group: format!("kills-{}", self.groups), instance: "" }
            }
        }
    }

    /// Makes the group wait only briefly for a silent member. A member that joined earlier learns of this late.
    pub(super) fn shorten_session(&self, member: &Membership) -> Result<()> {
        if member.protocol == Protocol::Consumer {
            self.stack.kafka()?.set_group_session(&member.group, SESSION, HEARTBEAT)?;
        }
        Ok(())
    }

    /// The membership of a program that joins the group of `other`. Both get a short session.
    pub(super) fn joining(&self, other: &Membership) -> Result<Membership> {
        self.shorten_session(other)?;
        let Membership { protocol, group, instance } = other.clone();
        let instance = match protocol {
            Protocol::Consumer => "",
            Protocol::Classic if instance == INSTANCES[0] => INSTANCES[1],
            Protocol::Classic => INSTANCES[0],
        };
        Ok(Membership { protocol, group, instance })
    }

    /// Starts a program.
    pub(super) fn start(&self, membership: Membership, aim: Option<Aim>) -> Result<Member> {
        // the second name is for the second program, because the first may still run
        let second = membership.instance == INSTANCES[1];
        self.start_as(membership, aim, if second { "aim-2" } else { "aim-1" })
    }

    /// Starts a program that reads its aim from a file of this name.
    pub(super) fn start_as(&self, membership: Membership, aim: Option<Aim>, aim_file: &str) -> Result<Member> {
        Member::start(&self.program, membership, self.stack.directory().join(aim_file), aim)
    }

    /// Fails if a stopped program holds a row of the ledger locked: nothing frees a row whose owner is stuck in COPY. The limit only
    /// leaves PostgreSQL time for a commit that was sent before the stop: a busy machine once needed more than a second.
    pub(super) fn check_ledger_unlocked(&self) -> Result<()> {
        let lock = "begin; set local lock_timeout = '10s'; select partition from footprint_ledger for update; commit";
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

/// The record of an offset.
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
