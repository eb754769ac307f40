//! Why a question to Kafka has no answer.

use std::io;

use rdkafka::error::KafkaError;

use super::events::ClientEvents;
use super::trouble;
use crate::report::{Cause, Remedy};

/// Why a question to Kafka has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The client could not be made: a property is wrong.
    #[error("kafka client")]
    Client(#[source] Remedy),
    /// The broker did not answer in time, or it refused.
    #[error("kafka: {what}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// librdkafka's code or words.
        source: Cause,
    },
    /// The broker refuses us, or we refuse the broker, or a right is missing. It would be the same next time.
    #[error("kafka: {what}")]
    NotLetIn {
        /// What was asked.
        what: &'static str,
        /// librdkafka's code or words, and what to do.
        source: Remedy,
    },
    /// The topic does not exist.
    #[error("topic {topic} does not exist")]
    NoTopic {
        /// Its name.
        topic: String,
        /// What to do.
        source: Remedy,
    },
}

/// A property that librdkafka refuses. Its own words would show the value, which may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("the property {0} is not known, or its value is none")]
struct PropertyError(String);

/// A question without an answer, and what the client said last, which explains it best.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct Unanswered {
    why: Cause,
    #[source]
    last: Cause,
}

impl AskError {
    /// For a topic that does not exist.
    pub fn no_topic(topic: &str) -> Self {
        Self::NoTopic { topic: topic.to_owned(), source: Remedy::only("create it, or set TOPIC") }
    }

    /// For a client that could not be made.
    pub fn client(error: &KafkaError) -> Self {
        let cause: Cause = match error {
            KafkaError::ClientConfig(_, _, name, _) => PropertyError(name.clone()).into(),
            error => error.clone().into(),
        };
        Self::Client(Remedy::new("look at kafka.properties", cause))
    }

    /// For a client whose thread could not be started.
    pub(super) fn no_thread(error: io::Error) -> Self {
        Self::Client(Remedy::new("let the process have more threads", error))
    }

    /// For a question that was refused, or answered with something else.
    pub fn refused(what: &'static str, cause: impl Into<Cause>) -> Self {
        Self::Refused { what, source: cause.into() }
    }

    /// For a question that failed. `events` belong to the client that asked.
    pub fn of(what: &'static str, error: &KafkaError, events: &ClientEvents) -> Self {
        let code = error.rdkafka_error_code();
        let cause = code.map_or_else(|| Cause::from(error.clone()), Cause::from);
        if let Some(remedy) = code.and_then(trouble::missing_right) {
            return Self::NotLetIn { what, source: Remedy::new(remedy, cause) };
        }
        Self::unanswered(what, cause, events)
    }

    /// For a question without an answer. The last error of the client explains it best.
    pub fn unanswered(what: &'static str, why: impl Into<Cause>, events: &ClientEvents) -> Self {
        match (events.refusal(), events.last()) {
            (Some((words, remedy)), _) => Self::NotLetIn { what, source: Remedy::new(remedy, words) },
            (None, Some(last)) => Self::refused(what, Unanswered { why: why.into(), last: last.into() }),
            (None, None) => Self::refused(what, why),
        }
    }

    /// The same with what to do, if the client does not say that it is refused.
    pub(super) fn with_remedy(self, remedy: &'static str) -> Self {
        match self {
            Self::Refused { what, source } => Self::refused(what, Remedy::new(remedy, source)),
            other => other,
        }
    }

    /// Whether it is useless to ask again.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Client(_) | Self::NotLetIn { .. })
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;
    use rdkafka::types::RDKafkaConfRes;

    use super::*;
    use crate::report::printed_once;

    #[test]
    fn each_error_tells_its_cause_once_and_what_to_do_last() {
        let quiet = ClientEvents::default();
        let loud = ClientEvents::default();
        let away = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        loud.note(&away, "connect to 127.0.0.1:9092 failed");
        let code = "BrokerTransportFailure (Local: Broker transport failure)";
        let denied = KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed);
        let property = KafkaError::ClientConfig(
            RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN,
            "no such property".into(),
            "sasl.pasword".into(),
            "hunter2".into(),
        );
        let cases = [
            (AskError::of("watermarks", &away, &quiet), format!("kafka: watermarks: {code}")),
            (
                AskError::of("watermarks", &away, &loud),
                format!("kafka: watermarks: {code}: connect to 127.0.0.1:9092 failed"),
            ),
            (
                AskError::unanswered("cluster id", "no answer", &loud).with_remedy("is the broker up?"),
                "kafka: cluster id: no answer: connect to 127.0.0.1:9092 failed; is the broker up?".into(),
            ),
            (
                AskError::of("watermarks", &denied, &quiet),
                "kafka: watermarks: TopicAuthorizationFailed (Broker: Topic authorization failed); grant the user read and \
                 describe on the topic"
                    .into(),
            ),
            (
                AskError::client(&property),
                "kafka client: the property sasl.pasword is not known, or its value is none; look at kafka.properties".into(),
            ),
            (AskError::no_topic("visits"), "topic visits does not exist; create it, or set TOPIC".into()),
        ];
        for (error, told) in cases {
            assert_eq!(printed_once(&error), told);
        }
    }
}
