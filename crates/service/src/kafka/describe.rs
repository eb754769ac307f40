//! What Kafka says about a topic: its id, its partitions and its settings.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use footprint_protocol::ledger::SourceId;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::bindings as sys;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use xxhash_rust::xxh3::xxh3_64;

use super::brokers::BrokerId;
use super::error::AskError;
use super::events::{ClientEvents, serve};
use super::settings::client_config;
use crate::config::Kafka;

/// A topic as the broker knows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Kafka's id of this life of the topic.
    pub topic_id: String,
    /// Its partitions.
    pub partition_count: i32,
}

/// The source of a topic's life. It is the same on every machine and in every version, because it is part of the key of the
/// ledger's rows.
pub fn source_id(cluster_id: &str, topic_id: &str) -> SourceId {
    SourceId((xxh3_64(format!("{cluster_id}\n{topic_id}").as_bytes()) >> 1).cast_signed())
}

/// A topic's settings by name, with the broker's defaults.
///
/// # Errors
/// No answer in time, or the right to describe configurations is missing.
pub async fn topic_settings(
    kafka: &Kafka,
    topic: &str,
    timeout: Duration,
) -> Result<BTreeMap<String, String>, AskError> {
    settings_of(&client_config(kafka), topic, timeout).await
}

/// The same, by a client with this configuration.
pub(super) async fn settings_of(
    config: &ClientConfig,
    topic: &str,
    timeout: Duration,
) -> Result<BTreeMap<String, String>, AskError> {
    const WHAT: &str = "topic settings";
    let admin: AdminClient<ClientEvents> = AdminClient::from_config_and_context(config, ClientEvents::new(config))
        .map_err(|error| AskError::client(&error))?;
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let topics = [ResourceSpecifier::Topic(topic)];
    let asking = admin.describe_configs(&topics, &options);
    let answers = tokio::time::timeout(timeout, asking)
        .await
        .map_err(|_| AskError::refused(WHAT, "no answer in time"))?
        .map_err(|error| AskError::refused(WHAT, error))?;
    let mut settings = BTreeMap::new();
    for answer in answers {
        let resource = answer.map_err(|code| AskError::refused(WHAT, code))?;
        settings.extend(resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
    }
    if settings.is_empty() {
        // the binding drops the broker's reason, and a topic always has settings
        return Err(AskError::refused(WHAT, "the broker does not show them to this user"));
    }
    Ok(settings)
}

/// The most frequent question.
const DESCRIBE: &str = "describe topic";

/// The binding has no DescribeTopics, so this calls librdkafka's C interface. Every object made here is destroyed here.
#[allow(unsafe_code)]
pub(super) fn describe_topic(
    consumer: &BaseConsumer<ClientEvents>,
    broker: Option<BrokerId>,
    topic: &str,
    timeout: Duration,
) -> Result<TopicDescription, AskError> {
    let name = CString::new(topic).map_err(|_| AskError::no_topic(topic))?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle lives as long as `consumer`; names, options, queue and event are destroyed below by their own
    // destroyers, in reverse order of making, and nothing borrowed from the event outlives it.
    unsafe {
        let handle = consumer.client().native_ptr();
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let options =
            sys::rd_kafka_AdminOptions_new(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        if let Some(broker) = broker {
            sys::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
        }
        let queue = sys::rd_kafka_queue_new(handle);
        sys::rd_kafka_DescribeTopics(handle, topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1_000));
        let answer = if event.is_null() {
            Err(AskError::unanswered(DESCRIBE, "no answer in time", serve(consumer)))
        } else {
            read_description(event, topic, serve(consumer))
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
        answer
    }
}

/// # Safety
/// `event` is a live event of librdkafka.
#[allow(unsafe_code)]
unsafe fn read_description(
    event: *mut sys::rd_kafka_event_t,
    topic: &str,
    events: &ClientEvents,
) -> Result<TopicDescription, AskError> {
    let refused = |why: &str| AskError::refused(DESCRIBE, why);
    let failed = |code: sys::rd_kafka_resp_err_t| AskError::of(DESCRIBE, &KafkaError::Global(code.into()), events);
    // SAFETY: the caller's event is alive; what is read from it is copied before returning.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(code));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(refused("an answer of another kind"));
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count != 1 {
            return Err(refused("an answer without the topic"));
        }
        let description = *topics;
        let code = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(description));
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => {
                return Err(AskError::no_topic(topic));
            }
            other => return Err(failed(other)),
        }
        let id = sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(description));
        if id.is_null() {
            return Err(refused("the broker gave no topic id; footprint needs Kafka 3.1 or later"));
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(description, &raw mut partitions);
        Ok(TopicDescription {
            topic_id: CStr::from_ptr(id).to_string_lossy().into_owned(),
            partition_count: i32::try_from(partitions).unwrap_or(i32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_of_a_topic_has_the_same_source_in_every_version() {
        assert_eq!(source_id("MkU3OEVBNTcwNTJENDM2Qg", "8_f-kGk4TmOrd9yPAJ4ZlQ").0, 1_952_619_286_622_351_775);
        assert_ne!(source_id("cluster", "topic"), source_id("cluster", "another"));
        assert_ne!(source_id("cluster", "topic"), source_id("clustert", "opic"));
    }
}
