//! The topic's life: which source is read, and whether it still is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::ledger::SourceId;
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::{AskError, Inquirer, TopicDescription};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::{Coordinator, PipelineError};
use crate::claim::take_over::Life;

/// Looks at the topic's id are at least so far apart.
const DESCRIBE_INTERVAL: Duration = Duration::from_millis(10);
/// Looks are at most so far apart: where nothing is read, only a look tells that the topic was replaced.
const DESCRIBE_IDLE: Duration = Duration::from_secs(5);
/// How long one look may take.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

impl Coordinator {
    pub(super) fn describe_when_needed(&mut self) {
        let now = Instant::now();
        if self.watch.under_way.is_some() || self.watch.asked_at.is_some_and(|at| now < at + DESCRIBE_INTERVAL) {
            return;
        }
        let taking_over = self.partitions.values().any(|held| held.machine.is_taking_over());
        let waits = self.partitions.values().any(|held| held.machine.waits_for_life());
        let is_due = self.watch.asked_at.is_none_or(|at| now >= at + DESCRIBE_IDLE);
        if self.life.is_none() || is_due || (taking_over && self.watch.seen_at.is_none()) || waits {
            self.watch.asked_at = Some(now);
            self.watch.under_way = Some(now);
            let inquirer: Arc<Inquirer> = Arc::clone(&self.context.inquirer);
            let topic = self.context.topic.clone();
            let known = self.cluster_id.clone();
            failpoint::hit(Point::SourceAsk);
            self.describes.spawn(async move {
                let answer = spawn_blocking(move || {
                    let cluster_id = known.map_or_else(|| inquirer.cluster_id(DESCRIBE_TIMEOUT), Ok)?;
                    Ok((cluster_id, inquirer.describe_topic(&topic, DESCRIBE_TIMEOUT)?))
                })
                .await;
                let failed = |error: tokio::task::JoinError| AskError::Refused {
                    what: "describe topic",
                    why: error.to_string(),
                };
                answer.map_err(failed).flatten()
            });
        }
    }

    pub(super) fn on_description(
        &mut self,
        answer: Result<(String, TopicDescription), AskError>,
    ) -> Result<(), PipelineError> {
        failpoint::hit(Point::SourceAnswered);
        // what an answer shows is as of its question
        let Some(asked_at) = self.watch.under_way.take() else { return Ok(()) };
        match answer {
            Ok((cluster_id, description)) => {
                let replaced = self.life.as_ref().is_some_and(|known| *known.topic_id != *description.topic_id);
                if replaced {
                    warn!(
                        topic = self.context.topic,
                        topic_id = description.topic_id,
                        "the topic was replaced: a new source begins"
                    );
                    self.life = None;
                    self.forget_unreadable();
                    self.end_all("the topic was replaced");
                    // nobody can finish what was of the life before
                    self.unfinished.clear();
                }
                if self.life.is_none() {
                    let source = SourceId::of(&cluster_id, &description.topic_id);
                    self.cluster_id = Some(cluster_id);
                    self.life = Some(Life { source, topic_id: description.topic_id.into(), others_known: false });
                }
                self.partition_count = usize::try_from(description.partition_count).unwrap_or_default();
                self.watch.seen_at = Some(asked_at);
                for held in self.partitions.values_mut() {
                    held.machine.life_seen(|batch| batch.read_at < asked_at);
                }
                self.watch.backoff.reset();
            }
            Err(error) if error.is_final() => return Err(error.into()),
            Err(error) => {
                // no answer, no claim; asked again a little later
                self.watch.asked_at = Some(Instant::now() + self.watch.backoff.next_wait());
                warn!("{error}");
            }
        }
        Ok(())
    }
}
