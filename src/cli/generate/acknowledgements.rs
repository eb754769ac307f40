//! Kafka's answers about the records that `generate` has sent.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use footprint_service::kafka::events::ClientEvents;
use parking_lot::Mutex;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientConfig, Message};

/// Counts Kafka's answers about the records so far.
pub(super) struct Acknowledgements {
    pub(super) acknowledged: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
    events: ClientEvents,
}

impl ClientContext for Acknowledgements {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.events.token(config)?)
    }

    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.events.log_line(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.note(&error, reason);
    }
}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.acknowledged.fetch_add(1, Ordering::Relaxed),
            Err((error, message)) => {
                self.first_failure.lock().get_or_insert_with(|| format!("partition {}: {error}", message.partition()));
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

impl Acknowledgements {
    /// Nothing was sent yet.
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self {
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            first_failure: Mutex::default(),
            events: ClientEvents::new(config),
        }
    }

    /// Returns an error if Kafka did not take a record.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let failed = self.failed.load(Ordering::Relaxed);
        let first = self.first_failure.lock().clone().unwrap_or_default();
        let last = self.events.last().map_or(String::new(), |last| format!("; the client's last error: {last}"));
        ensure!(failed == 0, "kafka did not take {failed} records; the first, of {first}{last}");
        Ok(())
    }
}
