//! Dead letters of rows that one database refuses. A batch holds columns alone, so each record is read once more from Kafka,
//! one at a time: that costs a refused row a question to the broker, and all other rows nothing. Before any of them is
//! committed the topic's id is asked again: records read in a topic that was made again would be another's.

use std::time::Duration;

use footprint_event::reject::{DeadLetter, Reason};
use footprint_event::route::Route;
use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::Kafka;
use footprint_service::kafka::AskError;
use footprint_service::kafka::again::Rereader;
use tokio::task::spawn_blocking;

use crate::ledger::ownership::Ownership;
use crate::store::sink::SinkError;

/// Reads refused records again.
pub struct Letters {
    /// Lent to the thread that reads, and given back.
    reader: Option<Rereader>,
    timeout: Duration,
}

impl Letters {
    /// A reader of the route's topic. `timeout` bounds each question.
    ///
    /// # Errors
    /// A property that librdkafka refuses.
    pub async fn open(kafka: &Kafka, route: &Route, timeout: Duration) -> Result<Self, SinkError> {
        let (kafka, route) = (kafka.clone(), route.clone());
        let reader = in_thread(move || Rereader::new(&kafka, &route)).await?;
        Ok(Self { reader: Some(reader), timeout })
    }

    async fn ask<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&mut Rereader, Duration) -> Result<T, AskError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let timeout = self.timeout;
        let Some(mut reader) = self.reader.take() else {
            return Err(SinkError::Retry {
                why: "kafka: a question before this one was given up".into(),
                uncertain: false,
            });
        };
        let (reader, answer) = in_thread(move || {
            let answer = question(&mut reader, timeout);
            Ok((reader, answer))
        })
        .await?;
        self.reader = Some(reader);
        answer.map_err(sink_error)
    }

    /// The dead letter of one row, which `sink` refused with `why`.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub async fn letter(
        &mut self,
        partition: Partition,
        (offset, received_at_us): (Offset, i64),
        sink: SinkName,
        why: &str,
    ) -> Result<DeadLetter, SinkError> {
        let found = self.ask(move |reader, timeout| reader.read(partition, offset, timeout)).await?;
        let reason = Reason::Refused { sink, why: why.to_owned(), is_gone: found.is_none() };
        let (key, payload, headers) =
            found.map_or((None, None, Vec::new()), |parts| (parts.key, parts.payload, parts.headers));
        Ok(DeadLetter { offset, received_at_us, key, payload, headers, reason })
    }

    /// Whether what was read is of the life of the topic that `ownership` is of.
    ///
    /// # Errors
    /// It is not, or Kafka does not answer.
    pub async fn check_life(&mut self, ownership: &Ownership) -> Result<(), SinkError> {
        if self.ask(|reader, timeout| reader.source(timeout)).await? == ownership.source {
            return Ok(());
        }
        // the coordinator sees it as well, and ends the ownership
        Err(SinkError::Retry {
            why: "the topic was replaced while refused records were read again".into(),
            uncertain: false,
        })
    }
}

impl Drop for Letters {
    /// A consumer's end may wait for its threads: not in the middle of other work.
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            drop(spawn_blocking(move || drop(reader)));
        }
    }
}

async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AskError> + Send + 'static,
) -> Result<T, SinkError> {
    match spawn_blocking(work).await {
        Ok(answer) => answer.map_err(sink_error),
        Err(error) => {
            Err(SinkError::Retry { why: format!("a question to kafka ended early: {error}"), uncertain: false })
        }
    }
}

fn sink_error(error: AskError) -> SinkError {
    match error {
        AskError::Client(_) | AskError::NotLetIn { .. } => {
            SinkError::Stop { why: error.to_string(), remedy: String::new() }
        }
        AskError::Refused { .. } | AskError::NoTopic(_) => {
            SinkError::Retry { why: error.to_string(), uncertain: false }
        }
    }
}
