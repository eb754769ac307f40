//! A queue of librdkafka, for what the binding does not offer: answers of commits, and messages taken many at a time.

use std::ptr::NonNull;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

/// An owned queue. It must be dropped before its consumer.
pub struct Queue(NonNull<sys::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used from any thread; each moves to the reader's thread once.
#[allow(unsafe_code)]
unsafe impl Send for Queue {}

impl Queue {
    /// An empty queue of a consumer.
    ///
    /// # Errors
    /// librdkafka gives no queue.
    #[allow(unsafe_code)]
    pub fn new<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Result<Self, KafkaError> {
        // SAFETY: the handle is alive as long as `consumer` is borrowed.
        let queue = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        NonNull::new(queue).map(Self).ok_or(KafkaError::ClientCreation("no queue".into()))
    }

    /// The pointer for librdkafka's calls. It is valid as long as `self`.
    pub fn as_ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.0.as_ptr()
    }
}

impl Drop for Queue {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}
