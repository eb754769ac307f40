//! The batcher's task. It gives chunks to the batcher, and sends on the batches that are full or due.

use std::time::{Duration, Instant};

use footprint_event::record::Records;
use footprint_event::recycle::Buffer;
use footprint_service::metrics::Blocked;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::batch::Batch;
use crate::batch::batcher::{Batcher, Pace};
use crate::batch::under_way::UnderWay;
use crate::read::chunk::Chunk;

/// How long the batcher sleeps when no batch is due.
const IDLE: Duration = Duration::from_secs(1);

/// The stage around the batcher: chunks in, batches out. It cuts incomplete batches after their linger, no faster than the pace,
/// and only while the writers have room. It ends when a channel closes, and drops the open batches. Public only for
/// `benches/pipeline.rs`.
pub async fn assemble(
    mut batcher: Batcher,
    mut chunks: mpsc::Receiver<Chunk<impl Records + Buffer>>,
    batches: mpsc::Sender<Batch>,
    under_way: UnderWay,
    cut_interval: watch::Receiver<Duration>,
    blocked: Blocked,
) {
    let mut full = Vec::new();
    loop {
        let pace = Pace { interval: *cut_interval.borrow(), room: batcher.room() };
        let due = batcher.due_at(pace).unwrap_or_else(|| Instant::now() + IDLE);
        // biased: chunks that have come are decoded first, so that a batch that is due is as large as possible
        tokio::select! {
            biased;
            chunk = chunks.recv() => match chunk {
                Some(chunk) => batcher.add(chunk, Instant::now(), &mut full),
                None => return,
            },
            () = under_way.finished() => continue,
            () = tokio::time::sleep_until(due.into()) => {}
        }
        batcher.cut_due(Instant::now(), pace, &mut full);
        for batch in full.drain(..) {
            let place = match batches.try_reserve() {
                Ok(place) => place,
                Err(TrySendError::Closed(())) => return,
                Err(TrySendError::Full(())) => {
                    let started = Instant::now();
                    let place = batches.reserve().await;
                    blocked.since(started);
                    let Ok(place) = place else { return };
                    place
                }
            };
            place.send(batch);
        }
    }
}
