//! Questions and commands to one named broker of a cluster. The binding would send each to the broker that it takes for the
//! controller. Every librdkafka object that is made here is destroyed here.

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::error::StackError;

const LIMIT: Duration = Duration::from_secs(20);
const NO_ERROR: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

pub(crate) fn refused(error: impl std::fmt::Display) -> StackError {
    StackError::Refused { server: "Kafka", message: error.to_string() }
}

/// Sends one request to `broker`, and returns what `read` makes of its answer.
#[allow(unsafe_code)]
fn ask<T>(
    client: &BaseConsumer,
    broker: usize,
    operation: sys::rd_kafka_admin_op_t,
    send: impl FnOnce(*mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    read: impl FnOnce(*mut sys::rd_kafka_event_t) -> Result<T, StackError>,
) -> Result<T, StackError> {
    let limit_ms = i32::try_from(LIMIT.as_millis()).map_err(refused)?;
    let broker = i32::try_from(broker).map_err(refused)?;
    // SAFETY: the handle lives as long as `client`; options, queue and event are destroyed below, after their last use.
    unsafe {
        let handle = client.client().native_ptr();
        let options = sys::rd_kafka_AdminOptions_new(handle, operation);
        sys::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, limit_ms, ptr::null_mut(), 0);
        let queue = sys::rd_kafka_queue_new(handle);
        send(handle, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, limit_ms + 1_000);
        let answer = if event.is_null() {
            Err(refused("no answer in time"))
        } else if sys::rd_kafka_event_error(event) != NO_ERROR {
            Err(refused(CStr::from_ptr(sys::rd_kafka_event_error_string(event)).to_string_lossy()))
        } else {
            read(event)
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        answer
    }
}

/// The result of a request about one topic.
///
/// # Safety
/// `results` are `count` live results.
#[allow(unsafe_code)]
unsafe fn of_topic(results: *mut *const sys::rd_kafka_topic_result_t, count: usize) -> Result<(), StackError> {
    if results.is_null() || count != 1 {
        return Err(refused("an answer without the topic"));
    }
    // SAFETY: there is one result; the text is its own, or null.
    unsafe {
        let result = *results;
        if sys::rd_kafka_topic_result_error(result) == NO_ERROR {
            return Ok(());
        }
        let text = sys::rd_kafka_topic_result_error_string(result);
        Err(refused(if text.is_null() { "".into() } else { CStr::from_ptr(text).to_string_lossy() }))
    }
}

/// Creates a topic. `replicas` are each partition's brokers, its leader first.
#[allow(unsafe_code)]
pub(crate) fn create_topic(
    client: &BaseConsumer,
    broker: usize,
    topic: &str,
    replicas: &[Vec<i32>],
) -> Result<(), StackError> {
    let name = CString::new(topic).map_err(refused)?;
    let count = i32::try_from(replicas.len()).map_err(refused)?;
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
    // SAFETY: the new topic is destroyed after the request, which copies it; its lists are copied when they are set.
    unsafe {
        let mut new = sys::rd_kafka_NewTopic_new(name.as_ptr(), count, -1, ptr::null_mut(), 0);
        for (partition, brokers) in (0..count).zip(replicas) {
            let mut brokers = brokers.clone();
            let of = brokers.as_mut_ptr();
            sys::rd_kafka_NewTopic_set_replica_assignment(new, partition, of, brokers.len(), ptr::null_mut(), 0);
        }
        let send = |handle, options, queue| sys::rd_kafka_CreateTopics(handle, &raw mut new, 1, options, queue);
        let read = |event| {
            let mut count = 0;
            let result = sys::rd_kafka_event_CreateTopics_result(event);
            of_topic(sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count), count)
        };
        let answer = ask(client, broker, operation, send, read);
        sys::rd_kafka_NewTopic_destroy(new);
        answer
    }
}

/// Deletes a topic.
#[allow(unsafe_code)]
pub(crate) fn delete_topic(client: &BaseConsumer, broker: usize, topic: &str) -> Result<(), StackError> {
    let name = CString::new(topic).map_err(refused)?;
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS;
    // SAFETY: the topic's name is destroyed after the request, which copies it.
    unsafe {
        let mut deleted = sys::rd_kafka_DeleteTopic_new(name.as_ptr());
        let send = |handle, options, queue| sys::rd_kafka_DeleteTopics(handle, &raw mut deleted, 1, options, queue);
        let read = |event| {
            let mut count = 0;
            let result = sys::rd_kafka_event_DeleteTopics_result(event);
            of_topic(sys::rd_kafka_DeleteTopics_result_topics(result, &raw mut count), count)
        };
        let answer = ask(client, broker, operation, send, read);
        sys::rd_kafka_DeleteTopic_destroy(deleted);
        answer
    }
}

/// Whether a broker knows a topic.
#[allow(unsafe_code)]
pub(crate) fn knows_topic(client: &BaseConsumer, broker: usize, topic: &str) -> Result<bool, StackError> {
    let name = CString::new(topic).map_err(refused)?;
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the list is destroyed after the request, which copies it; what is read of the event is copied.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let send = |handle, options, queue| sys::rd_kafka_DescribeTopics(handle, topics, options, queue);
        let read = |event| {
            let mut count = 0;
            let result = sys::rd_kafka_event_DescribeTopics_result(event);
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            if topics.is_null() || count != 1 {
                return Err(refused("an answer without the topic"));
            }
            Ok(sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(*topics)) == NO_ERROR)
        };
        let answer = ask(client, broker, operation, send, read);
        sys::rd_kafka_TopicCollection_destroy(topics);
        answer
    }
}
