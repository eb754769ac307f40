//! Whether more messages may be taken. The byte budget and the next stage limit this, with one exception. Claims of earlier owners cannot
//! be cut in another way, so if nothing else can release bytes, they are read to their end past the budget. Pure: time is a parameter.

use std::time::{Duration, Instant};

/// Reading that is held up for this long counts as paused.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);
/// A replay is read past the budget after this long with no byte left and no batch in flight that could release some.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(1);

/// What limits reading at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// No byte of the budget is left.
    pub(super) budget_is_spent: bool,
    /// The number of batches that are cut and not stored yet. When they are stored, they release their bytes.
    pub(super) batches_under_way: usize,
    /// The number of partitions with claims of earlier owners that are not read to their end.
    pub(super) replaying: usize,
    /// A chunk waits for room in the next stage.
    pub(super) next_stage_is_full: bool,
}

/// Decides whether messages may be taken; see the top of this file.
#[derive(Debug, Default)]
pub(super) struct Room {
    held_since: Option<Instant>,
    stuck_since: Option<Instant>,
    /// Messages are taken past the budget.
    pub(super) is_past_budget: bool,
    /// Reading has been held up for [`PATIENCE`] or longer.
    pub(super) is_paused: bool,
}

impl Room {
    /// Whether messages may be taken now.
    pub(super) fn may_take(&mut self, load: Load, now: Instant) -> bool {
        let Load { budget_is_spent, batches_under_way, replaying, next_stage_is_full } = load;
        if !budget_is_spent || batches_under_way > 0 || replaying == 0 {
            self.stuck_since = None;
            self.is_past_budget = false;
        } else {
            self.is_past_budget |= now >= *self.stuck_since.get_or_insert(now) + STUCK_AFTER;
        }
        let may = !next_stage_is_full && (!budget_is_spent || self.is_past_budget);
        if may {
            self.held_since = None;
        }
        self.is_paused = !may && now >= *self.held_since.get_or_insert(now) + PATIENCE;
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Load = Load { budget_is_spent: false, batches_under_way: 0, replaying: 0, next_stage_is_full: false };
    const SPENT: Load = Load { budget_is_spent: true, batches_under_way: 3, ..FREE };

    #[test]
    fn the_budget_and_the_next_stage_bound_what_is_taken() {
        let (mut room, now) = (Room::default(), Instant::now());
        assert!(room.may_take(FREE, now));
        assert!(!room.may_take(SPENT, now));
        assert!(!room.may_take(Load { next_stage_is_full: true, ..FREE }, now));
        assert!(room.may_take(FREE, now));
    }

    #[test]
    fn reading_counts_as_paused_once_it_is_held_up_for_a_while() {
        let (mut room, now) = (Room::default(), Instant::now());
        let mut paused_at = |load, millis| {
            room.may_take(load, now + Duration::from_millis(millis));
            room.is_paused
        };
        assert!(!paused_at(SPENT, 0) && !paused_at(SPENT, 199) && paused_at(SPENT, 200));
        assert!(!paused_at(FREE, 201));
        assert!(!paused_at(SPENT, 202) && !paused_at(SPENT, 401), "it has gone on in between");
        assert!(paused_at(SPENT, 402));
    }

    /// Without this, claims that together need more than the budget would wait for ever: see `it/narrow.rs`.
    #[test]
    fn a_replay_is_read_past_the_budget_where_nothing_can_give_bytes_back() {
        let (mut room, now) = (Room::default(), Instant::now());
        let stuck = Load { batches_under_way: 0, replaying: 1, ..SPENT };
        assert!(!room.may_take(stuck, now));
        assert!(!room.may_take(stuck, now + STUCK_AFTER - Duration::from_millis(1)));
        assert!(room.may_take(stuck, now + STUCK_AFTER) && room.is_past_budget);
        assert!(room.may_take(stuck, now + STUCK_AFTER), "until something is on its way");
        assert!(!room.may_take(SPENT, now + STUCK_AFTER) && !room.is_past_budget);
        assert!(!room.may_take(stuck, now + STUCK_AFTER), "then it waits again");
        let no_replay = Load { replaying: 0, ..stuck };
        assert!(!room.may_take(no_replay, now + 10 * STUCK_AFTER), "its batches can be cut");
    }

    #[test]
    fn a_full_next_stage_is_waited_for_even_past_the_budget() {
        let (mut room, now) = (Room::default(), Instant::now());
        let stuck = Load { batches_under_way: 0, replaying: 1, ..SPENT };
        room.may_take(stuck, now);
        assert!(!room.may_take(Load { next_stage_is_full: true, ..stuck }, now + STUCK_AFTER));
        assert!(room.may_take(stuck, now + STUCK_AFTER));
    }
}
