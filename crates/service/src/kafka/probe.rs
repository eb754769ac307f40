//! Finds where a log can be read again behind records that cannot be read. librdkafka does not say: behind a batch with a bad
//! checksum it continues at a wrong place of the fetched bytes. So this tries the offsets behind it, each with its own fetch. For
//! any offset of a batch the broker sends the whole batch, and with it the same error.

use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition, Range};
use rdkafka::TopicPartitionList;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::AskError;
use super::events::{ClientEvents, wake};
use super::trouble::{InPlace, in_place_of_messages, is_of_the_client};

const WHAT: &str = "looking for where the log can be read again";
/// How long one poll waits.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);

/// Tries the offsets of one partition.
pub(super) struct Probe<'a> {
    pub(super) config: &'a ClientConfig,
    pub(super) topic: &'a str,
    pub(super) partition: Partition,
    pub(super) deadline: Instant,
}

impl Probe<'_> {
    /// The first offset of `behind` that can be read. None: no offset can. Its start cannot be read.
    pub(super) fn first_readable(&self, behind: Range) -> Result<Option<Offset>, AskError> {
        search(behind, |offset| self.is_readable(offset))
    }

    /// Uses a new client: one that has met the error continues at a wrong place, and its effects come late.
    fn is_readable(&self, offset: Offset) -> Result<bool, AskError> {
        let mut config = self.config.clone();
        config.set("auto.offset.reset", "error").set("isolation.level", "read_committed").set("check.crcs", "true");
        let consumer = BaseConsumer::from_config_and_context(&config, ClientEvents::new(&config));
        let consumer = consumer.map_err(|error| AskError::client(&error))?;
        let failed = |error: KafkaError| AskError::of(WHAT, &error, consumer.context());
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topic, self.partition, rdkafka::Offset::Offset(offset)).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        while Instant::now() < self.deadline {
            match consumer.poll(POLL_TIMEOUT) {
                Some(Ok(message)) if message.offset() >= offset => return Ok(true),
                Some(Err(KafkaError::MessageConsumption(code))) => match in_place_of_messages(code) {
                    InPlace::Unreadable if !is_of_the_client(code) => return Ok(false),
                    _ => {}
                },
                _ => {}
            }
            // an offset without a record (a control record, an aborted record) moves only the position
            if self.position(&consumer).is_some_and(|position| position > offset) {
                return Ok(true);
            }
            wake(&consumer);
        }
        Err(AskError::unanswered(WHAT, "no answer in time", consumer.context()))
    }
}

impl Probe<'_> {
    fn position(&self, consumer: &BaseConsumer<ClientEvents>) -> Option<Offset> {
        let list = consumer.position().ok()?;
        match list.find_partition(self.topic, self.partition)?.offset() {
            rdkafka::Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

/// The first offset of `behind` for which `is_readable` holds. If it holds for one offset, it must hold for all later ones.
fn search<E>(behind: Range, mut is_readable: impl FnMut(Offset) -> Result<bool, E>) -> Result<Option<Offset>, E> {
    let (mut bad, mut step) = (behind.start, 1);
    let mut good = loop {
        let next = bad.saturating_add(step);
        if next >= behind.end {
            // the last offset is tried too before all are given up
            let last = behind.end - 1;
            if last <= bad || !is_readable(last)? {
                return Ok(None);
            }
            break last;
        }
        if is_readable(next)? {
            break next;
        }
        (bad, step) = (next, step * 2);
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if is_readable(middle)? { good = middle } else { bad = middle }
    }
    Ok(Some(good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_can_be_read_is_found_with_few_questions() {
        for end in [401, 402, 600, 1_000, 2_000_000] {
            for first in 401..end.min(1_100) {
                let mut questions = 0;
                let found = search(Range::new(400, end), |offset| {
                    questions += 1;
                    Ok::<_, ()>(offset >= first)
                });
                assert_eq!(found, Ok(Some(first)), "{first} of {end}");
                assert!(questions <= 24, "{questions}");
            }
            assert_eq!(search(Range::new(400, end), |_| Ok::<_, ()>(false)), Ok(None));
        }
        assert_eq!(search(Range::new(400, 500), |_| Err::<bool, _>("away")), Err("away"));
    }
}
