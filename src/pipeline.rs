//! The pipeline of one route. Only this file knows all stages. It builds the channels, the last one first, and supervises the stages: if
//! one of them ends early, all end.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use footprint_event::definition::Definition;
use footprint_event::route::Route;
use footprint_protocol::ledger::SinkName;
use footprint_protocol::partition::UnreadablePolicy;
use footprint_protocol::take_over::Switches;
use footprint_service::config::Config;
use footprint_service::health::{Component, Health};
use footprint_service::kafka::{AskError, Inquirer, consumer_config};
use footprint_service::metrics::Meters;
use footprint_service::status::Status;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::batch::Batch;
use crate::batch::assemble::assemble;
use crate::batch::batcher::{Batcher, Limits};
use crate::batch::budget::Budget;
use crate::batch::under_way::UnderWay;
use crate::claim::coordinator::{self, Coordinator, PipelineError, SinkStop};
use crate::claim::take_over::Context;
use crate::ledger::identity::application_name;
use crate::ledger::proof::Proofs;
use crate::ledger::statements::holder::Holder;
use crate::limits::{
    BATCH_MONTHS_MAX, BATCHES_KEPT_BYTES_MAX, CHUNK_CHANNEL_CAPACITY, COORDINATOR_CHANNEL_CAPACITY,
    WRITER_CHANNEL_CAPACITY,
};
use crate::outcome::Outcome;
use crate::paused::Paused;
use crate::read::commands::commands;
use crate::read::reader::{self, Reader};
use crate::store::clickhouse::migrate::Migrator;
use crate::store::clickhouse::readback::Questions;
use crate::store::clickhouse::writer::{ClickHouseSink, StoredRows};
use crate::store::lanes::Lanes;
use crate::store::postgres::stored::PostgresRows;
use crate::store::postgres::writer::{PostgresSink, Refusals};
use crate::store::sink::{Ack, SinkError};
use crate::store::writer::{Patience, Watched, serve};

/// How long the reader's thread may take to leave the consumer group.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

impl StoredRows for PostgresRows {
    async fn stored(&self, batch: &Batch) -> Result<footprint_event::rows::Rows, SinkError> {
        self.of(batch).await
    }
}

/// What the stages of one route are built from.
struct Parts<'a> {
    config: &'a Config,
    route: &'a Arc<Route>,
    budget: &'a Arc<Budget>,
    instance: u64,
    /// The application name of this process's connections to PostgreSQL.
    name: String,
    proofs: Arc<Proofs>,
    under_way: UnderWay,
    patience: Patience,
    health: Arc<Health>,
    meters: Meters,
    /// What a person has paused.
    paused: watch::Receiver<Paused>,
}

/// The stages beside the coordinator. None of them may end before it.
type Stages = JoinSet<Result<(), PipelineError>>;

/// One route, and what it shares with the others.
pub struct Job {
    /// The configuration.
    pub config: Config,
    /// The route.
    pub route: Arc<Route>,
    /// The byte budget of the process.
    pub budget: Arc<Budget>,
    /// The number of the process.
    pub instance: u64,
    /// What a failure that a person can mend means.
    pub patience: Patience,
    /// True means: drain and end.
    pub stop: watch::Receiver<bool>,
    /// What the pipeline publishes.
    pub status: watch::Sender<Status>,
    /// The board of the route.
    pub health: Arc<Health>,
}

