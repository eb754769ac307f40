//! `footprint run`: every route's pipeline, until stopped or caught up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use footprint_service::config::{Config, Shown};
use footprint_service::console::Output;
use footprint_service::health::Health;
use footprint_service::kafka::client_version;
use footprint_service::metrics;
use footprint_service::pages::{self, ProcessView, RouteView};
use footprint_service::report::Chain;
use footprint_service::signals::Signals;
use footprint_service::status::Moved;
use footprint_service::status::Status;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::Exit;
use super::caught_up::CaughtUp;
use super::migrate::{self, Migrated};
use crate::allocator;
use crate::batch::budget::Budget;
use crate::claim::coordinator::PipelineError;
use crate::outcome::{Left, Outcome};
use crate::pipeline::Job;
use crate::probes;
use crate::store::writer::Patience;
use crate::supervisor;
use crate::upkeep::audit;

/// How much longer than its own deadline a drain may take before it is given up.
const DRAIN_GRACE: Duration = Duration::from_secs(15);

/// Move events from Kafka into PostgreSQL and ClickHouse, each exactly once.
///
/// Runs until SIGTERM, SIGHUP or Ctrl-C. Then it drains: it stores everything under way and commits the offsets, and exits with
/// 0. If it could not store everything in time, it says so and exits with 1. A second signal exits at once. Neither loses
/// anything: the next start finishes the claims. While it runs, /metrics, /livez, /readyz and /status answer at telemetry.listen.
#[derive(clap::Args, Debug)]
pub struct RunArgs {
    /// Stop when everything that the topic held at the start is stored in every sink, by this or another process. If interrupted
    /// before that, it says how much is stored and exits with 1.
    #[arg(long)]
    pub until_caught_up: bool,
    /// Create or adopt the tables first, as `footprint migrate` does.
    #[arg(long)]
    pub migrate: bool,
}

/// Runs the command.
///
/// # Errors
/// Every fault that a person must mend, with what to do.
pub async fn run(
    args: &RunArgs,
    config: &Config,
    shown: &Shown,
    signals: &Signals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let migrated = if args.migrate { migrate::migrate(config, signals, output).await? } else { Migrated::Whole };
    let outcome = match migrated {
        Migrated::Interrupted => Outcome::Interrupted(None),
        // no pipeline was started, so nothing is under way
        Migrated::Whole if signals.have_come() && !args.until_caught_up => Outcome::Drained,
        Migrated::Whole if signals.have_come() => Outcome::Interrupted(None),
        Migrated::Whole => run_pipelines(args, config, shown, signals).await?,
    };
    if let Outcome::Failed(why) = outcome {
        return Err(anyhow!(why));
    }
    output.line(outcome.line());
    Ok(if outcome.is_good() { Exit::Done } else { Exit::Failed })
}

async fn run_pipelines(args: &RunArgs, config: &Config, shown: &Shown, signals: &Signals) -> anyhow::Result<Outcome> {
    // before anything is counted
    let recorder = metrics::install()?;
    let (stop, stopped) = watch::channel(false);
    let patience = if args.until_caught_up { Patience::None } else { Patience::ForPeople };
    let budget = Budget::new(config.pipeline.budget_bytes);
    let (mut pipelines, views, watched_by_audit) = start(config, &budget, patience, &stopped);
    let statuses: Vec<watch::Receiver<Status>> = views.iter().map(|view| view.status.clone()).collect();
    let boards: Vec<Arc<Health>> = views.iter().map(|view| Arc::clone(&view.health)).collect();
    let moved = |statuses: &[watch::Receiver<Status>]| {
        statuses.iter().map(|status| status.borrow().moved).fold(Moved::default(), Moved::and)
    };
    let watched = statuses.clone();
    let _pages = pages::serve(&config.telemetry, recorder, views, process_view(shown, budget)?).await?;
    let _probes = probes::start(config, &boards)?;
    let _audit = audit::start(config, watched_by_audit).context("no thread for the audit")?;
    let goal = CaughtUp::new(config);
    let caught_up = async { if args.until_caught_up { goal.wait().await } else { std::future::pending().await } };
    tokio::pin!(caught_up);

    let mut outcome = Outcome::Drained;
    let mut is_caught_up = false;
    let mut overdue: Option<Instant> = None;
    while !pipelines.is_empty() {
        let before = overdue.is_none();
        tokio::select! {
            Some(ended) = pipelines.join_next() => {
                let ended = ended.unwrap_or_else(|error| Outcome::Failed(Chain(&PipelineError::task("a pipeline", error)).to_string()));
                let has_failed = matches!(ended, Outcome::Failed(_));
                if let Outcome::Failed(why) = &ended {
                    error!("{why}");
                }
                outcome = outcome.and(ended);
                // the other routes go on
                if has_failed && before && !args.until_caught_up {
                    continue;
                }
            }
            result = &mut caught_up, if before => match result {
                Ok(()) => {
                    info!("caught up");
                    is_caught_up = true;
                }
                Err(error) => outcome = outcome.and(Outcome::Failed(Chain(&*error).to_string())),
            },
            () = signals.wait(), if before => {}
            () = until(overdue) => {
                warn!("the pipelines did not end in time");
                outcome = outcome.and(Outcome::NotDrained(Left { silent_routes: pipelines.len(), ..Left::default() }));
                break;
            }
        }
        // whichever comes first
        if before {
            stop.send_replace(true);
            overdue = Some(Instant::now() + Duration::from_millis(config.pipeline.drain_deadline_ms) + DRAIN_GRACE);
        }
    }
    if args.until_caught_up && !matches!(outcome, Outcome::Failed(_)) {
        let asked_for = match goal.stored().await {
            _ if is_caught_up => Outcome::CaughtUp(moved(&watched)),
            Some((_, true)) => Outcome::CaughtUp(moved(&watched)),
            stored => Outcome::Interrupted(stored.map(|(stored, _)| stored)),
        };
        outcome = outcome.and(asked_for);
    }
    Ok(outcome)
}

/// Starts every route's pipeline. Returns what the pages show of each, and what the audit needs of each.
fn start(
    config: &Config,
    budget: &Arc<Budget>,
    patience: Patience,
    stop: &watch::Receiver<bool>,
) -> (JoinSet<Outcome>, Vec<RouteView>, Vec<audit::Watched>) {
    let instance: u64 = rand::random();
    let mut pipelines = JoinSet::new();
    let (mut views, mut watched) = (Vec::new(), Vec::new());
    let now = std::time::Instant::now();
    for route in &config.routes {
        let (status, seen) = watch::channel(Status::default());
        let health = Health::new(&route.name, probes::components(config), now);
        let (audited, proven) = watch::channel(Vec::new());
        let route = Arc::new(route.clone());
        watched.push(audit::Watched { route: Arc::clone(&route), status: seen.clone(), audited });
        views.push(RouteView { status: seen, health: Arc::clone(&health), audited: proven });
        let (config, budget, stop) = (config.clone(), Arc::clone(budget), stop.clone());
        pipelines.spawn(supervisor::run(Job { config, route, budget, instance, patience, stop, status, health }));
    }
    (pipelines, views, watched)
}

/// What the pages show of the process.
fn process_view(shown: &Shown, budget: Arc<Budget>) -> anyhow::Result<ProcessView> {
    Ok(ProcessView {
        configuration: serde_json::to_value(shown)?,
        kafka_client: client_version(),
        budget_bytes_max: budget.bytes_max(),
        budget_held: Box::new(move || budget.held()),
        allocated: Box::new(allocator::bytes),
    })
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
