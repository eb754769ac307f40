//! What Kafka's log holds of a window: every committed record, decoded as the pipeline would decode it, as one content number. It
//! reads by assignment only. It joins no group and commits nothing, and a running consumer notices nothing. Its calls block, so
//! they need their own thread.

use std::time::{Duration, Instant};

use footprint_event::decode::Decoder;
use footprint_event::normalize::received_at_us;
use footprint_event::record::Record;
use footprint_event::recycle::Buffer as _;
use footprint_event::route::Route;
use footprint_event::rows::Rows;
use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_service::config::Kafka;
use footprint_service::kafka::events::ClientEvents;
use footprint_service::kafka::trouble::{InPlace, in_place_of_messages, is_of_the_client};
use footprint_service::kafka::{AskError, Inquirer, TopicDescription, consumer_config};
use footprint_service::report::Cause;
use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};

use crate::upkeep::verify::content::Content;
use crate::upkeep::verify::error::VerifyError;
use crate::upkeep::verify::window::LogTally;

/// How long one answer of Kafka may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often Kafka may say that an offset is out of range although it is in the range.
const OUT_OF_RANGE_MAX: u32 = 3;
/// How long one poll waits. The end of a window without a record at its end is seen only after that.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);

/// Reads one topic's partitions, one at a time.
pub(in crate::upkeep) struct LogReader {
    inquirer: Inquirer,
    consumer: BaseConsumer<ClientEvents>,
    bootstrap_servers: String,
    topic: String,
    /// Where the consumer is, if it is assigned.
    at: Option<(Partition, Offset)>,
    stall: Duration,
    reader: ContentReader,
}

/// Turns records into content numbers.
struct ContentReader {
    decoder: Decoder,
    /// The record being read, alone: a row may hold a mebibyte.
    row: Rows,
    content: Content,
}

impl LogReader {
    /// A reader of `route`'s topic. Asks nothing yet. `stall` bounds how long no record may come.
    ///
    /// # Errors
    /// A property that librdkafka refuses, or a route that cannot be decoded.
    pub(super) fn new(kafka: &Kafka, route: &Route, stall: Duration) -> Result<Self, VerifyError> {
        Self::with_queue(kafka, route, stall, kafka.queue_kbytes_max)
    }

