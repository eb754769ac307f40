//! Kafka's client side: its configuration, its events, its messages, and what librdkafka is asked outside the stream of records.
//! With the reader and commit it is all that names rdkafka's types.

pub mod again;
pub mod brokers;
mod describe;
mod error;
pub mod events;
pub mod fetched;
mod headers;
mod inquirer;
pub mod members;
pub mod messages;
pub mod partitions;
mod poller;
mod probe;
pub mod queue;
mod settings;
mod token;
pub mod trouble;

pub use self::describe::{TopicDescription, source_id, topic_timestamp_type};
pub use self::error::AskError;
pub use self::inquirer::Inquirer;
pub use self::settings::{client_config, config_over, consumer_config};
