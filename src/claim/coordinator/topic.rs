//! The topic's life: which source is read, and whether the topic is still that source.
//!
//! A broker that does not know of a topic's new life yet answers with the id of the previous life. So a batch may go on only if each broker
//! that gave its records was asked after the last of them was read. A broker that has given a record of a life knows of that life, and
//! never forgets it. If a broker does not answer, the partition is read again, from another broker if need be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::offset::Partition;
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::brokers::{BrokerId, Brokers};
use footprint_service::kafka::{AskError, Inquirer, TopicDescription, source_id};
use footprint_service::report::Chain;
use footprint_service::retry::Backoff;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::{Coordinator, PipelineError};
use crate::batch::Batch;
use crate::claim::take_over::TopicLife;

/// The shortest time between two questions to one broker.
const DESCRIBE_INTERVAL: Duration = Duration::from_millis(10);
/// The longest time without a question: while nothing is read, only a question shows that the topic was replaced.
const DESCRIBE_IDLE: Duration = Duration::from_secs(5);
/// How long one question may take.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody waits longer than this for a broker's answer: the records that it gave are read again.
const BROKER_PATIENCE: Duration = Duration::from_secs(15);
/// The largest number of replaced lives that are remembered.
const FORMER_LIVES_MAX: usize = 100;

/// An answer: the broker that was asked (`None` means any), and the cluster's id with the topic's description.
pub(super) struct Described {
    broker: Option<BrokerId>,
    answer: Result<(String, TopicDescription), AskError>,
}

/// Questions for the topic's id. At most one is under way to each broker, and one that any broker may answer.
#[derive(Default)]
pub(super) struct Watch {
    questions: BTreeMap<Option<BrokerId>, Question>,
    /// When the latest question was asked that a broker, no matter which, answered with our topic id.
    seen_at: Option<Instant>,
    /// Something suggests that the topic was replaced.
    is_doubtful: bool,
    /// The topic ids of replaced lives. A broker that shows one of them does not know of the new life yet.
    former: BTreeSet<Arc<str>>,
}

/// The questions to one broker.
struct Question {
    /// When the question under way was asked. Its answer is valid as of this time.
    under_way: Option<Instant>,
    /// From this time on, the next question may be asked.
    next_at: Instant,
    /// When the latest question was asked whose answer showed our topic id.
    seen_at: Option<Instant>,
    failing_since: Option<Instant>,
    backoff: Backoff,
}

impl Watch {
    /// The topic may have been replaced. Its id is asked for as soon as a partition must be taken over.
    pub(super) fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Whether every broker that gave records of the batch has shown our topic id, asked after the batch's last record was read.
    pub(super) fn has_seen(&self, batch: &Batch) -> bool {
        self.has_seen_since(batch.read_at, &batch.brokers)
    }

    fn has_seen_since(&self, read_at: Instant, brokers: &Brokers) -> bool {
        let is_later = |seen_at: Option<Instant>| seen_at.is_some_and(|seen_at| seen_at > read_at);
        if brokers.is_empty() {
            return is_later(self.seen_at);
        }
        brokers.iter().all(|broker| is_later(self.questions.get(&Some(broker)).and_then(|question| question.seen_at)))
    }

