//! The clock of a server against this host's. Kafka's cannot be asked without writing a record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::finding::{Findings, Line, Subject};

/// A difference that is noted, in seconds. Lag, retention and received_at are compared across the servers.
const DIFFERENCE_MAX: f64 = 1.0;

/// This host's clock before a question.
pub(super) struct Clock(SystemTime);

impl Clock {
    pub(super) fn before() -> Self {
        Self(SystemTime::now())
    }

    /// Compares the server's answer, in seconds since 1970, with this host's clock. The answer is from some time during the question.
    pub(super) fn compare(&self, line: Line, label: &str, server: f64, findings: &mut Findings) {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
        let difference = difference(seconds(self.0), seconds(SystemTime::now()), server);
        let subject = Subject::shared(format!("{label} clock"));
        if difference.abs() <= DIFFERENCE_MAX {
            return findings.ok(line, &subject, "differs from this host's by less than 1 s");
        }
        let text =
            format!("differs from this host's by {difference:+.1} s: lag in seconds and received_at are compared");
        findings.wrong(line, &subject, text, "on both hosts, run: timedatectl set-ntp true");
    }
}

/// By how much the server's clock is ahead at least, or behind (negative).
fn difference(before: f64, after: f64, server: f64) -> f64 {
    if server > after {
        server - after
    } else if server < before {
        server - before
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_question_is_no_difference() {
        let cases = [(10.0, 20.0, 15.0, 0.0), (10.0, 11.0, 15.0, 4.0), (10.0, 11.0, 5.0, -5.0)];
        for (before, after, server, expected) in cases {
            assert!((difference(before, after, server) - expected).abs() < 1e-9, "{server}");
        }
    }
}