/// Runs one route until `stop` is true, and says how it ended.
///
/// # Errors
/// A person must act: see [`PipelineError`].
pub async fn run(job: &Job) -> Result<Outcome, PipelineError> {
    let Job { config, route, budget, instance, patience, stop, status, health } = job;
    let (name, proofs, under_way) = (application_name(*instance), Arc::default(), UnderWay::default());
    let meters = Meters::new(&route.name);
    let (instance, patience, health) = (*instance, *patience, Arc::clone(health));
    let (paused_sender, paused) = watch::channel(Paused::default());
    let parts = Parts { config, route, budget, instance, name, proofs, under_way, patience, health, meters, paused };
    let (stop, status) = (stop.clone(), status.clone());
    let definition = Definition::of(route).map_err(|error| PipelineError::Stop(error.into()))?;
    let definition = Arc::new(definition);

    // the last stage first: each stage gets the channel of the next one
    let mut stages = Stages::new();
    let (ack_sender, acks) = mpsc::channel(COORDINATOR_CHANNEL_CAPACITY);
    let lanes = parts.writers(&ack_sender, &mut stages);
    drop(ack_sender);
    let (batch_sender, batches) = mpsc::channel(WRITER_CHANNEL_CAPACITY);
    let (chunk_sender, chunks) = mpsc::channel(CHUNK_CHANNEL_CAPACITY);
    let (event_sender, events) = mpsc::channel(COORDINATOR_CHANNEL_CAPACITY);
    let (commands, command_queue) = commands();
    let (cut_interval_sender, cut_interval) = watch::channel(coordinator::cut_interval(1, 1));
    let batcher = Batcher::new(&definition, limits(config), &parts.under_way);
    let assembling =
        assemble(batcher, chunks, batch_sender, parts.under_way.clone(), cut_interval, parts.meters.blocked("batcher"));
    stages.spawn(async move {
        assembling.await;
        Ok(())
    });
    let context = Arc::new(parts.context(definition)?);
    let (cut_interval, paused) = (cut_interval_sender, paused_sender);
    let channels = coordinator::Channels { commands, events, batches, lanes, acks, status, stop, cut_interval, paused };
    let coordinator = Coordinator::new(context, parts.settings(), channels);
    let (commands, events, chunks) = (command_queue, event_sender, chunk_sender);
    let left = parts.start_reader(reader::Channels { commands, events, chunks, paused: parts.paused.clone() })?;

    let result = supervise(coordinator, &mut stages).await;
    stages.shutdown().await;
    // an error means that the thread has ended, and that is all this waits for
    if timeout(LEAVE_TIMEOUT, left).await.is_err() {
        debug!("the reader did not leave the group in {LEAVE_TIMEOUT:?}");
    }
    info!(route = route.name, "pipeline ended");
    result
}

