//! How many batches of a route are on their way: cut, and neither stored by every sink nor given up. The batcher cuts an
//! incomplete batch only where the writers have use for it, so batches grow with the backlog; the reader sees by it whether
//! anything can still give bytes of the budget back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the batches of one route that are on their way.
#[derive(Clone, Debug, Default)]
pub struct Flights {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    count: AtomicUsize,
    rows: AtomicUsize,
    landed: Notify,
}

impl Flights {
    /// Counts one more batch of this many rows, until what is returned is dropped.
    pub fn start(&self, rows: usize) -> Flight {
        self.shared.count.fetch_add(1, Ordering::SeqCst);
        self.shared.rows.fetch_add(rows, Ordering::SeqCst);
        Flight { flights: self.clone(), rows }
    }

    /// Batches on their way.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// Rows of the batches on their way.
    pub fn rows(&self) -> usize {
        self.shared.rows.load(Ordering::SeqCst)
    }

    /// Returns when one has landed since the last call.
    pub async fn landed(&self) {
        self.shared.landed.notified().await;
    }
}

/// One batch on its way.
#[derive(Debug)]
pub struct Flight {
    flights: Flights,
    rows: usize,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Shared { count, rows, landed } = &*self.flights.shared;
        rows.fetch_sub(self.rows, Ordering::SeqCst);
        count.fetch_sub(1, Ordering::SeqCst);
        landed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flight_counts_until_it_is_dropped_and_wakes_those_who_wait() {
        let flights = Flights::default();
        let (first, second) = (flights.start(5), flights.start(7));
        assert_eq!((flights.count(), flights.rows()), (2, 12));
        drop(first);
        flights.landed().await;
        assert_eq!((flights.count(), flights.rows()), (1, 7));
        let waiting = flights.landed();
        futures::pin_mut!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(second);
        waiting.await;
    }
}
