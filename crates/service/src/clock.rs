//! Two clocks. One counts suspension, because a proof of ownership must age while the machine or the process sleeps. The other counts
//! the processor time of one thread.

use std::time::Duration;

/// An instant of `CLOCK_BOOTTIME`, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(u64);

impl BootInstant {
    /// Now.
    #[allow(unsafe_code)]
    pub fn now() -> Self {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a live timespec, which the call only writes.
        let status = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
        assert!(status == 0, "CLOCK_BOOTTIME is missing: Linux 2.6.39 or later is needed");
        Self(now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned())
    }

    /// The instant `by` later.
    pub fn later(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this instant. Zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The processor time that the calling thread has used.
#[allow(unsafe_code)]
pub fn thread_cpu_time() -> Duration {
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call only writes.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut used) };
    assert!(status == 0, "CLOCK_THREAD_CPUTIME_ID is missing");
    Duration::new(used.tv_sec.cast_unsigned(), u32::try_from(used.tv_nsec).unwrap_or(0))
}
