//! How long the audit pauses after each range, so that it costs no more than it may. Pure.

use std::time::Duration;

/// The pause is at least this many times the time that the range took, unless a larger share of a core is allowed. So no server works for
/// the audit for more than a twentieth of the time, with one thread.
const PAUSES_PER_WORK: f64 = 19.0;
/// A pause is no longer: something has stopped the clock.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// The pause after a range that took `elapsed`, and this processor time, if `percent` of one core is allowed.
pub(super) fn pause(elapsed: Duration, cpu: Duration, percent: u32) -> Duration {
    let percent = f64::from(percent.clamp(1, 100));
    let pauses = (100.0 - percent) / percent;
    let seconds = (cpu.as_secs_f64() * pauses).max(elapsed.as_secs_f64() * pauses.min(PAUSES_PER_WORK));
    Duration::from_secs_f64(seconds.min(PAUSE_MAX.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_processor_nor_the_servers_do_more_than_their_share() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(10), ms(8), 1), ms(792));
        assert_eq!(pause(ms(100), ms(8), 1), ms(1_900));
        assert_eq!(pause(ms(100), ms(8), 50), ms(100));
        assert_eq!(pause(ms(100), ms(8), 100), ms(0));
        assert_eq!(pause(ms(10), Duration::MAX, 1), PAUSE_MAX);
    }
}
