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
    landed: Notify,
}

impl Flights {
    /// One more is on its way, until what comes back is dropped.
    pub fn start(&self) -> Flight {
        self.shared.count.fetch_add(1, Ordering::SeqCst);
        Flight(self.clone())
    }

    /// Batches on their way.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// Returns when one has landed since the last call.
    pub async fn landed(&self) {
        self.shared.landed.notified().await;
    }
}

/// One batch on its way.
#[derive(Debug)]
pub struct Flight(Flights);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.shared.count.fetch_sub(1, Ordering::SeqCst);
        self.0.shared.landed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flight_counts_until_it_is_dropped_and_wakes_whoever_waits() {
        let flights = Flights::default();
        let (first, second) = (flights.start(), flights.start());
        assert_eq!(flights.count(), 2);
        drop(first);
        flights.landed().await;
        assert_eq!(flights.count(), 1);
        let waiting = flights.landed();
        futures::pin_mut!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(second);
        waiting.await;
    }
}
