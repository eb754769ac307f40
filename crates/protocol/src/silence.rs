//! Partitions of which Kafka gives nothing, and no error, though its log holds more: a damaged length in the broker's log makes
//! librdkafka drop what it has fetched without a word. It cannot be told from a partition that waits for its turn in a large
//! backlog, so it is said and no more. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::offset::{Offset, Partition};

/// Since when each partition stands, and where: under which epoch, and at which offset.
#[derive(Debug, Default)]
pub struct Silence(BTreeMap<Partition, Standing>);

#[derive(Debug)]
struct Standing {
    at: (i64, Offset),
    since: Instant,
    told: bool,
}

impl Silence {
    /// Looks at a partition that is stored up to an offset under an epoch, which is `at`; `waits`: the log holds more, there is room for it, and nothing of the
    /// partition is on its way. For how long it stands there, once it is `after` or longer, and once until it moves.
    pub fn look(
        &mut self,
        partition: Partition,
        at: (i64, Offset),
        waits: bool,
        after: Duration,
        now: Instant,
    ) -> Option<Duration> {
        if !waits {
            self.0.remove(&partition);
            return None;
        }
        let standing = self.0.entry(partition).or_insert(Standing { at, since: now, told: false });
        if standing.at != at {
            *standing = Standing { at, since: now, told: false };
        }
        let stood = now - standing.since;
        let tells = stood >= after && !standing.told;
        standing.told |= tells;
        tells.then_some(stood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_is_told_once_until_it_moves() {
        const AFTER: Duration = Duration::from_secs(60);
        let (mut silence, start) = (Silence::default(), Instant::now());
        let mut look_at = |at, waits, second| silence.look(3, at, waits, AFTER, start + Duration::from_secs(second));
        let mut look = |next, waits, second| look_at((1, next), waits, second);
        assert_eq!(look(7, true, 0), None);
        assert_eq!(look(7, true, 59), None);
        assert_eq!(look(7, true, 65), Some(Duration::from_secs(65)));
        assert_eq!(look(7, true, 130), None, "said already");
        assert_eq!(look(9, true, 131), None, "it has moved");
        assert_eq!(look(9, true, 191), Some(AFTER));
        assert_eq!(look(9, false, 192), None);
        assert_eq!(look(9, true, 300), None, "it had not to wait meanwhile");
        assert_eq!(look_at((2, 9), true, 400), None, "it was somebody else's meanwhile");
        assert_eq!(look_at((2, 9), true, 460), Some(AFTER));
    }
}
