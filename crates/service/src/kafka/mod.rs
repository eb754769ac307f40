//! The client side of Kafka: its configuration, its events, its messages, and the questions to librdkafka apart from the stream
//! of records. Only this folder, the reader and the commit name rdkafka's types.

pub mod brokers;
mod describe;
mod error;
pub mod events;
pub mod fetched;
mod headers;
mod inquirer;
mod leaders;
pub mod members;
pub mod messages;
pub mod partitions;
mod poller;
mod probe;
pub mod queue;
pub mod reread;
pub mod retention;
mod settings;
mod token;
pub mod trouble;

pub use self::describe::{TopicDescription, source_id, topic_settings};
pub use self::error::AskError;
pub use self::inquirer::Inquirer;
pub use self::leaders::Leaders;
pub use self::settings::{client_config, client_version, config_over, consumer_config};
