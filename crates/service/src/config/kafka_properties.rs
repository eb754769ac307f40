//! The librdkafka properties that a configuration may not set: those that footprint sets itself, and those that would break its
//! promises. Also, which of them are secrets. Pure.

use std::collections::BTreeMap;

/// Properties that may not be set at all, and why, or where to set them.
const OURS: [(&str, &str); 13] = [
    ("bootstrap.servers", "set kafka.bootstrap_servers"),
    ("metadata.broker.list", "set kafka.bootstrap_servers"),
    ("group.id", "set kafka.group_id"),
    ("group.protocol", "set kafka.group_protocol"),
    ("group.instance.id", "set kafka.instance_name"),
    ("session.timeout.ms", "set kafka.session_timeout_ms"),
    ("auto.offset.reset", "the ledger knows where to continue; set kafka.offset_reset for the first start"),
    ("enable.auto.commit", "offsets are committed only after both sinks have acknowledged"),
    ("auto.commit.enable", "offsets are committed only after both sinks have acknowledged"),
    ("enable.auto.offset.store", "offsets are committed only after both sinks have acknowledged"),
    ("offset.store.method", "offsets are committed only after both sinks have acknowledged"),
    ("enable.partition.eof", "footprint asks for a log's end itself"),
    ("allow.auto.create.topics", "a topic must not be created because it was asked for"),
];

/// Properties that may have only certain values, and why.
const PINNED: [(&str, &[&str], &str); 4] = [
    ("isolation.level", &["read_committed"], "records of transactions that were aborted would be stored"),
    ("check.crcs", &["true", "t", "1"], "records that were damaged on the broker's disk would be stored"),
    (
        "enable.ssl.certificate.verification",
        &["true", "t", "1"],
        "any server in between would pass for the broker; name the authority by ssl.ca.location instead",
    ),
    (
        "ssl.endpoint.identification.algorithm",
        &["https"],
        "any holder of a certificate of that authority would pass for the broker; reach it by a name in its own certificate",
    ),
];

/// The properties about logins and certificates whose values are no secrets. All others of these two groups are hidden.
const OPEN: [&str; 12] = [
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.kerberos.service.name",
    "sasl.kerberos.principal",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
];
/// A property with one of these in its name is a secret, however it is misspelt otherwise.
const SECRET_WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "credential", "pem"];

/// Whether the value of a property must not be shown.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_guarded = name.starts_with("sasl.") || name.starts_with("ssl.");
    (is_guarded && !OPEN.contains(&name.as_str())) || SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Every property that may not be set like this, and why.
pub(super) fn refused(properties: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
    let ours = OURS.iter().filter(|(name, _)| properties.contains_key(*name));
    let ours = ours.map(|&(name, what)| (name, format!("cannot be set there; {what}")));
    let pinned = PINNED
        .iter()
        .filter(|(name, values, _)| properties.get(*name).is_some_and(|value| !values.contains(&value.as_str())));
    let pinned = pinned.map(|&(name, values, why)| (name, format!("must be {}: otherwise {why}", values[0])));
    ours.chain(pinned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, value: &str) -> Option<String> {
        let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        refused(&properties).pop().map(|(name, why)| format!("{name} {why}"))
    }

    #[test]
    fn what_would_break_a_promise_is_refused_with_its_reason() {
        for (name, value, words) in [
            ("isolation.level", "read_uncommitted", "aborted"),
            ("check.crcs", "false", "damaged"),
            ("enable.auto.commit", "true", "both sinks"),
            ("auto.commit.enable", "true", "both sinks"),
            ("enable.auto.offset.store", "true", "both sinks"),
            ("auto.offset.reset", "latest", "kafka.offset_reset"),
            ("group.id", "other", "kafka.group_id"),
            ("metadata.broker.list", "kafka:9092", "kafka.bootstrap_servers"),
            ("enable.partition.eof", "true", "log's end"),
            ("enable.ssl.certificate.verification", "false", "ssl.ca.location"),
            ("ssl.endpoint.identification.algorithm", "none", "name"),
            ("allow.auto.create.topics", "true", "must not be created"),
        ] {
            let refused = refusal(name, value).unwrap_or_else(|| panic!("{name} = {value} is taken"));
            assert!(refused.contains(name) && refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_one() {
        for name in [
            "sasl.password",
            "SASL.Password",
            "sasl.pasword",
            "ssl.key.pem",
            "ssl.key.password",
            "sasl.oauthbearer.config",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["sasl.username", "ssl.ca.location", "security.protocol", "fetch.min.bytes", "client.id"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn what_says_the_same_and_what_is_the_sites_own_is_taken() {
        for (name, value) in [
            ("isolation.level", "read_committed"),
            ("check.crcs", "true"),
            ("ssl.endpoint.identification.algorithm", "https"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.password", "hunter2"),
            ("client.rack", "a"),
            ("fetch.min.bytes", "7"),
        ] {
            assert_eq!(refusal(name, value), None, "{name}");
        }
    }
}
