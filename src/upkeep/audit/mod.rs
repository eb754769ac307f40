//! The audit: while `run` works, it proves at a bounded cost that exactly once holds. It compares range by range what is stored with Kafka
//! and with the other database, and publishes what it has proven.
//!
//! - It proves only partitions that this process owns, below every frontier. So two processes never do the same work, and no record
//!   under way is taken for a fault.
//! - It has a thread, a session of PostgreSQL and a consumer of its own, proves one range at a time, and pauses after each (`pace.rs`).
//! - While a route is behind, it waits: its reads would slow down the writes.
//! - If a server is away, nothing is proven, and that is no fault of the data.

mod pace;
mod prover;
mod route;
mod schedule;

use std::convert::Infallible;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use footprint_event::route::Route;
use footprint_service::clock::thread_cpu_time;
use footprint_service::config::Config;
use footprint_service::metrics::audit::AuditMeters;
use footprint_service::postgres::pool::Sessions;
use footprint_service::postgres::session::Purpose;
use footprint_service::status::{Audited, Status};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tracing::info;

use self::prover::SCAN;
use self::route::{RouteAudit, Turn};

/// How long it rests if no route has anything to prove.
const IDLE: Duration = Duration::from_secs(1);

/// A route to audit.
pub struct Watched {
    /// The route.
    pub route: Arc<Route>,
    /// What its pipeline publishes.
    pub status: watch::Receiver<Status>,
    /// What the audit publishes.
    pub audited: watch::Sender<Vec<Audited>>,
}

/// The audit's thread. It ends soon after this is dropped.
pub struct Auditing {
    _stop: oneshot::Sender<Infallible>,
}

/// Starts the audit of all routes, unless it is switched off.
///
/// # Errors
/// The thread cannot be started.
pub fn start(config: &Config, routes: Vec<Watched>) -> std::io::Result<Option<Auditing>> {
    if config.audit.cpu_percent == 0 {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = config.clone();
    let (stop, stopped) = oneshot::channel();
    let auditing = move || {
        runtime.block_on(async {
            // the channel ends without a word
            tokio::select! {
                _ = stopped => {}
                () = audit(&config, routes) => {}
            }
        });
    };
    thread::Builder::new().name("audit".into()).spawn(auditing)?;
    Ok(Some(Auditing { _stop: stop }))
}

async fn audit(config: &Config, routes: Vec<Watched>) {
    let mut postgres = config.postgres.clone();
    postgres.pool_connections_max = 1;
    let sessions = Sessions::new(&postgres, "footprint audit", Purpose::Audit(SCAN));
    let percent = config.audit.cpu_percent;
    let mut audits: Vec<RouteAudit> =
        routes.into_iter().map(|watched| RouteAudit::new(watched, rand::random())).collect();
    let meters: Vec<AuditMeters> = audits.iter().map(|audit| AuditMeters::new(&audit.route.name)).collect();
    let mut worked = vec![Duration::ZERO; audits.len()];
    info!(cpu_percent = percent, "the audit begins");
    loop {
        let mut was_idle = true;
        for ((audit, meters), worked) in audits.iter_mut().zip(&meters).zip(&mut worked) {
            let (began, cpu_before) = (Instant::now(), thread_cpu_time());
            let turn = audit.turn(config, &sessions, meters).await;
            if turn == Turn::Idle {
                continue;
            }
            let (elapsed, cpu) = (began.elapsed(), thread_cpu_time().saturating_sub(cpu_before));
            *worked += elapsed;
            meters.worked(*worked);
            was_idle = false;
            sleep(pace::pause(elapsed, cpu, percent)).await;
        }
        if was_idle {
            sleep(IDLE).await;
        }
    }
}