    /// The brokers whose answers a batch still waits for. `None` means any broker.
    fn missing<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = Option<BrokerId>> + 'a {
        let any = (batch.brokers.is_empty() && !self.has_seen(batch)).then_some(None);
        let is_missing = |&broker: &BrokerId| {
            let question = self.questions.get(&Some(broker));
            question.and_then(|question| question.seen_at).is_none_or(|seen_at| seen_at <= batch.read_at)
        };
        batch.brokers.iter().filter(is_missing).map(Some).chain(any)
    }

    /// Begins a question, unless one is under way or it is too early. Returns whether it has begun.
    fn ask(&mut self, broker: Option<BrokerId>, now: Instant) -> bool {
        let question = self.questions.entry(broker).or_insert_with(|| Question {
            under_way: None,
            next_at: now,
            seen_at: None,
            failing_since: None,
            backoff: Backoff::new(),
        });
        let may = question.under_way.is_none() && now >= question.next_at;
        if may {
            question.under_way = Some(now);
            question.next_at = now + DESCRIBE_INTERVAL;
        }
        may
    }

    /// Whether no broker has shown our topic id for [`DESCRIBE_IDLE`].
    fn is_due(&self, now: Instant) -> bool {
        self.seen_at.is_none_or(|seen_at| now >= seen_at + DESCRIBE_IDLE)
    }

    /// The question under way was answered with our topic id.
    fn seen(&mut self, broker: Option<BrokerId>) {
        let Some(question) = self.questions.get_mut(&broker) else { return };
        let Some(asked_at) = question.under_way.take() else { return };
        question.seen_at = Some(asked_at);
        question.failing_since = None;
        question.backoff.reset();
        self.is_doubtful = false;
        self.seen_at = self.seen_at.max(Some(asked_at));
    }

    /// The question under way got no answer, or one that says nothing. Returns true if this has lasted for [`BROKER_PATIENCE`].
    fn failed(&mut self, broker: Option<BrokerId>, now: Instant) -> bool {
        let Some(question) = self.questions.get_mut(&broker) else { return false };
        question.under_way = None;
        question.next_at = now + question.backoff.next_wait();
        now >= *question.failing_since.get_or_insert(now) + BROKER_PATIENCE
    }

    /// The topic has a new id; `former` is its previous one.
    fn replaced(&mut self, former: Arc<str>) {
        if self.former.len() >= FORMER_LIVES_MAX {
            self.former.pop_first();
        }
        self.former.insert(former);
        self.seen_at = None;
        for question in self.questions.values_mut() {
            question.seen_at = None;
        }
    }
}

impl Coordinator {
    pub(super) fn describe_when_needed(&mut self) {
        let now = Instant::now();
        let waiting = self.partitions.values().filter(|held| held.machine.waits_for_topic_check());
        let fronts = waiting.filter_map(|held| held.machine.ready().next());
        let mut wanted: BTreeSet<Option<BrokerId>> = fronts.flat_map(|batch| self.watch.missing(batch)).collect();
        let taking_over = self.partitions.values().any(|held| held.machine.is_taking_over());
        if self.life.is_none() || self.watch.is_due(now) || (taking_over && self.watch.is_doubtful) {
            wanted.insert(None);
        }
        for broker in wanted {
            if self.watch.ask(broker, now) {
                self.describe(broker);
            }
        }
    }

    fn describe(&mut self, broker: Option<BrokerId>) {
        let inquirer: Arc<Inquirer> = Arc::clone(&self.context.inquirer);
        let topic = self.context.topic.clone();
        let known = self.cluster_id.clone();
        failpoint::hit(Point::SourceAsk);
        self.describes.spawn(async move {
            let answer = spawn_blocking(move || {
                let cluster_id = known.map_or_else(|| inquirer.cluster_id(DESCRIBE_TIMEOUT), Ok)?;
                Ok((cluster_id, inquirer.describe_topic_at(broker, &topic, DESCRIBE_TIMEOUT)?))
            })
            .await;
            let failed = |error: tokio::task::JoinError| AskError::refused("describe topic", error);
            Described { broker, answer: answer.map_err(failed).flatten() }
        });
    }

    pub(super) fn on_description(&mut self, described: Described) -> Result<(), PipelineError> {
        failpoint::hit(Point::SourceAnswered);
        let Described { broker, answer } = described;
        match answer {
            Ok((_, description)) if self.watch.former.contains(&*description.topic_id) => {
                let topic = self.context.topic.as_str();
                warn!(topic, broker, "a broker has not heard yet that the topic was replaced; asking it again");
                self.no_answer(broker);
            }
            Ok((cluster_id, description)) => self.on_life(broker, cluster_id, description),
            Err(error) if error.is_final() => return Err(error.into()),
            Err(error) => {
                // without an answer there is no claim; the broker is asked again a little later
                warn!(broker, "{}", Chain(&error));
                self.no_answer(broker);
            }
        }
        Ok(())
    }

