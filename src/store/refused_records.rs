//! Reads refused records from Kafka again, and makes their dead letters. A batch holds only columns, so each refused record must be read
//! again, one at a time. A refused row costs a question to the broker; all other rows cost nothing. Before a dead letter is committed, the
//! topic's id is checked: in a topic that was deleted and made again, the same offset is another record.

use std::time::Duration;

use footprint_event::reject::{DeadLetter, Reason};
use footprint_event::route::Route;
use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::Kafka;
use footprint_service::kafka::AskError;
use footprint_service::kafka::reread::Rereader;
use tokio::task::spawn_blocking;

use crate::ledger::ownership::Ownership;
use crate::store::sink::SinkError;
use crate::store::write_failure::WriteFailure;

/// Reads refused records again.
pub struct RefusedRecords {
    /// None while a thread uses the reader, and after a question was given up.
    reader: Option<Rereader>,
    timeout: Duration,
}

impl RefusedRecords {
    /// Opens a reader of the route's topic. `timeout` bounds each question.
    ///
    /// # Errors
    /// librdkafka refuses a property.
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
            return Err(SinkError::Retry(WriteFailure::GivenUp));
        };
        let (reader, answer) = in_thread(move || {
            let answer = question(&mut reader, timeout);
            Ok((reader, answer))
        })
        .await?;
        self.reader = Some(reader);
        answer.map_err(sink_error)
    }

    /// The dead letter of a row that `sink` refused with the message `why`.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub async fn dead_letter(
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

    /// Checks that the records were read from the topic that `ownership` is for.
    ///
    /// # Errors
    /// The topic was replaced, or Kafka does not answer.
    pub async fn check_topic(&mut self, ownership: &Ownership) -> Result<(), SinkError> {
        if self.ask(|reader, timeout| reader.source(timeout)).await? == ownership.source {
            return Ok(());
        }
        // the coordinator also notices the new topic, and ends the ownership
        Err(SinkError::Retry(WriteFailure::Replaced))
    }
}

impl Drop for RefusedRecords {
    /// Dropping a consumer may wait for its threads, so another thread does it.
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
        Err(error) => Err(SinkError::Retry(WriteFailure::Thread(error))),
    }
}

fn sink_error(error: AskError) -> SinkError {
    let class = if error.is_final() { SinkError::Stop } else { SinkError::Retry };
    class(error.into())
}