    /// The same, where librdkafka holds at most `queue_kbytes`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(in crate::upkeep) fn with_queue(
        kafka: &Kafka,
        route: &Route,
        stall: Duration,
        queue_kbytes: u32,
    ) -> Result<Self, VerifyError> {
        let mut config = consumer_config(kafka, route, queue_kbytes);
        config.remove("group.instance.id");
        let bootstrap_servers = kafka.bootstrap_servers.clone();
        let refused = |source| VerifyError::Kafka { bootstrap_servers: kafka.bootstrap_servers.clone(), source };
        let consumer = BaseConsumer::from_config_and_context(&config, ClientEvents::new(&config))
            .map_err(|error| refused(AskError::client(&error)))?;
        let inquirer = Inquirer::new(kafka).map_err(refused)?;
        let reader =
            ContentReader { decoder: Decoder::new(route)?, row: Rows::empty(route), content: Content::default() };
        Ok(Self { inquirer, consumer, bootstrap_servers, topic: route.topic.clone(), at: None, stall, reader })
    }

    /// Stops reading ahead.
    pub(in crate::upkeep) fn rest(&mut self) {
        self.at = None;
        // what was fetched goes; an error leaves the assignment, which the next range replaces
        let _ = self.consumer.unassign();
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// No answer in time.
    pub(in crate::upkeep) fn cluster_id(&self) -> Result<String, VerifyError> {
        self.inquirer.cluster_id(ANSWER_TIMEOUT).map_err(|error| self.refused(error))
    }

    /// The topic as it is now. None: there is no such topic.
    ///
    /// # Errors
    /// No answer in time.
    pub(in crate::upkeep) fn describe(&self) -> Result<Option<TopicDescription>, VerifyError> {
        match self.inquirer.describe_topic(&self.topic, ANSWER_TIMEOUT) {
            Ok(description) => Ok(Some(description)),
            Err(AskError::NoTopic { .. }) => Ok(None),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// The log's start and last stable offset.
    ///
    /// # Errors
    /// No answer in time.
    pub(in crate::upkeep) fn watermarks(&self, partition: Partition) -> Result<(Offset, Offset), VerifyError> {
        self.inquirer.watermarks(&self.topic, partition, ANSWER_TIMEOUT).map_err(|error| self.refused(error))
    }

    /// Reads the records of the tally's known range, except those in `holes`, which the ledger says cannot be read. The range
    /// shrinks if the log's start passes it meanwhile.
    ///
    /// # Errors
    /// Kafka refuses, cannot give a record, or sends nothing for too long.
    pub(in crate::upkeep) fn read(
        &mut self,
        partition: Partition,
        holes: &[Range],
        tally: &mut LogTally,
    ) -> Result<(), VerifyError> {
        while let Some(known) = tally.known() {
            let mut shrunk = false;
            for range in without_holes(known, holes) {
                shrunk = self.read_range(partition, range, tally)?;
                if shrunk {
                    break;
                }
            }
            if !shrunk {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads the records of `range`. True: the log's start has passed it meanwhile, and the tally knows that.
    fn read_range(&mut self, partition: Partition, range: Range, tally: &mut LogTally) -> Result<bool, VerifyError> {
        for try_number in 1.. {
            if self.at != Some((partition, range.start)) {
                self.assign(partition, range.start)?;
            }
            match self.read_to(partition, range.end, tally) {
                Ok(()) => return Ok(false),
                Err(Stopped::OutOfRange) => {
                    self.at = None;
                    let (start, _) = self.watermarks(partition)?;
                    if start > range.start {
                        tally.shorten(start);
                        return Ok(true);
                    }
                    // this may be about the place where the client was behind a hole, before it was assigned here
                    if try_number == OUT_OF_RANGE_MAX {
                        return Err(self.failed(partition, range.start, "the offset is out of the log's range"));
                    }
                }
                Err(Stopped::Failed(offset, why)) => {
                    self.at = None;
                    return Err(self.failed(partition, offset, why));
                }
            }
        }
        Ok(false)
    }

    fn read_to(&mut self, partition: Partition, end: Offset, tally: &mut LogTally) -> Result<(), Stopped> {
        let mut next = self.at.map_or(0, |(_, offset)| offset);
        let mut heard = Instant::now();
        loop {
            match self.consumer.poll(POLL_TIMEOUT) {
                Some(Ok(message)) => {
                    if message.partition() != partition || message.offset() < next {
                        continue; // it was fetched before the assignment
                    }
                    if message.offset() >= end {
                        self.at = None; // this record belongs to a later window, and is read again then
                        return Ok(());
                    }
                    self.reader.look(&message, tally);
                    next = message.offset() + 1;
                    heard = Instant::now();
                }
                Some(Err(error)) => {
                    // an offset without a record moves only the position
                    next = next.max(self.position(partition).unwrap_or(next));
                    if next < end {
                        self.judge(&error, next, heard)?;
                    }
                }
                None => {
                    // offsets without a record (control records, aborted records) move only the position
                    let position = self.position(partition).unwrap_or(next);
                    if position > next {
                        next = position;
                        heard = Instant::now();
                    }
                    if next < end && heard.elapsed() > self.stall {
                        let last = self.consumer.context().last().map_or(String::new(), |last| format!(": {last}"));
                        return Err(Stopped::Failed(next, format!("no record came for {:?}{last}", self.stall).into()));
                    }
                }
            }
            if next >= end {
                self.at = Some((partition, next));
                return Ok(());
            }
        }
    }

    /// Whether reading continues after an error that came in place of the record at `next`.
    fn judge(&self, error: &KafkaError, next: Offset, heard: Instant) -> Result<(), Stopped> {
        let KafkaError::MessageConsumption(code) = error else {
            return Err(Stopped::Failed(next, error.clone().into()));
        };
        match in_place_of_messages(*code) {
            InPlace::OutOfRange => Err(Stopped::OutOfRange),
            // librdkafka itself connects again to a broker that is away; the deadline decides
            _ if is_of_the_client(*code) && heard.elapsed() <= self.stall => Ok(()),
            InPlace::Harmless => Ok(()),
            _ => {
                let words = self.consumer.context().last();
                Err(Stopped::Failed(next, words.map_or_else(|| Cause::from(*code), Cause::from)))
            }
        }
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        let list = self.consumer.position().ok()?;
        match list.find_partition(&self.topic, partition)?.offset() {
            rdkafka::Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    fn assign(&mut self, partition: Partition, offset: Offset) -> Result<(), VerifyError> {
        let mut list = TopicPartitionList::new();
        let assigned = list
            .add_partition_offset(&self.topic, partition, rdkafka::Offset::Offset(offset))
            .and_then(|()| self.consumer.assign(&list));
        self.at = Some((partition, offset));
        assigned.map_err(|error| self.failed(partition, offset, error))
    }

    fn refused(&self, source: AskError) -> VerifyError {
        VerifyError::Kafka { bootstrap_servers: self.bootstrap_servers.clone(), source }
    }

    fn failed(&self, partition: Partition, offset: Offset, cause: impl Into<Cause>) -> VerifyError {
        VerifyError::Log { topic: self.topic.clone(), partition, offset, source: cause.into() }
    }
}

/// Why a window was not read to its end.
enum Stopped {
    OutOfRange,
    Failed(Offset, Cause),
}

/// The parts of `known` that are in none of `holes`, which are in rising order.
fn without_holes(known: Range, holes: &[Range]) -> Vec<Range> {
    let mut parts = Vec::new();
    let mut start = known.start;
    for hole in holes.iter().filter(|hole| hole.end > known.start && hole.start < known.end) {
        if start < hole.start {
            parts.push(Range::new(start, hole.start));
        }
        start = start.max(hole.end);
    }
    if start < known.end {
        parts.push(Range::new(start, known.end));
    }
    parts
}

impl ContentReader {
    fn look(&mut self, message: &BorrowedMessage<'_>, tally: &mut LogTally) {
        let timestamp_ms = message.timestamp().to_millis().unwrap_or(-1);
        let record = Record {
            offset: message.offset(),
            timestamp_ms,
            key: message.key(),
            payload: message.payload(),
            headers: None,
        };
        tally.received(received_at_us(timestamp_ms));
        if self.decoder.decode(record, &mut self.row).is_ok() {
            tally.add_good(record.offset, self.content.of_row(&self.row, 0));
            if tally.wants_letter(record.offset) {
                let received = received_at_us(timestamp_ms);
                tally.add_letter(record.offset, self.content.of_dead_letter(received, record.key, record.payload));
            }
            self.row.clear();
        } else {
            let number = self.content.of_dead_letter(received_at_us(timestamp_ms), record.key, record.payload);
            tally.add_bad(record.offset, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_read_around() {
        let range = |(start, end): (Offset, Offset)| Range::new(start, end);
        let parts = |holes: &[(Offset, Offset)]| {
            let holes: Vec<Range> = holes.iter().copied().map(range).collect();
            without_holes(Range::new(10, 20), &holes).iter().map(|part| (part.start, part.end)).collect::<Vec<_>>()
        };
        assert_eq!(parts(&[]), [(10, 20)]);
        assert_eq!(parts(&[(0, 10), (20, 30)]), [(10, 20)]);
        assert_eq!(parts(&[(0, 12), (14, 15), (15, 16), (19, 30)]), [(12, 14), (16, 19)]);
        assert_eq!(parts(&[(5, 30)]), []);
    }
}
