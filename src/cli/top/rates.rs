//! What the counters did between two pages of /metrics. A counter that is smaller than before has begun again at 0, because the
//! consumer was started again: then its whole value is new. Pure.

use super::samples::{Samples, Where};

/// Two pages and the seconds between them.
#[derive(Clone, Copy)]
pub(super) struct Rates<'a> {
    now: &'a Samples,
    /// None: there was only one page, and nothing has a rate yet.
    before: Option<(&'a Samples, f64)>,
}

impl<'a> Rates<'a> {
    pub(super) fn new(now: &'a Samples, before: Option<(&'a Samples, f64)>) -> Self {
        Self { now, before: before.filter(|(_, seconds)| *seconds > 0.0) }
    }

    /// What the counters with these labels have grown by in all.
    fn increase(&self, name: &str, wanted: &[Where<'_>]) -> Option<f64> {
        let (before, _) = self.before?;
        self.now
            .of(name, wanted)
            .map(|sample| {
                let earlier = before.of(name, wanted).find(|other| other.labels == sample.labels);
                match earlier.map_or(0.0, |earlier| earlier.value) {
                    earlier if earlier <= sample.value => sample.value - earlier,
                    _ => sample.value,
                }
            })
            .reduce(|one, other| one + other)
    }

    /// What they grow by in one second.
    pub(super) fn per_second(&self, name: &str, wanted: &[Where<'_>]) -> Option<f64> {
        Some(self.increase(name, wanted)? / self.before?.1)
    }

    /// The mean of the values that a histogram has counted. None: it counted none.
    pub(super) fn mean(&self, name: &str, wanted: &[Where<'_>]) -> Option<f64> {
        let count = self.increase(&format!("{name}_count"), wanted)?;
        let sum = self.increase(&format!("{name}_sum"), wanted)?;
        (count > 0.0).then(|| sum / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: [u32; 2], sum: f64, count: u32) -> Samples {
        let [one, other] = rows;
        Samples::parse(&format!("rows{{p=\"0\"}} {one}\nrows{{p=\"1\"}} {other}\ntime_sum {sum}\ntime_count {count}\n"))
    }

    #[test]
    fn a_rate_is_the_growth_divided_by_the_time() {
        let (before, now) = (page([100, 50], 1.0, 10), page([140, 60], 3.0, 14));
        let rates = Rates::new(&now, Some((&before, 2.0)));
        assert_eq!(rates.per_second("rows", &[]), Some(25.0));
        assert_eq!(rates.per_second("rows", &[("p", "0")]), Some(20.0));
        assert_eq!(rates.per_second("gone", &[]), None);
        assert_eq!(rates.mean("time", &[]), Some(0.5));
        assert_eq!(Rates::new(&now, Some((&now, 1.0))).mean("time", &[]), None, "nothing was counted");
        assert_eq!(Rates::new(&now, Some((&now, 1.0))).per_second("rows", &[]), Some(0.0));
    }

    #[test]
    fn a_counter_that_began_again_counts_from_0() {
        let (before, now) = (page([100, 50], 9.0, 90), page([30, 60], 1.0, 4));
        let rates = Rates::new(&now, Some((&before, 10.0)));
        assert_eq!(rates.per_second("rows", &[]), Some(4.0));
        assert_eq!(rates.mean("time", &[]), Some(0.25));
    }

    #[test]
    fn a_series_that_is_new_counts_from_0_and_one_that_has_left_counts_nothing() {
        let (before, now) = (Samples::parse("rows{p=\"0\"} 100\n"), Samples::parse("rows{p=\"1\"} 7\n"));
        assert_eq!(Rates::new(&now, Some((&before, 1.0))).per_second("rows", &[]), Some(7.0));
    }

    #[test]
    fn one_page_or_no_time_has_no_rates() {
        let now = page([1, 1], 1.0, 1);
        assert_eq!(Rates::new(&now, None).per_second("rows", &[]), None);
        assert_eq!(Rates::new(&now, Some((&now, 0.0))).per_second("rows", &[]), None);
    }
}
