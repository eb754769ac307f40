//! The meaning of librdkafka's errors: takes their codes and words, and returns a decision. Pure.
//!
//! There are two kinds. A client's own errors are about its connections and logins. An error in place of messages comes through a
//! partition's queue, between the messages read before it and those read behind it. Most of these errors mean that records are
//! left out there: librdkafka reads on nevertheless.

use rdkafka::error::RDKafkaErrorCode as Code;

/// What an error of a client means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A broker is away for now. librdkafka itself connects again.
    Away,
    /// A connection ended, which alone says nothing.
    Unclear,
    /// The broker refuses the connection, or we do, and will do so each time. A person is needed.
    Refused {
        /// What to do.
        remedy: &'static str,
    },
}

const PROTOCOL: &str = "set security.protocol in kafka.properties to what the broker's listener speaks: PLAINTEXT, SSL, \
                        SASL_PLAINTEXT or SASL_SSL";
const LOGIN: &str = "look at sasl.username, sasl.password and sasl.mechanisms in kafka.properties";
const MECHANISM: &str = "set sasl.mechanisms in kafka.properties to one that the broker has switched on";
const AUTHORITY: &str = "name the authority that signed the broker's certificate by ssl.ca.location in kafka.properties, and \
                         reach the broker by a name in its certificate";
const CLIENT_CERTIFICATE: &str = "the broker wants a client's certificate that it trusts; name it by \
                                  ssl.certificate.location and ssl.key.location in kafka.properties";

/// The meaning of `code` with the text `reason`.
pub fn of_client(code: Code, reason: &str) -> Trouble {
    let says = |words: &str| reason.contains(words);
    let remedy = match code {
        Code::Authentication if says("mechanism handshake failed") => MECHANISM,
        Code::UnsupportedSASLMechanism => MECHANISM,
        Code::Authentication | Code::SaslAuthenticationFailed => LOGIN,
        Code::IllegalSASLState => PROTOCOL,
        // librdkafka's guesses about a connection that ends in its first request
        _ if says("security.protocol") || says("PLAINTEXT broker listener") || says("wrong version number") => PROTOCOL,
        // what the broker says about our certificate, or about a missing one
        _ if says("alert bad certificate") || says("certificate required") || says("alert unknown ca") => {
            CLIENT_CERTIFICATE
        }
        Code::SSL => AUTHORITY,
        // the end of a connection that only a log line reports has no such code
        _ if says("certificate verify failed") => AUTHORITY,
        _ if says("Disconnected") && ends_young(reason) => PROTOCOL,
        _ if says("Disconnected") => return Trouble::Unclear,
        _ => return Trouble::Away,
    };
    Trouble::Refused { remedy }
}

/// Whether a connection ended in its first request, or so soon that it can hardly have had an answer. A listener that waits for a
/// handshake ends a connection that speaks without one. librdkafka's text ends with the connection's age and state.
fn ends_young(reason: &str) -> bool {
    const YOUNG_MS: u64 = 2_000;
    let Some((_, rest)) = reason.rsplit_once("(after ") else { return false };
    let Some((age_ms, state)) = rest.split_once("ms in state ") else { return false };
    let is_young = age_ms.parse().is_ok_and(|age_ms: u64| age_ms < YOUNG_MS);
    state.starts_with("APIVERSION_QUERY") || (is_young && state.starts_with("UP"))
}

/// What to do about a right that the user does not have. None: `code` says something else.
pub fn missing_right(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TopicAuthorizationFailed => "grant the user read and describe on the topic",
        Code::GroupAuthorizationFailed => "grant the user read on the consumer group",
        Code::ClusterAuthorizationFailed => "grant the user describe on the cluster",
        _ => return None,
    })
}

/// What to do about a commit that was refused with `code`. None: such a refusal is part of every rebalance. Stored rows do not
/// depend on it: the ledger says where to continue, and offsets are committed again every minute.
pub fn of_commit(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::RebalanceInProgress => return None,
        Code::FencedInstanceId => "another consumer has joined with the same kafka.instance_name; give each its own",
        Code::UnknownMemberId | Code::IllegalGeneration | Code::StaleMemberEpoch | Code::FencedMemberEpoch => {
            "the group gave the partitions to other members meanwhile; if this repeats, raise kafka.session_timeout_ms"
        }
        Code::OffsetMetadataTooLarge => "raise offset.metadata.max.bytes on the broker",
        code => missing_right(code).unwrap_or(
            "stored rows do not depend on it, and it is tried again within a minute; if this repeats, look at the \
             broker's log",
        ),
    })
}

/// Errors of connections, which come through the same queue as errors in place of messages. They leave out no record.
pub fn is_of_the_client(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::Authentication
            | Code::SSL
    )
}