    fn on_life(&mut self, broker: Option<BrokerId>, cluster_id: String, description: TopicDescription) {
        if let Some(known) = self.life.take_if(|known| *known.topic_id != *description.topic_id) {
            let topic = self.context.topic.as_str();
            warn!(topic, topic_id = description.topic_id, "the topic was replaced: a new source begins");
            self.watch.replaced(known.topic_id);
            self.forget_unreadable();
            self.end_all("the topic was replaced");
            // nobody can finish the batches of the previous life
            self.unfinished.clear();
        }
        if self.life.is_none() {
            let source = source_id(&cluster_id, &description.topic_id);
            self.cluster_id = Some(cluster_id);
            self.life = Some(TopicLife { source, topic_id: description.topic_id.into(), others_known: false });
        }
        self.partition_count = usize::try_from(description.partition_count).unwrap_or_default();
        self.watch.seen(broker);
        let Self { partitions, watch, .. } = self;
        for held in partitions.values_mut() {
            held.machine.topic_id_seen(|batch| watch.has_seen(batch));
        }
    }

    /// If a broker has not answered for too long, the records that it gave are read again, from another broker if need be.
    fn no_answer(&mut self, broker: Option<BrokerId>) {
        if !self.watch.failed(broker, Instant::now()) || broker.is_none() {
            return;
        }
        let waits = |batch: &Arc<Batch>| self.watch.missing(batch).any(|missing| missing == broker);
        let waiting = self.partitions.iter().filter(|(_, held)| held.machine.waits_for_topic_check());
        let waiting = waiting.filter(|(_, held)| held.machine.ready().next().is_some_and(waits));
        let partitions: Vec<Partition> = waiting.map(|(&partition, _)| partition).collect();
        for partition in partitions {
            self.end(partition, "the broker that gave its records does not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(ids: &[BrokerId]) -> Brokers {
        let mut brokers = Brokers::default();
        ids.iter().for_each(|&id| brokers.add(id));
        brokers
    }

    /// The story: any broker's answer let a batch go on, even that of a broker that did not know of the topic's new life.
    #[test]
    fn only_those_that_gave_the_records_can_say_of_which_life_they_are() {
        let (mut watch, read_at) = (Watch::default(), Instant::now());
        let later = read_at + DESCRIBE_INTERVAL;
        for broker in [None, Some(2), Some(3)] {
            assert!(watch.ask(broker, later));
            assert!(!watch.ask(broker, later + DESCRIBE_INTERVAL), "one at a time");
        }
        watch.seen(Some(3));
        watch.seen(None);
        assert!(watch.has_seen_since(read_at, &brokers(&[])), "without a record there is nothing to mistake");
        assert!(!watch.has_seen_since(read_at, &brokers(&[1])));
        assert!(watch.ask(Some(1), read_at));
        watch.seen(Some(1));
        assert!(!watch.has_seen_since(read_at, &brokers(&[1])), "it was asked before");
        assert!(watch.ask(Some(1), later));
        watch.seen(Some(1));
        assert!(watch.has_seen_since(read_at, &brokers(&[1])));
        assert!(!watch.has_seen_since(read_at, &brokers(&[1, 2])), "each of them");
        watch.replaced("an id".into());
        assert!(!watch.has_seen_since(read_at, &brokers(&[1])), "it was another life that was seen");
    }

    #[test]
    fn a_broker_that_does_not_answer_is_given_up_after_a_while() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        assert!(watch.ask(Some(1), now));
        assert!(!watch.failed(Some(1), now));
        assert!(!watch.ask(Some(1), now), "a little later");
        assert!(watch.ask(Some(1), now + BROKER_PATIENCE));
        assert!(watch.failed(Some(1), now + BROKER_PATIENCE));
        assert!(watch.ask(Some(1), now + BROKER_PATIENCE * 2));
        watch.seen(Some(1));
        assert!(!watch.failed(Some(1), now + BROKER_PATIENCE * 2), "it has answered since");
    }
}
