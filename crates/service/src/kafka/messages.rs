//! Messages as librdkafka gave them, owned. Each is destroyed once. Until then it keeps the consumer alive, because librdkafka's
//! memory is gone without it. The reader's chunks carry these messages.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;
use std::sync::{Arc, mpsc};

use footprint_event::record::{Record, Records};
use footprint_event::recycle::Buffer;
use footprint_protocol::offset::Offset;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use super::brokers::BrokerId;
use super::headers::MessageHeaders;

pub(super) const NO_ERROR: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

pub(super) type Raw = NonNull<sys::rd_kafka_message_t>;

/// Keeps the consumer alive. Its fields are dropped in this order.
pub(super) struct Lease {
    client: *mut sys::rd_kafka_t,
    _consumer: Arc<dyn Send + Sync>,
    _returned: mpsc::SyncSender<()>,
}

// SAFETY: a client of librdkafka may be used from any thread, even from several at a time.
#[allow(unsafe_code)]
unsafe impl Send for Lease {}
#[allow(unsafe_code)]
unsafe impl Sync for Lease {}

impl Lease {
    /// A lease of `consumer`. `returned` closes when the last clone is gone.
    pub(super) fn new<C: ConsumerContext + 'static>(
        consumer: &Arc<BaseConsumer<C>>,
    ) -> (Arc<Self>, mpsc::Receiver<()>) {
        let (sender, returned) = mpsc::sync_channel(0);
        let client = consumer.client().native_ptr();
        let consumer: Arc<dyn Send + Sync> = Arc::<BaseConsumer<C>>::clone(consumer);
        (Arc::new(Self { client, _consumer: consumer, _returned: sender }), returned)
    }

    /// Where the log of a message's partition ended when messages were last fetched from it.
    ///
    /// # Safety
    /// The message is alive and belongs to the lease's consumer.
    #[allow(unsafe_code)]
    pub(super) unsafe fn log_end(&self, message: Raw) -> Option<Offset> {
        let (mut start, mut end) = (0, 0);
        // SAFETY: a message keeps its topic alive, and a lease keeps the client alive.
        let code = unsafe {
            let message = message.as_ref();
            let topic = sys::rd_kafka_topic_name(message.rkt);
            sys::rd_kafka_get_watermark_offsets(self.client, topic, message.partition, &raw mut start, &raw mut end)
        };
        (code == NO_ERROR && end >= 0).then_some(end)
    }
}

/// One message. It is destroyed on drop.
pub struct Message<'a> {
    raw: Raw,
    lease: &'a Arc<Lease>,
}

impl<'a> Message<'a> {
    /// Owns `raw`.
    ///
    /// # Safety
    /// It is alive, belongs to the lease's consumer, and has no other owner.
    #[allow(unsafe_code)]
    pub(super) unsafe fn new(raw: Raw, lease: &'a Arc<Lease>) -> Self {
        Self { raw, lease }
    }

    /// The broker that gave it. -1: librdkafka does not know.
    #[allow(unsafe_code)]
    pub fn broker(&self) -> BrokerId {
        // SAFETY: the message is alive as long as `self`.
        unsafe { sys::rd_kafka_message_broker_id(self.raw.as_ptr()) }
    }

    /// Its offset.
    #[allow(unsafe_code)]
    pub fn offset(&self) -> Offset {
        // SAFETY: the message is alive as long as `self`.
        unsafe { self.raw.as_ref() }.offset
    }
}

impl Drop for Message<'_> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: each message is destroyed once: here, or with the `Messages` that took it over.
        unsafe { sys::rd_kafka_message_destroy(self.raw.as_ptr()) }
    }
}

/// Messages of one partition that were taken over, in offset order. They are destroyed together.
#[derive(Default)]
pub struct Messages {
    list: Vec<Raw>,
    byte_len: usize,
    /// Set with the first message.
    lease: Option<Arc<Lease>>,
}

// SAFETY: librdkafka's messages may be used from any thread, one at a time, and this is their only owner.
#[allow(unsafe_code)]
unsafe impl Send for Messages {}

impl Messages {
    /// Takes a message over. Offsets must grow.
    #[allow(unsafe_code)]
    pub fn push(&mut self, message: Message<'_>) {
        let message = ManuallyDrop::new(message);
        self.lease.get_or_insert_with(|| Arc::clone(message.lease));
        // SAFETY: the message is alive.
        let raw = unsafe { message.raw.as_ref() };
        self.byte_len += raw.key_len + raw.len;
        self.list.push(message.raw);
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The bytes of their keys and values.
    pub fn byte_len(&self) -> usize {
        self.byte_len
    }

    #[allow(unsafe_code)]
    fn destroy(&mut self) {
        for raw in self.list.drain(..) {
            // SAFETY: each was taken over by `push` and is destroyed once, here; the lease is still held.
            unsafe { sys::rd_kafka_message_destroy(raw.as_ptr()) }
        }
        self.byte_len = 0;
        self.lease = None;
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.destroy();
    }
}

impl Buffer for Messages {
    fn clear(&mut self) {
        self.destroy();
    }

    fn capacity_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Raw>()
    }
}

impl Records for Messages {
    #[allow(unsafe_code)]
    fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        // SAFETY: the messages live as long as `self`, and so do the key and the value they point to.
        self.list.iter().map(|raw| unsafe { record(raw.as_ref()) })
    }
}

/// A message as a record.
///
/// # Safety
/// It is a live message of librdkafka.
#[allow(unsafe_code)]
unsafe fn record(message: &sys::rd_kafka_message_t) -> Record<'_> {
    // SAFETY: librdkafka gives the start and the length of bytes that live as long as the message.
    let bytes = |start: *const c_void, length| {
        (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), length) })
    };
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    Record {
        offset: message.offset,
        // SAFETY: the message is alive.
        timestamp_ms: unsafe { sys::rd_kafka_message_timestamp(message, &raw mut kind) },
        key: bytes(message.key, message.key_len),
        payload: bytes(message.payload, message.len),
        headers: Some(MessageHeaders::of(message)),
    }
}
