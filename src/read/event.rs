//! What the reader tells the coordinator.

use footprint_protocol::offset::{Offset, Partition};
use footprint_service::kafka::fetched::InPlaceError;
use footprint_service::kafka::trouble::{InPlace, in_place_of_messages, missing_right};

/// What the reader tells the coordinator.
#[derive(Debug)]
pub enum Event {
    /// The group gives partitions.
    Assigned(Vec<Partition>),
    /// The group takes partitions; it waits for `Release` unless they are lost already.
    Revoked {
        /// Which.
        partitions: Vec<Partition>,
        /// The group has given them to somebody else already.
        lost: bool,
    },
    /// Commits were answered.
    Committed {
        /// How many commands it answers.
        count: usize,
        /// librdkafka's words where it was refused.
        result: Result<(), String>,
    },
    /// What was to be read of these partitions is not there, or could not be asked for: look again where each is to be read.
    Displaced {
        /// The partitions.
        partitions: Vec<Partition>,
        /// librdkafka's words.
        why: String,
    },
    /// An error stands in place of records: nothing more is read of the partition.
    Unreadable {
        /// The partition.
        partition: Partition,
        /// Where the error stands.
        offset: Offset,
        /// Everything below it was handed on before.
        handed: Offset,
        /// librdkafka's words.
        why: String,
    },
    /// The topic is not there.
    TopicGone,
    /// The group does not let us in: its members assign partitions in another way.
    RefusedByGroup,
    /// The client cannot go on.
    Failed(String),
}

impl Event {
    /// What the coordinator learns of an error in place of messages; nothing where it is harmless.
    pub fn in_place(error: InPlaceError, handed: Offset) -> Option<Self> {
        let InPlaceError { partition, offset, code, why } = error;
        Some(match in_place_of_messages(code) {
            InPlace::Harmless => return None,
            InPlace::OutOfRange => {
                Self::Displaced { partitions: vec![partition], why: format!("offset {offset}: {why}") }
            }
            InPlace::Gone => Self::TopicGone,
            InPlace::Denied => Self::Failed(format!("{why}; {}", missing_right(code).unwrap_or("grant read on it"))),
            InPlace::Unreadable => Self::Unreadable { partition, offset, handed, why },
        })
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;

    #[test]
    fn an_offset_out_of_range_is_one_partitions_matter() {
        let error =
            InPlaceError { partition: 3, offset: 7, code: RDKafkaErrorCode::OffsetOutOfRange, why: "gone".into() };
        let Some(Event::Displaced { partitions, why }) = Event::in_place(error, 7) else { panic!("another event") };
        assert_eq!((partitions, why.as_str()), (vec![3], "offset 7: gone"));
    }
}
