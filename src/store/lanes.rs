//! The lanes to the databases. Lanes write side by side, and each has its own writer and connection for every sink. All batches of one
//! ownership that are under way are in one lane, so they are stored in order. Two ownerships of one partition may be in different lanes:
//! the ledger makes them exclude each other.

use std::sync::Arc;

use footprint_service::status::LaneView;
use tokio::sync::mpsc;

use crate::batch::Batch;

/// The index of a lane.
pub type Lane = usize;

/// The channels to the writers of all lanes.
pub struct Lanes {
    lanes: Vec<Vec<mpsc::Sender<Arc<Batch>>>>,
}

impl Lanes {
    /// `lanes`: for each lane, the channels to its writers.
    pub fn new(lanes: Vec<Vec<mpsc::Sender<Arc<Batch>>>>) -> Self {
        assert!(!lanes.is_empty(), "without a lane nothing is written");
        Self { lanes }
    }

    /// Gives each of the `free` partitions the lane that serves the fewest partitions at that moment. `bound`: the lanes of the partitions
    /// that must keep theirs. Among equals the first lane wins, so a trickle of records needs only one lane.
    pub fn spread<'a>(&self, bound: impl Iterator<Item = Lane>, free: impl Iterator<Item = &'a mut Lane>) {
        let mut served = vec![0; self.lanes.len()];
        for lane in bound {
            served[lane] += 1;
        }
        for lane in free {
            *lane = (0..served.len()).min_by_key(|&lane| served[lane]).unwrap_or_default();
            served[*lane] += 1;
        }
    }

    /// How many batches every writer of a lane can take without waiting.
    pub fn room(&self, lane: Lane) -> usize {
        self.lanes[lane].iter().map(mpsc::Sender::capacity).min().unwrap_or_default()
    }

    /// How many of `wanted` batches may go to a lane now: all of them, or as many as a writer's whole channel holds if that is fewer. The
    /// answer is 0 while the lane has less room. If the batches went one by one, the first partitions would leave no room for the last.
    pub fn admits(&self, lane: Lane, wanted: usize) -> usize {
        let room_max = self.lanes[lane].iter().map(mpsc::Sender::max_capacity).min().unwrap_or_default();
        let together = wanted.min(room_max);
        if self.room(lane) >= together { together } else { 0 }
    }

    /// What waits in each lane, for people.
    pub fn views(&self) -> Vec<LaneView> {
        let waiting = |writer: &mpsc::Sender<Arc<Batch>>| writer.max_capacity() - writer.capacity();
        let view = |writers: &Vec<mpsc::Sender<Arc<Batch>>>| LaneView {
            partitions: 0,
            batches_waiting: writers.iter().map(waiting).max().unwrap_or_default(),
        };
        self.lanes.iter().map(view).collect()
    }

    /// Sends a batch to the writers of a lane, which must have room. If a writer has ended, its channel drops the batch; then the pipeline
    /// ends too.
    pub fn send(&self, lane: Lane, batch: &Arc<Batch>) {
        for writer in &self.lanes[lane] {
            let _ = writer.try_send(Arc::clone(batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_spread_beside_those_that_are_bound() {
        let writers = |capacities: [usize; 2]| capacities.map(|capacity| mpsc::channel(capacity).0).into();
        let lanes = Lanes::new([[3, 4], [3, 4], [6, 5]].map(writers).into());
        let mut free = [7; 4];
        lanes.spread([0, 0, 2].into_iter(), free.iter_mut());
        assert_eq!(free, [1, 1, 2, 0]);
        lanes.spread([].into_iter(), free.iter_mut().take(1));
        assert_eq!(free[0], 0);
        assert_eq!(lanes.room(2), 5, "of the fuller writer");
    }

    #[test]
    fn more_batches_than_a_lane_ever_takes_are_admitted_in_parts() {
        let (sender, _receiver) = mpsc::channel(3);
        let lanes = Lanes::new(vec![vec![sender.clone()]]);
        assert_eq!([0, 2, 3, 4].map(|wanted| lanes.admits(0, wanted)), [0, 2, 3, 3]);
        let _taken = sender.try_reserve().unwrap();
        assert_eq!(
            [0, 2, 3, 4].map(|wanted| lanes.admits(0, wanted)),
            [0, 2, 0, 0],
            "for fewer than all there is room"
        );
    }
}
