//! The messages that the group's consumer has fetched. They are on a separate queue and are taken many at a time, which is half
//! the work of one poll a message. The consumer's own queue has only the group's events. So the reader can leave messages in
//! librdkafka, whose queue is bounded, and still answer the group. The binding has no such call, so this uses librdkafka's.
//!
//! A message is not copied when it is taken. It stays librdkafka's own message until it is decoded (`messages.rs`).

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use footprint_protocol::offset::{Offset, Partition};
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::messages::{Lease, Message, NO_ERROR, Raw};
use super::queue::Queue;
use crate::limits::MESSAGES_TAKEN_MAX;

/// The queue of the assigned partitions' messages. It must be dropped before the consumer.
pub struct Fetched {
    queue: Queue,
    /// Room for the messages of one call.
    messages: Vec<Raw>,
    lease: Arc<Lease>,
    /// Never receives a value. It closes when the last lease is gone.
    returned: mpsc::Receiver<()>,
}

// SAFETY: librdkafka's messages may be used from any thread, one at a time. This moves to the reader's thread once, and empty.
#[allow(unsafe_code)]
unsafe impl Send for Fetched {}

impl Fetched {
    /// An empty queue of the consumer.
    ///
    /// # Errors
    /// librdkafka returns no queue.
    pub fn new<C: ConsumerContext + 'static>(consumer: &Arc<BaseConsumer<C>>) -> Result<Self, KafkaError> {
        let (lease, returned) = Lease::new(consumer);
        Ok(Self { queue: Queue::new(consumer)?, messages: Vec::with_capacity(MESSAGES_TAKEN_MAX), lease, returned })
    }

    /// Sends a partition's messages to this queue. It is called before the partition is assigned, so that no message goes
    /// elsewhere.
    ///
    /// # Errors
    /// librdkafka does not know the partition.
    #[allow(unsafe_code)]
    pub fn forward<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        partition: Partition,
    ) -> Result<(), KafkaError> {
        let unknown = || KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownPartition);
        let name = CString::new(topic).map_err(|_| unknown())?;
        // SAFETY: handle, name and queue are alive. The partition's queue is counted by reference and released here.
        unsafe {
            let from = sys::rd_kafka_queue_get_partition(consumer.client().native_ptr(), name.as_ptr(), partition);
            if from.is_null() {
                return Err(unknown());
            }
            sys::rd_kafka_queue_forward(from, self.queue.as_ptr());
            sys::rd_kafka_queue_destroy(from);
        }
        Ok(())
    }

    /// Takes up to [`MESSAGES_TAKEN_MAX`] messages as soon as there is one. Takes none if none comes within `timeout`. A
    /// partition's messages are in offset order and come in long runs.
    #[allow(unsafe_code)]
    pub fn take(&mut self, timeout: Duration) -> Taken<'_> {
        debug_assert!(self.messages.is_empty());
        let queue = self.queue.as_ptr();
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive. There is room for as many messages as are asked for, and the call returns how many it has
        // written. A batch call waits until it is full, so this waits only for the first message.
        unsafe {
            self.fill();
            if self.messages.is_empty() && timeout_ms > 0 {
                let first = sys::rd_kafka_consume_queue(queue, timeout_ms);
                if let Some(first) = NonNull::new(first) {
                    self.messages.push(first);
                    self.fill();
                }
            }
        }
        Taken { at: 0, fetched: self }
    }

    /// Appends the messages that are there.
    ///
    /// # Safety
    /// The same as for [`Self::take`], its only caller.
    #[allow(unsafe_code)]
    unsafe fn fill(&mut self) {
        // SAFETY: the call writes messages into the spare room, up to the count that it returns. They are never null.
        unsafe {
            let room = self.messages.spare_capacity_mut();
            let count = sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, room.as_mut_ptr().cast(), room.len());
            // -1 is an error that also comes as a message
            let count = usize::try_from(count).unwrap_or(0);
            self.messages.set_len(self.messages.len() + count);
        }
    }

    /// Releases the consumer when every message taken is destroyed. Returns false if that takes longer than `timeout`. Only after
    /// that does dropping the consumer end it. Before that, the last message would end it.
    pub fn close(self, timeout: Duration) -> bool {
        let Self { queue, messages, lease, returned } = self;
        debug_assert!(messages.is_empty());
        drop((queue, lease));
        returned.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Disconnected)
    }
}

