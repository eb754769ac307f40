//! Why a question to Kafka has no answer.

use rdkafka::error::KafkaError;

use super::events::ClientEvents;
use super::trouble;

/// Why a question to Kafka has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The client could not be made: a property is wrong.
    #[error("kafka client: {0}; look at kafka.properties")]
    Client(String),
    /// The broker did not answer in time, or it refused.
    #[error("kafka: {what}: {why}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// librdkafka's words.
        why: String,
    },
    /// The broker refuses us, or we refuse the broker, or a right is missing. It would be the same next time.
    #[error("kafka: {what}: {why}; {remedy}")]
    NotLetIn {
        /// What was asked.
        what: &'static str,
        /// librdkafka's words.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The topic does not exist.
    #[error("topic {0} does not exist; create it, or set TOPIC")]
    NoTopic(String),
}

impl AskError {
    /// For a client that could not be made. The binding's own text would show a property's value, which may be a secret.
    pub fn client(error: &KafkaError) -> Self {
        Self::Client(match error {
            KafkaError::ClientConfig(_, _, name, _) => {
                format!("the property {name} is not known, or its value is not valid")
            }
            error => error.to_string(),
        })
    }

    /// For a question that failed. `events` belong to the client that asked.
    pub fn of(what: &'static str, error: &KafkaError, events: &ClientEvents) -> Self {
        let code = error.rdkafka_error_code();
        if let Some(remedy) = code.and_then(trouble::missing_right) {
            return Self::NotLetIn { what, why: code.map_or_else(String::new, |code| code.to_string()), remedy };
        }
        Self::unanswered(what, code.map_or_else(|| error.to_string(), |code| code.to_string()), events)
    }

    /// For a question without an answer. `why` is the short reason. The last error of the client explains it best.
    pub fn unanswered(what: &'static str, why: impl Into<String>, events: &ClientEvents) -> Self {
        let why = why.into();
        match (events.refusal(), events.last()) {
            (Some((why, remedy)), _) => Self::NotLetIn { what, why, remedy },
            (None, Some(last)) => Self::Refused { what, why: format!("{why}: {last}") },
            (None, None) => Self::Refused { what, why },
        }
    }

    /// Whether it is useless to ask again.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Client(_) | Self::NotLetIn { .. })
    }
}
