//! The troubles that have ended while `top` looked on: /status shows only those of the present. It keeps the last few. Pure.

use std::collections::VecDeque;

use super::figures::{Component, Figures};

/// Troubles kept, of all routes.
const KEPT_MAX: usize = 50;

/// A trouble of a component that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub route: String,
    /// As it was last seen.
    pub component: Component,
    /// The consumer's time, RFC 3339.
    pub until: Option<String>,
}

/// Those of the present and those that have ended, the latest last.
#[derive(Default, Debug)]
pub(super) struct Troubles {
    present: Vec<(String, Component)>,
    ended: VecDeque<Ended>,
}

impl Troubles {
    /// Looks at the next answer.
    pub(super) fn see(&mut self, figures: &Figures) {
        let is_bad = |component: &&Component| component.state == "degraded" || component.state == "failed";
        let bad = |route: &super::figures::Route| {
            let named =
                route.components.iter().filter(is_bad).map(|component| (route.route.clone(), component.clone()));
            named.collect::<Vec<_>>()
        };
        let mut present: Vec<(String, Component)> = figures.routes.iter().flat_map(bad).collect();
        for (route, earlier) in std::mem::take(&mut self.present) {
            match present.iter_mut().find(|(of, now)| *of == route && now.component == earlier.component) {
                // another part of the consumer may have seen it a moment later
                Some((_, component)) => component.since = earlier.since,
                None => self.ended.push_back(Ended { route, component: earlier, until: figures.at.clone() }),
            }
        }
        self.present = present;
        let superfluous = self.ended.len().saturating_sub(KEPT_MAX);
        self.ended.drain(..superfluous);
    }

    /// Those of a route that have ended, the latest first.
    pub(super) fn ended_of<'a>(&'a self, route: &'a str) -> impl Iterator<Item = &'a Ended> {
        self.ended.iter().rev().filter(move |ended| ended.route == route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::snapshot::Snapshot;

    fn figures(second: u32, state: &str, since: &str, why: &str) -> Figures {
        let status = format!(
            r#"{{"version": "1", "ready": true, "started": "2026-02-03T04:05:00Z", "uptime_seconds": {second}, "routes": [{{"route": "a",
            "ready": true, "components": [{{"component": "kafka", "state": "{state}", "since": "{since}", "why": "{why}"}}]}}]}}"#
        );
        Figures::new(&Snapshot::parse(&status, "").unwrap(), None)
    }

    #[test]
    fn a_trouble_is_kept_when_it_has_ended_as_it_was_last_seen() {
        let mut troubles = Troubles::default();
        for (second, state, since, why) in [
            (1, "ok", "", ""),
            (2, "degraded", "s", "first"),
            (3, "failed", "s", "second"),
            (4, "paused", "p", "budget"),
        ] {
            assert_eq!(troubles.ended_of("a").count(), 0);
            troubles.see(&figures(second, state, since, why));
        }
        let ended: Vec<&Ended> = troubles.ended_of("a").collect();
        assert_eq!(
            (ended.len(), ended[0].component.state.as_str(), ended[0].component.why.as_str()),
            (1, "failed", "second")
        );
        assert_eq!(ended[0].until.as_deref(), Some("2026-02-03T04:05:04Z"));
        assert_eq!(troubles.ended_of("b").count(), 0);
    }

    /// The story: the writer and the probe saw the same fault a moment apart, and it was shown twice.
    #[test]
    fn a_component_without_a_break_is_one_trouble_and_only_the_last_are_kept() {
        let mut troubles = Troubles::default();
        for second in 0..100 {
            troubles.see(&figures(second, "failed", &second.to_string(), "w"));
        }
        assert_eq!(troubles.ended_of("a").count(), 0);
        troubles.see(&figures(100, "ok", "", ""));
        assert_eq!(troubles.ended_of("a").next().unwrap().component.since.as_deref(), Some("0"));
        for second in 0..200 {
            let state = if second % 2 == 0 { "failed" } else { "ok" };
            troubles.see(&figures(second, state, &second.to_string(), "w"));
        }
        assert_eq!(troubles.ended_of("a").count(), KEPT_MAX);
        assert_eq!(troubles.ended_of("a").next().unwrap().component.since.as_deref(), Some("198"));
    }
}