/// Messages taken at once. Those that no caller takes are destroyed.
pub struct Taken<'a> {
    fetched: &'a mut Fetched,
    /// The messages before this index were given away.
    at: usize,
}

impl Taken<'_> {
    /// Whether no message was taken.
    pub fn is_empty(&self) -> bool {
        self.fetched.messages.is_empty()
    }

    /// The partitions of the messages. A partition may come more than once.
    #[allow(unsafe_code)]
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        // SAFETY: messages that were not given away are alive.
        let messages = self.fetched.messages[self.at..].iter().map(|raw| unsafe { raw.as_ref() });
        messages.filter(|message| message.err == NO_ERROR).map(|message| message.partition)
    }

    /// The next messages of one partition. An error is a separate run.
    #[allow(unsafe_code)]
    pub fn next_run(&mut self) -> Option<Run<'_>> {
        let rest = &self.fetched.messages[self.at..];
        // SAFETY: these were not given away, so they are alive.
        let of = |raw: &Raw| unsafe { (raw.as_ref().partition, raw.as_ref().err) };
        let first = of(rest.first()?);
        let count = if first.1 == NO_ERROR { rest.iter().take_while(|raw| of(raw) == first).count() } else { 1 };
        self.at += count;
        let messages = Incoming { rest: rest[..count].iter(), lease: &self.fetched.lease };
        Some(match first {
            (partition, NO_ERROR) => Run::Messages { partition, messages },
            // SAFETY: it is alive until `messages` is dropped.
            (partition, code) => Run::Error(unsafe { InPlaceError::of(rest[0], partition, code.into()) }),
        })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        while self.next_run().is_some() {}
        self.fetched.messages.clear();
    }
}

/// A part of one call's messages.
pub enum Run<'a> {
    /// Messages of one partition.
    Messages {
        /// Their partition.
        partition: Partition,
        /// In offset order.
        messages: Incoming<'a>,
    },
    /// An error in place of messages.
    Error(InPlaceError),
}

/// An error in place of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InPlaceError {
    /// The partition.
    pub partition: Partition,
    /// The offset at which it came.
    pub offset: Offset,
    /// Its code.
    pub code: RDKafkaErrorCode,
    /// librdkafka's words.
    pub why: String,
}

impl InPlaceError {
    /// # Safety
    /// `raw` is alive.
    #[allow(unsafe_code)]
    unsafe fn of(raw: Raw, partition: Partition, code: RDKafkaErrorCode) -> Self {
        // SAFETY: the text belongs to the message, or is static. It is copied here.
        let (offset, words) = unsafe { (raw.as_ref().offset, sys::rd_kafka_message_errstr(raw.as_ptr())) };
        let why = if words.is_null() {
            code.to_string()
        } else {
            // SAFETY: librdkafka ends its texts with NUL.
            unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
        };
        Self { partition, offset, code, why }
    }
}

/// Messages of one partition, in offset order. Those that no caller takes are destroyed.
pub struct Incoming<'a> {
    rest: slice::Iter<'a, Raw>,
    lease: &'a Arc<Lease>,
}

impl Incoming<'_> {
    /// Where the partition's log ended when messages were last fetched from it.
    #[allow(unsafe_code)]
    pub fn log_end(&self) -> Option<Offset> {
        // SAFETY: the message was not given away, so it is alive.
        unsafe { self.lease.log_end(*self.rest.as_slice().first()?) }
    }
}

impl<'a> Iterator for Incoming<'a> {
    type Item = Message<'a>;

    #[allow(unsafe_code)]
    fn next(&mut self) -> Option<Message<'a>> {
        // SAFETY: each message passes here once and is given away.
        self.rest.next().map(|&raw| unsafe { Message::new(raw, self.lease) })
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;

    use super::*;

    #[test]
    fn the_consumer_is_let_go_when_nothing_of_it_is_held() {
        let config = ClientConfig::new().set("group.id", "of one").clone();
        let consumer: Arc<BaseConsumer> = Arc::new(config.create().unwrap());
        let fetched = Fetched::new(&consumer).unwrap();
        let held = Arc::clone(&fetched.lease);
        assert!(!fetched.close(Duration::ZERO), "a message is held");
        drop(held);
        assert!(Fetched::new(&consumer).unwrap().close(Duration::ZERO));
        assert_eq!(Arc::strong_count(&consumer), 1);
    }
}
