//! Pauses: what a person has asked for in the ledger is passed on to the reader and the writers, and shown. No protocol decision depends on
//! it: nothing is claimed while the route is paused, and that is all.

use std::time::{Duration, Instant};

use footprint_protocol::ledger::SinkName;
use footprint_service::escape::{Keep, escaped};
use footprint_service::health::{Component, Health, Reporter, Severity};
use std::sync::Arc;
use tracing::{info, warn};

use super::{Coordinator, PipelineError};
use crate::ledger::statements::pauses::Pause;
use crate::paused::Paused;

/// How often the ledger is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// The drain's deadline while a sink is paused. What its writers hold cannot be stored before somebody resumes it.
const DRAIN_DEADLINE_PAUSED: Duration = Duration::from_secs(2);

/// What is known of the pauses.
pub(super) struct Pauses {
    now: Paused,
    asked_at: Option<Instant>,
    reporters: Vec<(Option<SinkName>, Reporter)>,
}

impl Pauses {
    pub(super) fn new(health: &Arc<Health>) -> Self {
        let route = [Component::Reader, Component::Coordinator].map(|component| (None, health.reporter(component)));
        let sinks = [(SinkName::Postgres, Component::Postgres), (SinkName::ClickHouse, Component::ClickHouse)];
        let sinks = sinks.map(|(sink, component)| (Some(sink), health.reporter(component)));
        Self { now: Paused::default(), asked_at: None, reporters: route.into_iter().chain(sinks).collect() }
    }

    /// Whether the route is paused.
    pub(super) fn is_route_paused(&self) -> bool {
        self.now.route
    }

    fn show(&self, route: &str, pauses: &[Pause]) {
        for (sink, reporter) in &self.reporters {
            let Some(pause) = pauses.iter().find(|pause| pause.sink == *sink) else {
                reporter.good();
                continue;
            };
            let option = sink.map_or(String::new(), |sink| format!(" --sink {}", sink.as_str()));
            let since = Instant::now();
            let since = since.checked_sub(pause.age).unwrap_or(since);
            // a person's words
            let why = escaped(&pause.to_string(), Keep::Nothing).to_string();
            reporter.says(Severity::Paused, why, format!("footprint resume {route}{option}"), since);
        }
    }
}

impl Coordinator {
    /// Asks the ledger what is paused, if it is time to, and before anything is taken over.
    pub(super) async fn look_at_pauses(&mut self) -> Result<(), PipelineError> {
        let is_due = self.pauses.asked_at.is_none_or(|at| at.elapsed() >= INTERVAL);
        let Some(ledger) = self.ledger.clone().filter(|_| is_due) else { return Ok(()) };
        self.pauses.asked_at = Some(Instant::now());
        let found = match ledger.pauses().await {
            Ok(found) => found,
            Err(error) => return self.on_ledger_error(error),
        };
        let has = |sink: Option<SinkName>| found.iter().any(|pause| pause.sink == sink);
        let now = Paused {
            route: has(None),
            postgres: has(Some(SinkName::Postgres)),
            clickhouse: has(Some(SinkName::ClickHouse)),
        };
        if now != self.pauses.now {
            for pause in &found {
                let what = pause.sink.map_or("the route", SinkName::as_str);
                warn!("{what} is {}", escaped(&pause.to_string(), Keep::Nothing));
            }
            if now == Paused::default() {
                info!("nothing is paused any more");
            }
            self.pauses.now = now;
            self.channels.paused.send_replace(now);
        }
        self.pauses.show(&self.context.route, &found);
        Ok(())
    }

    /// How long a stop or a revoke waits for batches in flight.
    pub(super) fn drain_deadline(&self) -> Duration {
        let deadline = self.settings.drain_deadline;
        if self.pauses.now.any_sink() { deadline.min(DRAIN_DEADLINE_PAUSED) } else { deadline }
    }
}
