//! What the reader reports to the coordinator, and which report it makes of which error of Kafka. Pure.

use std::collections::BTreeMap;

use footprint_protocol::offset::{Offset, Partition};
use footprint_service::kafka::fetched::InPlaceError;
use footprint_service::kafka::trouble::{InPlace, in_place_of_messages, missing_right};
use footprint_service::status::BrokerView;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A report of the reader to the coordinator.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The group has assigned these partitions to us.
    Assigned(Vec<Partition>),
    /// The group has revoked partitions. It waits for `Release`, unless they are lost already.
    Revoked {
        /// The partitions.
        partitions: Vec<Partition>,
        /// The group has already taken them from us, and may have given them to another member.
        lost: bool,
    },
    /// The reader left the group, and joins it again with a new client. It waits for `Release`, as after a revoke.
    JoinsAgain {
        /// The partitions that the group had assigned to us.
        partitions: Vec<Partition>,
    },
    /// Commits were answered.
    Committed {
        /// How many `Commit` commands are answered.
        count: usize,
        /// librdkafka's text, if the commit was refused.
        result: Result<(), String>,
    },
    /// The next records of these partitions are not in the log, or could not be fetched. A take-over must decide again where to read each.
    Displaced {
        /// The partitions.
        partitions: Vec<Partition>,
        /// librdkafka's text.
        why: String,
    },
    /// An error came in place of records, and the partition is read no further.
    Unreadable {
        /// The partition.
        partition: Partition,
        /// The offset of the error.
        offset: Offset,
        /// Everything below this offset was sent to the batcher before.
        sent_below: Offset,
        /// librdkafka's text.
        why: String,
    },
    /// What the client counts.
    Statistics {
        /// Its brokers.
        brokers: Vec<BrokerView>,
        /// Records behind an open transaction, for each partition that it fetches.
        open_transactions: BTreeMap<Partition, i64>,
    },
    /// The topic does not exist.
    TopicGone,
    /// The group does not let us in, because its members use another assignor.
    RefusedByGroup,
    /// The client cannot continue. The text says why.
    Failed(String),
}

impl Event {
    /// The report for an error in place of messages. None if the error is harmless.
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

    /// The report for an error on the group's queue. Such an error concerns the group, the topic or the client as a whole. None if
    /// librdkafka recovers by itself. `assigned` are the partitions that are fetched.
    pub fn of_group(error: &KafkaError, assigned: &[Partition]) -> Option<Self> {
        let code = match error {
            KafkaError::MessageConsumptionFatal(_) => return Some(Self::Failed(error.to_string())),
            KafkaError::MessageConsumption(code) => *code,
            _ => return None,
        };
        match code {
            // an error of one partition would come on its own queue and name it, so this one concerns all
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
