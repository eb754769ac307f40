//! The client that is a member of the group and fetches the messages. It is made again if librdkafka fetches nothing of a partition
//! whose log holds more: librdkafka ignores a leader epoch that is lower than the last one it saw, even if the topic was deleted and created
//! again, and the new topic's epochs begin at 0. Then every fetch is refused, and only a new client forgets the old epoch.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use footprint_service::failpoint::{self, Point};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tracing::{debug, warn};

use super::fetching::Fetching;
use super::group::GroupContext;
use crate::read::commit::Commits;

/// How long a client that leaves waits until the messages that it gave are decoded or thrown away.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);

/// A member of the group; see the top of this file.
pub(super) struct Client {
    // fields are dropped in this order: these two before the consumer
    pub(super) commits: Commits,
    pub(super) fetching: Fetching,
    pub(super) consumer: Arc<BaseConsumer<GroupContext>>,
}

impl Client {
    /// Joins the group.
    ///
    /// # Errors
    /// librdkafka refuses a setting or the subscription, or gives no queue.
    pub(super) fn join(config: &ClientConfig, topic: &str) -> Result<Self, KafkaError> {
        let consumer: BaseConsumer<GroupContext> = config.create_with_context(GroupContext::new(config, topic))?;
        consumer.subscribe(&[topic])?;
        let consumer = Arc::new(consumer);
        Ok(Self { commits: Commits::new(&consumer)?, fetching: Fetching::new(&consumer, topic)?, consumer })
    }

    /// Leaves the group. Nobody may keep messages of this client.
    pub(super) fn leave(self, topic: &str) {
        let Self { commits, mut fetching, consumer } = self;
        consumer.context().closing.store(true, Ordering::SeqCst);
        fetching.stop_all();
        if !fetching.close(RETURN_TIMEOUT) {
            warn!(topic, "messages are still being decoded; the group is left after them");
        }
        debug!(topic, "the reader leaves the group");
        failpoint::hit(Point::Leave);
        drop((commits, consumer));
        failpoint::hit(Point::LeaveAnswered);
    }
}
