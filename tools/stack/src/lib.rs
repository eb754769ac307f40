//! Real Kafka, PostgreSQL, ClickHouse and Prometheus as child processes on free loopback ports, without containers.
//!
//! For the demo, the tests and the benchmarks. How a server comes to life: its programs are downloaded once (`download`). Its
//! data gets a directory (`run_dir`), and its listeners get ports (`ports`). One thread (`spawner`) starts it as a child that
//! cannot outlive us (`process`). It is polled until it answers, and is then a [`Server`].
//!
//! Everything is synchronous, and may be called from inside a tokio runtime (it blocks the calling thread).

mod certificates;
mod deadline;
#[allow(missing_docs, reason = "the message of each variant says what it is")]
mod error;
mod name;
mod prerequisites;
mod progress;
mod secret;

mod blocking;
mod cache;
mod download;
mod http;
mod ports;
mod process;
mod run_dir;
mod spawner;
mod tool;

mod clickhouse;
mod clickhouse_users;
mod kafka;
mod kafka_admin;
mod kafka_cluster;
mod kafka_security;
mod postgres;
mod postgres_security;
mod prometheus;
mod server;
mod stack;

pub use certificates::{Certificates, Identity, IdentityFiles};
pub use clickhouse::ClickHouse;
pub use clickhouse_users::{ADOPTION_RIGHTS, ClickHouseRights, ClickHouseUser};
pub use error::StackError;
pub use kafka::Kafka;
pub use kafka_cluster::KafkaCluster;
pub use kafka_security::KafkaSecurity;
pub use postgres::{Postgres, PostgresSnapshot};
pub use prerequisites::INSTALL_LINE;
pub use progress::{Progress, Step};
pub use prometheus::{Prometheus, PrometheusOptions};
pub use server::Server;
pub use spawner::spawn;
pub use stack::{APPLICATION_DATABASE, APPLICATION_USER, Stack, StackOptions, TEST_ADOPTER, TEST_DATABASES, TEST_USER};
pub use tool::tail;