/// What an error in place of messages means for its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InPlace {
    /// No record is left out.
    Harmless,
    /// The offset to read is not in the log. The reader must find out why.
    OutOfRange,
    /// The topic, or the partition, is not there.
    Gone,
    /// The user has no right to read.
    Denied,
    /// Records are left out here, or may be. No message behind it may be taken for the next one.
    Unreadable,
}

/// The meaning of `code`. Every code that is not known to be harmless is not harmless: a corrupt batch (`BadMessage`), a codec or
/// a format that librdkafka does not know (`NotImplemented`, `BadCompression`), a record that it will not fetch
/// (`MessageSizeTooLarge`), and any error of a fetch that librdkafka does not answer by asking again, as it does if a leader
/// changes or a disk fails.
pub fn in_place_of_messages(code: Code) -> InPlace {
    match code {
        // the only harmless one, and it is switched off too
        Code::PartitionEOF => InPlace::Harmless,
        Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::NoOffset | Code::LogTruncation => InPlace::OutOfRange,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
            InPlace::Gone
        }
        Code::TopicAuthorizationFailed => InPlace::Denied,
        _ => InPlace::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(code: Code, reason: &str) -> Option<&'static str> {
        match of_client(code, reason) {
            Trouble::Away | Trouble::Unclear => None,
            Trouble::Refused { remedy } => Some(remedy),
        }
    }

    /// The texts are librdkafka's own, as `tests/it/secured.rs` meets them.
    #[test]
    fn what_a_person_must_mend_is_told_from_a_broker_that_is_away() {
        for (code, reason, expected) in [
            (Code::BrokerTransportFailure, "Connect to ipv4#127.0.0.1:9 failed: Connection refused", None),
            (Code::AllBrokersDown, "1/1 brokers are down", None),
            (Code::Resolve, "Failed to resolve 'kafka:9092': Name or service not known", None),
            (
                Code::Authentication,
                "SASL authentication error: Authentication failed: Invalid username or password",
                Some(LOGIN),
            ),
            (
                Code::Authentication,
                "SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL \
                 mechanism SCRAM-SHA-512",
                Some(LOGIN),
            ),
            (
                Code::BrokerTransportFailure,
                "Disconnected: verify that security.protocol is correctly configured, broker might require SASL authentication",
                Some(PROTOCOL),
            ),
            (
                Code::BrokerTransportFailure,
                "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42",
                Some(CLIENT_CERTIFICATE),
            ),
            (
                Code::BrokerTransportFailure,
                "Disconnected: connection closed by peer: receive 0 after POLLIN (after 3ms in state APIVERSION_QUERY)",
                Some(PROTOCOL),
            ),
            (
                Code::BrokerTransportFailure,
                "Disconnected: connection closed by peer (after 7ms in state UP, 1 identical error(s) suppressed)",
                Some(PROTOCOL),
            ),
            (Code::BrokerTransportFailure, "Disconnected: connection closed by peer (after 70123ms in state UP)", None),
            (
                Code::Authentication,
                "SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported \
                 mechanisms: PLAIN",
                Some(MECHANISM),
            ),
            (
                Code::BrokerTransportFailure,
                "Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration \
                 (connecting to a SSL listener?) or broker version is < 0.10",
                Some(PROTOCOL),
            ),
            (
                Code::SSL,
                "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
                Some(PROTOCOL),
            ),
            (Code::SSL, "SSL handshake failed: error:0A00010B:SSL routines::wrong version number", Some(PROTOCOL)),
            (
                Code::SSL,
                "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed",
                Some(AUTHORITY),
            ),
            (
                Code::BrokerTransportFailure,
                "ssl://127.0.0.1:9/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 2ms in state \
                 SSL_HANDSHAKE)",
                Some(AUTHORITY),
            ),
            (
                Code::SSL,
                "SSL handshake failed: error:0A00045C:SSL routines::tlsv13 alert certificate required",
                Some(CLIENT_CERTIFICATE),
            ),
        ] {
            assert_eq!(remedy(code, reason), expected, "{reason}");
        }
    }

    #[test]
    fn only_the_partitions_end_is_harmless() {
        let means = in_place_of_messages;
        assert_eq!(means(Code::PartitionEOF), InPlace::Harmless);
        for code in [
            Code::BadMessage,
            Code::InvalidMessage,
            Code::BadCompression,
            Code::NotImplemented,
            Code::MessageSizeTooLarge,
            Code::Unknown,
            Code::Underflow,
            Code::KafkaStorageError,
        ] {
            assert_eq!(means(code), InPlace::Unreadable, "{code:?}");
        }
        assert_eq!(means(Code::AutoOffsetReset), InPlace::OutOfRange);
        assert_eq!(means(Code::LogTruncation), InPlace::OutOfRange);
        assert_eq!(means(Code::TopicAuthorizationFailed), InPlace::Denied);
        assert_eq!(means(Code::UnknownTopicOrPartition), InPlace::Gone);
    }
}
