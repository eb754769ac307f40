//! The batches of one partition that are cut and that not every sink has stored, in order: when Kafka received the first record of each,
//! and since when it is claimed. Metrics read it; nothing is decided by it. Pure.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use footprint_protocol::offset::Offset;

/// A batch, as far as its ages matter.
#[derive(Clone, Copy, Debug)]
struct Cut {
    end: Offset,
    received: Option<SystemTime>,
    claimed_at: Option<Instant>,
}

/// The batches on their way; see the top of this file. It has at most as many as the partition's machine holds.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    batches: VecDeque<Cut>,
}

impl Unstored {
    /// A batch was cut. `received`: when Kafka received its first record. None: it has no records.
    pub(super) fn cut(&mut self, end: Offset, received: Option<SystemTime>) {
        self.batches.push_back(Cut { end, received, claimed_at: None });
    }

    /// The batch that ends at `end` is claimed.
    pub(super) fn claimed(&mut self, end: Offset, now: Instant) {
        if let Some(batch) = self.batches.iter_mut().find(|batch| batch.end == end) {
            batch.claimed_at.get_or_insert(now);
        }
    }

    /// Every sink has stored what is below `offset`. Returns when Kafka received the first record of each batch that is now stored.
    pub(super) fn stored_below(&mut self, offset: Offset) -> impl Iterator<Item = SystemTime> + '_ {
        let count = self.batches.partition_point(|batch| batch.end <= offset);
        self.batches.drain(..count).filter_map(|batch| batch.received)
    }

    /// When Kafka received the oldest record.
    pub(super) fn oldest_received(&self) -> Option<SystemTime> {
        self.batches.iter().find_map(|batch| batch.received)
    }

    /// When the oldest batch was claimed. None: it is not claimed yet.
    pub(super) fn claimed_since(&self) -> Option<Instant> {
        self.batches.front().and_then(|batch| batch.claimed_at)
    }

    /// The ownership has ended.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_batch_that_is_not_stored_gives_the_ages() {
        let (now, time) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let at = |seconds| time + Duration::from_secs(seconds);
        let mut unstored = Unstored::default();
        assert_eq!((unstored.oldest_received(), unstored.claimed_since()), (None, None));
        unstored.cut(10, Some(at(1)));
        unstored.cut(20, None);
        unstored.cut(30, Some(at(3)));
        unstored.claimed(10, now);
        unstored.claimed(20, now + Duration::from_secs(1));
        unstored.claimed(10, now + Duration::from_secs(9));
        assert_eq!((unstored.oldest_received(), unstored.claimed_since()), (Some(at(1)), Some(now)));
        assert_eq!(unstored.stored_below(9).count(), 0, "a part of a batch is not the batch");
        assert_eq!(unstored.stored_below(20).collect::<Vec<_>>(), [at(1)]);
        assert_eq!((unstored.oldest_received(), unstored.claimed_since()), (Some(at(3)), None), "not claimed yet");
        unstored.clear();
        assert_eq!(unstored.oldest_received(), None);
    }
}
