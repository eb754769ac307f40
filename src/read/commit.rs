//! Commits to Kafka. The reader sends them in order with its other commands, and the answers come on a queue of their own. The ledger
//! itself returned each offset. The metadata is our mark, which shows later that a ledger was lost (R6).

use std::collections::VecDeque;
use std::ptr;
use std::time::{Duration, Instant};

use footprint_service::kafka::queue::Queue;
use footprint_service::kafka::trouble::of_commit;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tracing::{debug, warn};

use crate::read::commands::Commit;

const NO_ERROR: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Kafka's answer to a commit.
pub struct CommitAnswer {
    /// How many commands it answers.
    pub count: usize,
    /// The time since the commit was sent.
    pub elapsed: Duration,
    /// librdkafka's text, if the commit was refused.
    pub result: Result<(), String>,
}

/// Sends commits without waiting, and collects their answers. The rdkafka crate does not report the answers to explicit commits, so the
/// queue is librdkafka's own.
pub struct Commits {
    queue: Queue,
    /// For each commit that was sent: how many commands it answers, and when it was sent. librdkafka answers in order.
    sent: VecDeque<(usize, Instant)>,
}

impl Commits {
    /// Makes the queue of the answers. It must be dropped before the consumer.
    ///
    /// # Errors
    /// librdkafka gives no queue.
    pub fn new<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Result<Self, KafkaError> {
        Ok(Self { queue: Queue::new(consumer)?, sent: VecDeque::new() })
    }

    /// Sends one commit. [`Self::answer`] returns its answer later.
    ///
    /// # Errors
    /// librdkafka refuses the list.
    #[allow(unsafe_code)]
    pub fn send<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        commit: &Commit,
    ) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for (&partition, &offset) in &commit.offsets {
            list.add_partition_offset(topic, partition, KafkaOffset::Offset(offset))
                .map_err(|error| error.to_string())?;
            if let Some(mut element) = list.find_partition(topic, partition) {
                element.set_metadata(&commit.metadata);
            }
        }
        let handle = consumer.client().native_ptr();
        // SAFETY: handle, list and queue are alive; librdkafka copies the list before it returns.
        let code =
            unsafe { sys::rd_kafka_commit_queue(handle, list.ptr(), self.queue.as_ptr(), None, ptr::null_mut()) };
        if code != NO_ERROR {
            return Err(refused(code));
        }
        self.sent.push_back((commit.count, Instant::now()));
        Ok(())
    }

    /// How many commands have no answer yet.
    pub fn unanswered(&self) -> usize {
        self.sent.iter().map(|&(count, _)| count).sum()
    }

    /// The next answer, if one has come.
    #[allow(unsafe_code)]
    pub fn answer(&mut self) -> Option<CommitAnswer> {
        // SAFETY: the queue is alive; the event is read, then destroyed.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue.as_ptr(), 0);
            if event.is_null() {
                return None;
            }
            let code = first_error(event);
            sys::rd_kafka_event_destroy(event);
            let result = if code == NO_ERROR { Ok(()) } else { Err(refused(code)) };
            let (count, sent_at) = self.sent.pop_front().unwrap_or_else(|| (1, Instant::now()));
            Some(CommitAnswer { count, elapsed: sent_at.elapsed(), result })
        }
    }
}

/// Logs a refused commit, and returns librdkafka's text.
fn refused(code: sys::rd_kafka_resp_err_t) -> String {
    let code = RDKafkaErrorCode::from(code);
    match of_commit(code) {
        Some(remedy) => warn!("kafka refused to commit offsets: {code}; {remedy}"),
        None => debug!("kafka refused to commit offsets: {code}"),
    }
    code.to_string()
}

/// The error of a commit, or of the first partition that the broker refused. librdkafka makes a partition's error the error of the commit
/// only if the broker refused all partitions.
///
/// # Safety
/// `event` is a live event of librdkafka, the answer of a commit.
#[allow(unsafe_code)]
unsafe fn first_error(event: *mut sys::rd_kafka_event_t) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the caller's event is alive and owns the list; no reference to either outlives this call.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        let list = sys::rd_kafka_event_topic_partition_list(event);
        if code != NO_ERROR || list.is_null() {
            return code;
        }
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        let codes = (0..count).map(|index| (*(*list).elems.add(index)).err);
        codes.into_iter().find(|&code| code != NO_ERROR).unwrap_or(NO_ERROR)
    }
}
