//! The one byte budget. The reader reserves bytes when it takes a payload. They are released when both sinks have acknowledged
//! it. The budget bounds the memory of the whole pipeline. It never blocks: the reader pauses instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Who holds bytes of the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// Chunks: records that are not decoded yet.
    #[default]
    Reader,
    /// Open batches: records that are decoded.
    Open,
    /// Batches that are cut and that not every sink has stored.
    Batches,
}

impl Holder {
    const ALL: [Self; 3] = [Self::Reader, Self::Open, Self::Batches];

    fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Open => "open",
            Self::Batches => "batches",
        }
    }
}

/// A bound on the bytes that all pipelines of the process hold together.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    taken: AtomicUsize,
    /// The bytes of each holder. Only for people: the sum may be off for a moment.
    held: [AtomicUsize; 3],
    lock: Mutex<()>,
    given_back: Condvar,
}

impl Budget {
    /// A budget of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let (taken, held) = (AtomicUsize::new(0), [const { AtomicUsize::new(0) }; 3]);
        Arc::new(Self { bytes_max, taken, held, lock: Mutex::new(()), given_back: Condvar::new() })
    }

    /// The bytes that may be taken in all.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The bytes taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// The bytes that each holder has now.
    pub fn held(&self) -> Vec<(&'static str, usize)> {
        let held = |holder: Holder| (holder.as_str(), self.held[holder as usize].load(Ordering::Relaxed));
        Holder::ALL.map(held).to_vec()
    }

    /// Whether nothing more may be taken.
    pub fn is_spent(&self) -> bool {
        self.taken() >= self.bytes_max
    }

    /// Takes `bytes`, even beyond the bound, because the record is in memory already. The reader asks [`Self::is_spent`] before
    /// it takes more. So the overshoot is what it takes in one call, and never more than librdkafka's own queue holds.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Permit {
        self.add(Holder::Reader, bytes);
        Permit { budget: Some(Arc::clone(self)), holder: Holder::Reader, bytes }
    }

    fn add(&self, holder: Holder, bytes: usize) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.held[holder as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits until the budget is no longer spent, at most `timeout`. Returns true if there is room.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut guard = self.lock.lock();
        while self.is_spent() {
            if self.given_back.wait_until(&mut guard, deadline).timed_out() {
                return !self.is_spent();
            }
        }
        true
    }

    fn give_back(&self, holder: Holder, bytes: usize) {
        self.held[holder as usize].fetch_sub(bytes, Ordering::Relaxed);
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
        let _guard = self.lock.lock();
        self.given_back.notify_all();
    }
}

/// Bytes taken from a [`Budget`]. They are released on drop.
#[derive(Debug, Default)]
pub struct Permit {
    budget: Option<Arc<Budget>>,
    holder: Holder,
    bytes: usize,
}

impl Permit {
    /// The bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether its budget is spent.
    pub fn is_spent(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.is_spent())
    }

    /// An empty permit of the same budget, for `holder`.
    pub fn fresh(&self, holder: Holder) -> Self {
        Self { budget: self.budget.clone(), holder, bytes: 0 }
    }

    /// Gives the bytes to another holder.
    pub fn pass_to(&mut self, holder: Holder) {
        if let Some(budget) = &self.budget {
            budget.held[holder as usize].fetch_add(self.bytes, Ordering::Relaxed);
            budget.held[self.holder as usize].fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.holder = holder;
    }

    /// Changes the bytes held to `bytes`, more or fewer.
    pub fn set(&mut self, bytes: usize) {
        let Some(budget) = &self.budget else { return };
        if bytes >= self.bytes {
            budget.add(self.holder, bytes - self.bytes);
        } else {
            budget.give_back(self.holder, self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget
            && self.bytes > 0
        {
            budget.give_back(self.holder, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_gives_its_bytes_back() {
        let budget = Budget::new(100);
        let mut first = budget.take(60);
        first.set(110);
        assert_eq!((first.bytes(), budget.taken()), (110, 110));
        assert!(budget.is_spent() && !budget.wait_for_room(Duration::ZERO));
        drop(first);
        assert_eq!(budget.taken(), 0);
        assert!(budget.wait_for_room(Duration::ZERO));
    }

    #[test]
    fn a_permit_holds_what_it_was_set_to() {
        let budget = Budget::new(100);
        let mut first = budget.take(60);
        let mut second = first.fresh(Holder::Open);
        second.set(30);
        first.set(10);
        assert_eq!(budget.taken(), 40);
        assert_eq!(budget.held(), [("reader", 10), ("open", 30), ("batches", 0)]);
        second.pass_to(Holder::Batches);
        assert_eq!(budget.held(), [("reader", 10), ("open", 0), ("batches", 30)]);
        drop((first, second));
        assert_eq!(budget.taken(), 0);
        assert!(budget.held().iter().all(|&(_, bytes)| bytes == 0));
    }
}
