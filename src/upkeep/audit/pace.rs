//! How long the audit pauses after each range, so that it costs no more than it may. Pure.

use std::time::Duration;

/// The pause is at least this many times the time that the range took. So no server works for the audit for more than a twentieth of the
/// time, with one thread.
const PAUSES_PER_WORK: u32 = 19;
/// A pause is no longer: something has stopped the clock.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// The pause after a range that took `elapsed`, and this processor time, if `percent` of one core is allowed.
pub(super) fn pause(elapsed: Duration, cpu: Duration, percent: u32) -> Duration {
    let percent = percent.clamp(1, 100);
    let of_core = cpu.saturating_mul(100 - percent) / percent;
    of_core.max(elapsed.saturating_mul(PAUSES_PER_WORK)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_processor_nor_the_servers_do_more_than_their_share() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(10), ms(8), 1), ms(792));
        assert_eq!(pause(ms(100), ms(8), 1), ms(1_900));
        assert_eq!(pause(ms(10), ms(8), 100), ms(190));
        assert_eq!(pause(ms(10), Duration::MAX, 1), PAUSE_MAX);
    }
}