impl Parts<'_> {
    fn sink_timeout(&self) -> Duration {
        Duration::from_millis(self.config.pipeline.sink_timeout_ms)
    }

    /// What a writer reports to, and how patient it is.
    fn watched(&self, sink: SinkName, component: Component) -> Watched {
        let (health, meters) = (self.health.reporter(component), self.meters.sink(sink));
        Watched { health, meters, patience: self.patience, paused: self.paused.clone() }
    }

    /// A writer for each lane and sink.
    fn writers(&self, acks: &mpsc::Sender<Ack>, stages: &mut Stages) -> Lanes {
        let Self { config, route, name, proofs, .. } = self;
        let (rows_max, sink_timeout) = (config.pipeline.batch_rows_max, self.sink_timeout());
        let share_max = config.pipeline.refused_rows_share_max;
        let refusals = Refusals { kafka: config.kafka.clone(), share_max, meters: self.meters.clone() };
        let refused = crate::store::clickhouse::refused::Refusals {
            postgres: config.postgres.clone(),
            kafka: config.kafka.clone(),
            share_max,
            application_name: name.clone(),
            meters: self.meters.clone(),
        };
        let mut lanes = Vec::new();
        for _ in 0..config.pipeline.lanes {
            let (sender, batches) = mpsc::channel(WRITER_CHANNEL_CAPACITY);
            let sink = PostgresSink::new(&config.postgres, name, route, rows_max, sink_timeout, refusals.clone());
            let watched = self.watched(SinkName::Postgres, Component::Postgres);
            stages.spawn(stage(SinkName::Postgres, serve(sink, batches, acks.clone(), watched)));
            let mut writers = vec![sender];
            if config.clickhouse.enabled {
                let (sender, batches) = mpsc::channel(WRITER_CHANNEL_CAPACITY);
                let rows = PostgresRows::new(&config.postgres, name, route, sink_timeout);
                let sink = ClickHouseSink::new(&config.clickhouse, route, proofs, rows, sink_timeout, refused.clone());
                let watched = self.watched(SinkName::ClickHouse, Component::ClickHouse);
                stages.spawn(stage(SinkName::ClickHouse, serve(sink, batches, acks.clone(), watched)));
                writers.push(sender);
            }
            lanes.push(writers);
        }
        Lanes::new(lanes)
    }

    /// What all take-overs share.
    fn context(&self, definition: Arc<Definition>) -> Result<Context, PipelineError> {
        let Self { config, route, .. } = self;
        let client = footprint_service::clickhouse::client(&config.clickhouse);
        let questions = Questions::new(&client, route, &config.clickhouse.database, self.sink_timeout());
        Ok(Context {
            route: route.name.clone(),
            topic: route.topic.clone(),
            holder: Holder::this_process(&config.kafka.group_id),
            instance: self.instance,
            inquirer: Arc::new(Inquirer::new(&config.kafka)?),
            definition,
            questions: config.clickhouse.enabled.then_some(questions),
            clickhouse_tables: config.clickhouse.enabled.then(|| Migrator::new(&config.clickhouse)),
            switches: switches(config),
            offset_reset: config.kafka.offset_reset,
            starting: tokio::sync::Mutex::new(()),
            proofs: Arc::clone(&self.proofs),
            meters: self.meters.clone(),
        })
    }

    fn settings(&self) -> coordinator::Settings {
        let Self { config, budget, .. } = self;
        coordinator::Settings {
            postgres: config.postgres.clone(),
            drain_deadline: Duration::from_millis(config.pipeline.drain_deadline_ms),
            unreadable: UnreadablePolicy {
                then: config.kafka.on_unreadable_records,
                after: Duration::from_millis(config.kafka.unreadable_after_ms),
            },
            budget: Arc::clone(budget),
            health: Arc::clone(&self.health),
            meters: self.meters.clone(),
        }
    }

    /// Starts the reader's thread. The returned channel closes when the thread ends.
    fn start_reader(&self, channels: reader::Channels) -> Result<oneshot::Receiver<()>, PipelineError> {
        let Self { config, route, budget, under_way, .. } = self;
        let queue_kbytes = config.kafka.queue_kbytes_max / u32::try_from(config.routes.len()).unwrap_or(1).max(1);
        let consumer = consumer_config(&config.kafka, route, queue_kbytes);
        let reader = Reader::new(&consumer, &route.topic, budget, under_way, (&self.health, &self.meters), channels);
        let reader = reader.map_err(|error| PipelineError::Kafka(AskError::client(&error)))?;
        let (left_sender, left) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(format!("reader-{}", route.name)).spawn(move || {
            reader.run();
            drop(left_sender);
        });
        thread.map_err(PipelineError::Thread)?;
        Ok(left)
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        rows_max: config.pipeline.batch_rows_max,
        bytes_max: config.pipeline.batch_bytes_max,
        months_max: if config.clickhouse.enabled { BATCH_MONTHS_MAX } else { usize::MAX },
        linger: Duration::from_millis(config.pipeline.linger_ms),
        kept_bytes_max: BATCHES_KEPT_BYTES_MAX / config.routes.len().max(1),
    }
}

fn switches(config: &Config) -> Switches {
    Switches {
        postgres: config.postgres.enabled.then_some(config.postgres.when_switched_on),
        clickhouse: config.clickhouse.enabled.then_some(config.clickhouse.when_switched_on),
        on_lost_records: config.kafka.on_lost_records,
    }
}

async fn stage(sink: SinkName, serving: impl Future<Output = Result<(), SinkError>>) -> Result<(), PipelineError> {
    serving.await.map_err(|error| PipelineError::Sink(Box::new(SinkStop { sink, error })))
}

/// The pipeline ends when the coordinator does. A stage that ends earlier is a failure.
async fn supervise(
    coordinator: Coordinator,
    stages: &mut JoinSet<Result<(), PipelineError>>,
) -> Result<Outcome, PipelineError> {
    let coordinating = coordinator.run();
    tokio::pin!(coordinating);
    tokio::select! {
        biased;
        result = &mut coordinating => result,
        Some(ended) = stages.join_next() => match ended {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) => Err(PipelineError::Stop("a stage ended early".into())),
            Err(error) => Err(PipelineError::task("a stage", error)),
        },
    }
}
