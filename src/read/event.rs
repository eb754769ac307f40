//! What the reader tells the coordinator, and which of Kafka's errors it makes of what. Pure.

use footprint_protocol::offset::{Offset, Partition};
use footprint_service::kafka::fetched::InPlaceError;
use footprint_service::kafka::trouble::{InPlace, in_place_of_messages, missing_right};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What the reader tells the coordinator.
#[derive(Debug, PartialEq, Eq)]
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
    /// An error came in place of records: nothing more of the partition is read.
    Unreadable {
        /// The partition.
        partition: Partition,
        /// The offset of the error.
        offset: Offset,
        /// Everything below it was sent on before.
        sent_below: Offset,
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
    pub fn in_place(error: InPlaceError, sent_below: Offset) -> Option<Self> {
        let InPlaceError { partition, offset, code, why } = error;
        Some(match in_place_of_messages(code) {
            InPlace::Harmless => return None,
            InPlace::OutOfRange => {
                Self::Displaced { partitions: vec![partition], why: format!("offset {offset}: {why}") }
            }
            InPlace::Gone => Self::TopicGone,
            InPlace::Denied => Self::Failed(format!("{why}; {}", missing_right(code).unwrap_or("grant read on it"))),
            InPlace::Unreadable => Self::Unreadable { partition, offset, sent_below, why },
        })
    }

    /// What the coordinator learns of an error on the group's queue, which is of the group, the topic or the client as a whole;
    /// nothing where librdkafka goes on by itself. `assigned`: the partitions that are fetched.
    pub fn of_group(error: &KafkaError, assigned: &[Partition]) -> Option<Self> {
        let code = match error {
            KafkaError::MessageConsumptionFatal(_) => return Some(Self::Failed(error.to_string())),
            KafkaError::MessageConsumption(code) => *code,
            _ => return None,
        };
        match code {
            // the error of one partition comes by its own queue, and names it
            RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::NoOffset => {
                Some(Self::Displaced { partitions: assigned.to_vec(), why: error.to_string() })
            }
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => Some(Self::TopicGone),
            RDKafkaErrorCode::InconsistentGroupProtocol => Some(Self::RefusedByGroup),
            code => missing_right(code).map(|remedy| Self::Failed(format!("{code}; {remedy}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_out_of_range_is_one_partitions_matter() {
        let error =
            InPlaceError { partition: 3, offset: 7, code: RDKafkaErrorCode::OffsetOutOfRange, why: "gone".into() };
        let Some(Event::Displaced { partitions, why }) = Event::in_place(error, 7) else { panic!("another event") };
        assert_eq!((partitions, why.as_str()), (vec![3], "offset 7: gone"));
    }

    #[test]
    fn an_error_of_the_group_ends_what_it_is_about() {
        let of = |code| Event::of_group(&KafkaError::MessageConsumption(code), &[1, 4]);
        let Some(Event::Displaced { partitions, .. }) = of(RDKafkaErrorCode::AutoOffsetReset) else {
            panic!("another")
        };
        assert_eq!(partitions, [1, 4], "it names no partition");
        assert_eq!(of(RDKafkaErrorCode::UnknownTopicOrPartition), Some(Event::TopicGone));
        assert_eq!(of(RDKafkaErrorCode::InconsistentGroupProtocol), Some(Event::RefusedByGroup));
        assert_eq!(of(RDKafkaErrorCode::BrokerTransportFailure), None, "librdkafka connects again");
        let Some(Event::Failed(why)) = of(RDKafkaErrorCode::GroupAuthorizationFailed) else { panic!("another") };
        assert!(why.contains("grant the user read on the consumer group"), "{why}");
        let fatal = KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::FencedInstanceId);
        assert!(matches!(Event::of_group(&fatal, &[]), Some(Event::Failed(_))));
    }
}
