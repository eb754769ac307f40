//! What `top` knows between two questions: the last answers, the troubles that have ended, and whether the consumer is silent. Times
//! are parameters.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};

use super::figures::Figures;
use super::snapshot::Snapshot;
use super::troubles::Troubles;
use super::view::{Shown, Silence};

/// Rates are over this time, or over one interval if that is longer. Batches come in bursts, and a second alone would jump.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// The time here, RFC 3339.
pub(super) fn time_here() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The state of one `top`.
pub(super) struct Watch {
    /// The last answers, the latest last. The first one is what the rates begin at.
    answers: VecDeque<(Instant, Snapshot)>,
    figures: Option<Figures>,
    troubles: Troubles,
    /// When the last answer came, or when `top` began.
    heard: (Instant, String),
    /// Why the last question has no answer.
    silent: Option<String>,
}

impl Watch {
    pub(super) fn new(now: Instant, time: String) -> Self {
        Self {
            answers: VecDeque::new(),
            figures: None,
            troubles: Troubles::default(),
            heard: (now, time),
            silent: None,
        }
    }

    /// An answer has come.
    pub(super) fn answered(&mut self, now: Instant, time: String, snapshot: Snapshot) {
        let is_old = |answer: Option<&(Instant, Snapshot)>| {
            answer.is_some_and(|(at, _)| now.saturating_duration_since(*at) >= RATE_WINDOW)
        };
        while is_old(self.answers.get(1)) {
            self.answers.pop_front();
        }
        let before = self.answers.front();
        let before = before.map(|(at, before)| (before, now.saturating_duration_since(*at).as_secs_f64()));
        let figures = Figures::new(&snapshot, before);
        self.troubles.see(&figures);
        self.figures = Some(figures);
        self.answers.push_back((now, snapshot));
        self.heard = (now, time);
        self.silent = None;
    }

    /// A question has no answer.
    pub(super) fn failed(&mut self, why: String) {
        self.silent = Some(why);
    }

    /// How many routes there are.
    pub(super) fn route_count(&self) -> usize {
        self.figures.as_ref().map_or(0, |figures| figures.routes.len())
    }

    /// What can be shown now, if the consumer is asked this often.
    pub(super) fn shown<'a>(&'a self, address: &'a str, now: Instant, every: Duration) -> Shown<'a> {
        let (heard, time) = &self.heard;
        let age = now.saturating_duration_since(*heard);
        Shown {
            address,
            figures: self.figures.as_ref(),
            late: age.saturating_sub(every),
            silence: self.silent.as_ref().map(|why| Silence { since: time.clone(), lasts: age, why: why.clone() }),
            troubles: &self.troubles,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn snapshot(read: u32) -> Snapshot {
        let status = r#"{"version": "1", "ready": true, "routes": [{"route": "a", "ready": true}]}"#;
        Snapshot::parse(status, &format!("footprint_reader_records_total{{route=\"a\"}} {read}\n")).unwrap()
    }

    #[test]
    fn rates_are_over_the_last_seconds_and_few_answers_are_kept() {
        let began = Instant::now();
        let mut watch = Watch::new(began, "t".into());
        let mut rates = Vec::new();
        // 100 records a second, and from the tenth second on none
        for second in 0..20_u32 {
            watch.answered(began + second * SECOND, "t".into(), snapshot(second.min(10) * 100));
            let figures = watch.shown("x", began, SECOND).figures.unwrap();
            rates.push(figures.routes[0].read.records_per_second.map(|rate| rate.round() as u32));
            assert!(watch.answers.len() <= 6);
        }
        assert_eq!(rates[..3], [None, Some(100), Some(100)]);
        assert_eq!(rates[10..17], [100, 80, 60, 40, 20, 0, 0].map(Some));
    }

    #[test]
    fn an_interval_longer_than_the_window_has_rates_too() {
        let began = Instant::now();
        let mut watch = Watch::new(began, "t".into());
        for (minute, read) in [(0, 0), (1, 600), (2, 1_800)] {
            watch.answered(began + minute * 60 * SECOND, "t".into(), snapshot(read));
        }
        let figures = watch.shown("x", began, SECOND).figures.unwrap();
        assert_eq!(figures.routes[0].read.records_per_second, Some(20.0));
    }

    #[test]
    fn silence_is_since_the_last_answer_and_ends_with_the_next() {
        let began = Instant::now();
        let mut watch = Watch::new(began, "start".into());
        watch.failed("first".into());
        let silence = watch.shown("x", began + SECOND, SECOND).silence.unwrap();
        assert_eq!((silence.since.as_str(), silence.lasts, silence.why.as_str()), ("start", SECOND, "first"));
        watch.answered(began + 2 * SECOND, "answer".into(), snapshot(1));
        let shown = watch.shown("x", began + 7 * SECOND, SECOND);
        assert!(shown.silence.is_none() && shown.late == 4 * SECOND);
        watch.failed("second".into());
        let silence = watch.shown("x", began + 7 * SECOND, SECOND).silence.unwrap();
        assert_eq!((silence.since.as_str(), silence.lasts), ("answer", 5 * SECOND));
        assert!(watch.shown("x", began, SECOND).figures.is_some(), "the last figures stay");
    }
}
