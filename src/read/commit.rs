//! Commits to Kafka: sent by the reader, in order with its other commands, and answered on a queue of their own. The
//! offset is one that the ledger itself returned; the metadata is our mark, by which a lost ledger is noticed (R6).

use std::ptr;

use footprint_protocol::offset::{Offset, Partition};
use footprint_service::kafka::queue::Queue;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

/// Sends commits without waiting, and collects their answers. The binding tells no answers of explicit commits, so the
/// queue is librdkafka's own.
pub struct Commits {
    queue: Queue,
}

impl Commits {
    /// A queue of a consumer. It must be dropped before the consumer.
    ///
    /// # Errors
    /// librdkafka gives no queue.
    pub fn new<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Result<Self, KafkaError> {
        Ok(Self { queue: Queue::new(consumer)? })
    }

    /// Sends one commit; its answer comes by [`Self::answer`].
    ///
    /// # Errors
    /// librdkafka refuses the list.
    #[allow(unsafe_code)]
    pub fn send<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        offsets: &[(Partition, Offset)],
        metadata: &str,
    ) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for &(partition, offset) in offsets {
            list.add_partition_offset(topic, partition, KafkaOffset::Offset(offset))?;
            if let Some(mut element) = list.find_partition(topic, partition) {
                element.set_metadata(metadata);
            }
        }
        let handle = consumer.client().native_ptr();
        // SAFETY: handle, list and queue are alive; librdkafka copies the list before it returns.
        let code =
            unsafe { sys::rd_kafka_commit_queue(handle, list.ptr(), self.queue.as_ptr(), None, ptr::null_mut()) };
        if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        Err(KafkaError::ConsumerCommit(code.into()))
    }

    /// The next answer, if one has come.
    #[allow(unsafe_code)]
    pub fn answer(&self) -> Option<Result<(), String>> {
        // SAFETY: the queue is alive; the event is read, then destroyed.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue.as_ptr(), 0);
            if event.is_null() {
                return None;
            }
            let code = sys::rd_kafka_event_error(event);
            sys::rd_kafka_event_destroy(event);
            let fine = code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            Some(if fine { Ok(()) } else { Err(RDKafkaErrorCode::from(code).to_string()) })
        }
    }
}
