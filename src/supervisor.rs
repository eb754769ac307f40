//! Runs the pipeline of one route. If it ends with a failure that a person can mend, such as a right that was taken away, it is run
//! again and again, and the health of the route says what to do. Running it again is as safe as a restart of the program: each
//! take-over meets what the last pipeline has left behind. Other routes are not disturbed.

use std::time::{Duration, Instant};

use footprint_service::health::{Reporter, Severity};
use footprint_service::report::Chain;
use tokio::time::sleep;
use tracing::error;

use crate::claim::coordinator::PipelineError;
use crate::outcome::Outcome;
use crate::pipeline::{self, Job};
use crate::store::writer::Patience;

/// The wait before a pipeline is run again.
const RETRY_WAIT: Duration = Duration::from_secs(3);
/// A pipeline that has been in its group for so long works: what failed before fails sooner.
const WORKS_AFTER: Duration = Duration::from_secs(3);
/// How often it is asked whether a new pipeline has joined its group.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Runs the route until it is asked to stop, or until it fails for good.
pub async fn run(job: Job) -> Outcome {
    let mut stop = job.stop.clone();
    // what failed last is shown until a new pipeline works
    let mut failed = None;
    loop {
        let error = match run_once(&job, &mut failed).await {
            Ok(outcome) => {
                job.health.has_ended();
                return outcome;
            }
            Err(error) => error,
        };
        let why = format!("route {}: {}", job.route.name, Chain(&error));
        if job.patience == Patience::None || error.is_for_good() {
            job.health.has_failed(error.component(), &error, Instant::now());
            return Outcome::Failed(why);
        }
        error!("{why}; trying again in {RETRY_WAIT:?}");
        let reporter = job.health.reporter(error.component());
        reporter.bad(Severity::Lasting, &error, Instant::now());
        failed = Some(reporter);
        tokio::select! {
            () = sleep(RETRY_WAIT) => {}
            // a dropped sender counts as a request
            _ = stop.wait_for(|&stop| stop) => {
                job.health.has_ended();
                return Outcome::Failed(why);
            }
        }
    }
}

/// Runs the pipeline once. When it works, `failed` is over.
async fn run_once(job: &Job, failed: &mut Option<Reporter>) -> Result<Outcome, PipelineError> {
    job.health.has_left();
    let running = pipeline::run(job);
    let works = async {
        while !job.health.is_joined() {
            sleep(LOOK_INTERVAL).await;
        }
        sleep(WORKS_AFTER).await;
    };
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        () = works => {}
    }
    failed.take();
    running.await
}
