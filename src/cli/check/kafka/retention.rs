//! Retention against lag: would Kafka delete records that nobody has read?

use std::collections::BTreeMap;
use std::time::Duration;

use footprint_protocol::offset::Offset;
use footprint_service::config::Config;
use footprint_service::kafka::Inquirer;
use footprint_service::kafka::retention::Place;

use super::super::finding::{Findings, Line};
use super::topic::Topic;

/// The partitions that are asked for, at most.
const PARTITIONS_MAX: i32 = 200;

/// Compares where the group is with what the topic's settings delete. The oldest record that is not read must be younger than half of
/// retention.ms, and must not be among the first quarter of a log that retention.bytes keeps short.
pub(super) async fn check(
    config: &Config,
    topic: &Topic<'_>,
    count: i32,
    settings: &BTreeMap<String, String>,
    timeout: Duration,
    findings: &mut Findings,
) {
    let number =
        |name: &str| settings.get(name).and_then(|value| value.parse::<i64>().ok()).filter(|&value| value >= 0);
    let (retention_ms, retention_bytes) = (number("retention.ms"), number("retention.bytes"));
    let half = retention_ms.map(|ms| Duration::from_millis(ms.unsigned_abs() / 2));
    let (kafka, name) = (config.kafka.clone(), topic.name.to_owned());
    // librdkafka's questions block
    let asked = tokio::task::spawn_blocking(move || {
        Inquirer::new(&kafka)?.places(&name, count.min(PARTITIONS_MAX), half, timeout)
    });
    let places = match asked.await {
        Ok(Ok(places)) => places,
        Ok(Err(error)) => return findings.failed(Line::TopicRetention, topic.subject, &error),
        Err(error) => return findings.wrong(Line::TopicRetention, topic.subject, error, "report this"),
    };
    let near: Vec<String> = places.iter().filter_map(|place| near(place, retention_bytes.is_some())).collect();
    if near.is_empty() {
        let (time, size) = (retention_ms.map(days), retention_bytes.map(|bytes| format!("{bytes} bytes")));
        let limits: Vec<String> = time.into_iter().chain(size).collect();
        let keeps = if limits.is_empty() { "everything".to_owned() } else { limits.join(" or ") };
        let text = format!("keeps {keeps} of each partition; no record that is not read is near its end");
        return findings.ok(Line::TopicRetention, topic.subject, text);
    }
    let more = near.len().saturating_sub(1);
    let others = if more > 0 { format!("; so in {more} more") } else { String::new() };
    // twice the time, or without a limit on the size
    let remedy = match retention_ms {
        Some(ms) if retention_bytes.is_none() => topic.to_set("retention.ms", &ms.saturating_mul(2).to_string()),
        _ => topic.to_set("retention.bytes", "-1"),
    };
    findings.wrong(Line::TopicRetention, topic.subject, format!("{}{others}", near[0]), remedy);
}

fn days(ms: i64) -> String {
    let hours = ms / 3_600_000;
    if hours >= 48 { format!("{} days", hours / 24) } else { format!("{hours} h") }
}

/// Whether retention is about to delete a record of the partition that is not read, or has done so.
fn near(place: &Place, has_size_limit: bool) -> Option<String> {
    let Place { partition, low, end, next, young_from } = *place;
    let lag: Offset = end - next;
    if lag <= 0 {
        return None;
    }
    if next < low {
        return Some(format!("partition {partition}: {} records were deleted before they were read", low - next));
    }
    if young_from.is_some_and(|young| next < young) {
        return Some(format!(
            "partition {partition}: the oldest of {lag} unread records has used half of retention.ms"
        ));
    }
    // a log whose start has moved is as long as the size allows
    let is_first_quarter = (next - low).saturating_mul(4) < end - low;
    (has_size_limit && low > 0 && is_first_quarter).then(|| {
        format!("partition {partition}: {lag} unread records, and retention.bytes deletes the first of them next")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(low: Offset, next: Offset, end: Offset, young_from: Offset) -> Place {
        Place { partition: 3, low, end, next, young_from: Some(young_from) }
    }

    #[test]
    fn only_records_that_are_not_read_are_near_their_end() {
        assert_eq!(near(&place(90, 100, 100, 100), true), None, "all is read");
        assert!(near(&place(90, 80, 100, 0), false).unwrap().contains("10 records were deleted"));
        assert!(near(&place(0, 80, 100, 81), false).unwrap().contains("oldest of 20 unread"));
        assert_eq!(near(&place(0, 81, 100, 81), false), None);
        assert!(near(&place(10, 20, 100, 0), true).unwrap().contains("80 unread records"));
        assert_eq!(near(&place(10, 20, 100, 0), false), None, "there is no limit on the size");
        assert_eq!(near(&place(0, 20, 100, 0), true), None, "the log is not full");
        assert_eq!(near(&place(10, 40, 100, 0), true), None);
    }
}
