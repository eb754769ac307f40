//! `footprint run`: every route's pipeline, until stopped or caught up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::Exit;
use super::caught_up::wait_until_caught_up;
use crate::budget::Budget;
use crate::config::Config;
use crate::coordinator::{Moved, Status};
use crate::{pipeline, telemetry};

/// Move events from Kafka into PostgreSQL and ClickHouse, each exactly once.
///
/// Runs until SIGTERM or Ctrl-C, then drains: what is on its way is stored, offsets are committed, exit 0. A second
/// signal exits at once; nothing is lost by it, the next start finishes what was claimed. While it works, /metrics,
/// /livez and /readyz answer at telemetry.listen.
#[derive(clap::Args, Debug)]
pub struct RunArgs {
    /// Stop when everything that the topic held at the start is stored in every sink, whoever stored it.
    #[arg(long)]
    pub until_caught_up: bool,
    /// Make or adopt the tables first, as `footprint migrate` does.
    #[arg(long)]
    pub migrate: bool,
}

/// Runs the command.
///
/// # Errors
/// Whatever demands a person, with what to do.
pub async fn run(args: &RunArgs, config: &Config) -> anyhow::Result<Exit> {
    if args.migrate {
        super::migrate::run(&super::migrate::MigrateArgs {}, config).await?;
    }
    let budget = Budget::new(config.pipeline.budget_bytes);
    let instance: u64 = rand::random();
    let (stop_sender, stop) = watch::channel(false);
    let mut pipelines: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let mut statuses = Vec::new();
    for route in &config.routes {
        let (status_sender, status) = watch::channel(Status::default());
        statuses.push(status);
        let (config, route, budget, stop) =
            (config.clone(), Arc::new(route.clone()), Arc::clone(&budget), stop.clone());
        pipelines.spawn(async move {
            let running = pipeline::run(&config, &route, &budget, instance, stop, status_sender).await;
            running.with_context(|| format!("route {}", route.name))
        });
    }
    let watched = statuses.clone();
    let pages = telemetry::serve(&config.telemetry, statuses).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let caught_up =
        async { if args.until_caught_up { wait_until_caught_up(config).await } else { std::future::pending().await } };
    tokio::pin!(caught_up);

    let mut failure = None;
    let mut draining = false;
    while !pipelines.is_empty() {
        tokio::select! {
            Some(ended) = pipelines.join_next() => {
                let ended = ended.unwrap_or_else(|error| Err(anyhow::anyhow!("a pipeline failed: {error}; please report it")));
                if let Err(error) = ended {
                    error!("{error:#}");
                    failure.get_or_insert(error);
                    let _ = stop_sender.send(true);
                    draining = true;
                }
            }
            result = &mut caught_up, if !draining => {
                match result {
                    Ok(()) => info!("caught up"),
                    Err(error) => failure = Some(error),
                }
                draining = true;
                let _ = stop_sender.send(true);
            }
            _ = terminate.recv() => ask_to_stop(&mut draining, &stop_sender),
            _ = interrupt.recv() => ask_to_stop(&mut draining, &stop_sender),
            () = overdue(draining, config) => {
                warn!("not drained in time; the next start finishes what was claimed");
                break;
            }
        }
    }
    if let Some(pages) = pages {
        pages.abort();
    }
    if let Some(error) = failure {
        return Err(error);
    }
    if args.until_caught_up {
        println!("{}", summary(watched.iter().map(|status| status.borrow().moved)));
    }
    Ok(Exit::Done)
}

/// What the routes moved, in a line.
fn summary(routes: impl Iterator<Item = Moved> + Clone) -> String {
    let records: u64 = routes.clone().map(|moved| moved.records).sum();
    let first = routes.clone().filter_map(|moved| moved.first_read_at).min();
    let last = routes.filter_map(|moved| moved.last_stored_at).max();
    let (Some(first), Some(last)) = (first, last) else { return "caught up: nothing was left to store".into() };
    let seconds = last.saturating_duration_since(first).as_secs_f64();
    format!("caught up: {records} records, {seconds:.3} s from the first record read to the last stored")
}

/// The first signal drains, the second exits at once.
fn ask_to_stop(draining: &mut bool, stop: &watch::Sender<bool>) {
    if *draining {
        warn!("second signal: exiting at once; the next start finishes what was claimed");
        std::process::exit(Exit::Failed as i32);
    }
    *draining = true;
    let _ = stop.send(true);
}

/// A drain that takes longer than its own deadlines allow.
async fn overdue(draining: bool, config: &Config) {
    if !draining {
        return std::future::pending().await;
    }
    tokio::time::sleep(Duration::from_millis(config.pipeline.drain_deadline_ms) + Duration::from_secs(15)).await;
}
