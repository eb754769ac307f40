//! Counts the batches of a route that are under way: cut, and neither stored by every sink nor given up. The batcher cuts an
//! incomplete batch only while the writers can use it, so batches grow with the backlog. The reader uses the count to see whether
//! any batch can still release bytes of the budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the batches of one route that are under way.
#[derive(Clone, Debug, Default)]
pub struct UnderWay {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    count: AtomicUsize,
    rows: AtomicUsize,
    finished: Notify,
}

impl UnderWay {
    /// Counts one more batch of `rows` rows, until the guard is dropped.
    pub fn start(&self, rows: usize) -> UnderWayGuard {
        self.shared.count.fetch_add(1, Ordering::SeqCst);
        self.shared.rows.fetch_add(rows, Ordering::SeqCst);
        UnderWayGuard { under_way: self.clone(), rows }
    }

    /// The number of batches under way.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// The number of their rows.
    pub fn rows(&self) -> usize {
        self.shared.rows.load(Ordering::SeqCst)
    }

    /// Returns when a batch has finished since the last call.
    pub async fn finished(&self) {
        self.shared.finished.notified().await;
    }
}

/// Counts one batch until it is dropped.
#[derive(Debug)]
pub struct UnderWayGuard {
    under_way: UnderWay,
    rows: usize,
}

impl Drop for UnderWayGuard {
    fn drop(&mut self) {
        let Shared { count, rows, finished } = &*self.under_way.shared;
        rows.fetch_sub(self.rows, Ordering::SeqCst);
        count.fetch_sub(1, Ordering::SeqCst);
        finished.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_counts_until_it_is_dropped_and_wakes_those_who_wait() {
        let under_way = UnderWay::default();
        let (first, second) = (under_way.start(5), under_way.start(7));
        assert_eq!((under_way.count(), under_way.rows()), (2, 12));
        drop(first);
        under_way.finished().await;
        assert_eq!((under_way.count(), under_way.rows()), (1, 7));
        let waiting = under_way.finished();
        futures::pin_mut!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(second);
        waiting.await;
    }
}
