//! What the group's consumer has fetched, on a queue of its own and taken many messages at a time: half the work of a poll
//! a message. The consumer's own queue keeps the group's events alone, so the reader can leave messages lying in
//! librdkafka, whose queue is bounded, and still answer the group. The binding has no such call, so librdkafka's is used.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::slice;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::queue::Queue;
use crate::limits::MESSAGES_TAKEN_MAX;
use crate::offset::{Offset, Partition};

const NO_ERROR: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// The queue that the assigned partitions' messages come by. It must be dropped before the consumer.
pub struct Fetched {
    queue: Queue,
    /// Room for one take.
    messages: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: librdkafka's messages may be used from any thread; this moves to the reader's thread once, and empty.
#[allow(unsafe_code)]
unsafe impl Send for Fetched {}

impl Fetched {
    /// An empty queue of a consumer.
    ///
    /// # Errors
    /// librdkafka gives no queue.
    pub fn new<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Result<Self, KafkaError> {
        Ok(Self { queue: Queue::new(consumer)?, messages: Vec::with_capacity(MESSAGES_TAKEN_MAX) })
    }

    /// Has a partition's messages come here; called before the partition is assigned, so that none goes elsewhere.
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
        // SAFETY: handle, name and queue are alive; the partition's queue is counted by reference and let go here.
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

    /// Up to [`MESSAGES_TAKEN_MAX`] messages, as soon as there is one; none when none comes within `timeout`. A partition's
    /// messages are in offset order and come in long runs.
    #[allow(unsafe_code)]
    pub fn take(&mut self, timeout: Duration) -> Taken<'_> {
        debug_assert!(self.messages.is_empty());
        let queue = self.queue.as_ptr();
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; there is room for as many messages as are asked for, and as many are written as the
        // call says. A batch waits until it is full, so only the first message is waited for.
        unsafe {
            self.fill();
            if self.messages.is_empty() && timeout_ms > 0 {
                let first = sys::rd_kafka_consume_queue(queue, timeout_ms);
                if !first.is_null() {
                    self.messages.push(first);
                    self.fill();
                }
            }
        }
        Taken { messages: &mut self.messages }
    }

    /// Appends what is there.
    ///
    /// # Safety
    /// As for [`Self::take`], which alone calls it.
    #[allow(unsafe_code)]
    unsafe fn fill(&mut self) {
        // SAFETY: the spare room is written up to the count that comes back.
        unsafe {
            let room = self.messages.spare_capacity_mut();
            let count = sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, room.as_mut_ptr().cast(), room.len());
            // -1 is an error that is told as a message as well
            let count = usize::try_from(count).unwrap_or(0);
            self.messages.set_len(self.messages.len() + count);
        }
    }
}

/// Messages taken at once, destroyed together.
pub struct Taken<'a> {
    messages: &'a mut Vec<*mut sys::rd_kafka_message_t>,
}

impl Taken<'_> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether as many came as are taken at once: there are more, most likely.
    pub fn is_full(&self) -> bool {
        self.messages.len() == MESSAGES_TAKEN_MAX
    }

    /// The messages, by runs of one partition; an error is a run of its own.
    #[allow(unsafe_code)]
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        // SAFETY: the pointers are messages that live as long as `self`; a reference has a pointer's layout.
        let messages: &[&sys::rd_kafka_message_t] =
            unsafe { slice::from_raw_parts(self.messages.as_ptr().cast(), self.messages.len()) };
        let is_error = |message: &sys::rd_kafka_message_t| message.err != NO_ERROR;
        messages.chunk_by(move |a, b| a.partition == b.partition && !is_error(a) && !is_error(b)).map(move |messages| {
            match messages {
                [message] if is_error(message) => Run::Error(match message.err {
                    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FATAL => {
                        KafkaError::MessageConsumptionFatal(message.err.into())
                    }
                    code => KafkaError::MessageConsumption(code.into()),
                }),
                _ => Run::Messages { partition: messages[0].partition, messages: Messages(messages) },
            }
        })
    }
}

impl Drop for Taken<'_> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: each message is destroyed once, here.
            unsafe { sys::rd_kafka_message_destroy(message) }
        }
    }
}

/// What stands together in a take.
pub enum Run<'a> {
    /// Messages of one partition.
    Messages {
        /// Which.
        partition: Partition,
        /// In offset order.
        messages: Messages<'a>,
    },
    /// The consumer tells an error in place of a message.
    Error(KafkaError),
}

/// Messages of one partition, in offset order; never none.
#[derive(Clone, Copy)]
pub struct Messages<'a>(&'a [&'a sys::rd_kafka_message_t]);

impl<'a> Messages<'a> {
    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Message<'a>> {
        self.0.iter().map(|&raw| Message { raw })
    }
}

/// One message.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    raw: &'a sys::rd_kafka_message_t,
}

impl<'a> Message<'a> {
    /// Its place.
    pub fn offset(self) -> Offset {
        self.raw.offset
    }

    /// Kafka's timestamp, milliseconds since the epoch; -1 when it carries none.
    #[allow(unsafe_code)]
    pub fn timestamp_ms(self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { sys::rd_kafka_message_timestamp(self.raw, &raw mut kind) }
    }

    /// Its key.
    pub fn key(self) -> Option<&'a [u8]> {
        Self::bytes(self.raw.key, self.raw.key_len)
    }

    /// Its value; none is a tombstone.
    pub fn payload(self) -> Option<&'a [u8]> {
        Self::bytes(self.raw.payload, self.raw.len)
    }

    /// Calls `each` with its headers: names as text (what is not UTF-8 is replaced), values as they are. The binding's own
    /// iterator panics on a name that is not UTF-8, and anybody may send one.
    #[allow(unsafe_code)]
    pub fn for_each_header(self, mut each: impl FnMut(Cow<'a, str>, Option<&'a [u8]>)) {
        let mut list = ptr::null_mut();
        // SAFETY: the headers live as long as the message; librdkafka ends names with NUL and gives each value's length.
        unsafe {
            if sys::rd_kafka_message_headers(self.raw, &raw mut list) != NO_ERROR {
                return;
            }
            for index in 0.. {
                let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
                let code = sys::rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut length);
                if code != NO_ERROR {
                    break;
                }
                each(CStr::from_ptr(name).to_string_lossy(), Self::bytes(value, length));
            }
        }
    }

    #[allow(unsafe_code)]
    fn bytes(start: *const c_void, length: usize) -> Option<&'a [u8]> {
        // SAFETY: librdkafka gives the start and the length of what lives as long as the message.
        (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), length) })
    }
}
