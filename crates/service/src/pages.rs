//! The pages for people and machines while `run` works: /metrics, /livez, /readyz and /status. They are served by a thread of their
//! own, so a saturated pipeline does not delay them, and they read only what is in memory.

mod ask;
mod shape;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::config::Telemetry;
use crate::health::{Component, Condition, Health};
use crate::metrics::audit::audit_series;
use crate::metrics::{self, series};
use crate::report::Remedy;
use crate::status::{Audited, Status};

pub use self::ask::{AskPageError, ready_at, text_at};
use self::shape::{BrokerPage, BudgetPage, LanePage, PartitionPage, StatusPage, StatusRoute};
pub use self::shape::{ConditionPage, ReadyPage, ReadyRoute};

/// Connections served at once.
const CONNECTIONS_MAX: usize = 32;
/// How long one connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to send a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often old samples of the histograms are folded.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why the pages cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// The port is taken, or the address is not valid.
    #[error("telemetry.listen {0}")]
    Listen(String, #[source] Remedy),
    /// The thread could not be started.
    #[error("no thread for the pages")]
    Thread(#[source] std::io::Error),
}

/// What the pages show of one route.
#[derive(Clone)]
pub struct RouteView {
    /// What its pipeline publishes.
    pub status: watch::Receiver<Status>,
    /// Its health.
    pub health: Arc<Health>,
    /// What the audit publishes.
    pub audited: watch::Receiver<Vec<Audited>>,
}

/// What the pages show of the process.
pub struct ProcessView {
    /// The settings in force, each with its origin, without secrets.
    pub configuration: serde_json::Value,
    /// librdkafka's version.
    pub kafka_client: String,
    /// The size of the byte budget.
    pub budget_bytes_max: usize,
    /// The bytes of the budget that each holder has now.
    pub budget_held: Box<dyn Fn() -> Vec<(&'static str, usize)> + Send + Sync>,
    /// The memory by the allocator's own count, by kind.
    pub allocated: Box<dyn Fn() -> Vec<(&'static str, usize)> + Send + Sync>,
}

/// The thread that serves the pages. It ends when this is dropped.
pub struct Serving {
    _stop: oneshot::Sender<Infallible>,
}

/// If an address is configured, serves the pages.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    telemetry: &Telemetry,
    recorder: PrometheusHandle,
    routes: Vec<RouteView>,
    process: ProcessView,
) -> Result<Option<Serving>, PagesError> {
    if telemetry.listen.is_empty() {
        return Ok(None);
    }
    let broken = |error| {
        let remedy = "choose another port, 0 for a free one, or an empty text for none";
        PagesError::Listen(telemetry.listen.clone(), Remedy::new(remedy, error))
    };
    let listener = TcpListener::bind(&telemetry.listen).await.map_err(broken)?;
    let address = listener.local_addr().map_err(broken)?;
    let listener = listener.into_std().map_err(broken)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PagesError::Thread)?;
    metrics::build(env!("CARGO_PKG_VERSION"), process.kafka_client.clone());
    let (began, began_at, process) = (Instant::now(), SystemTime::now(), Arc::new(process));
    let pages = Pages { recorder, routes: routes.into(), process, began, began_at };
    let (stop, stopped) = oneshot::channel();
    let serving = move || {
        runtime.block_on(async move {
            // the channel ends without a word
            tokio::select! {
                _ = stopped => {}
                () = accept(listener, &pages, address) => {}
            }
        });
    };
    thread::Builder::new().name("pages".into()).spawn(serving).map_err(PagesError::Thread)?;
    info!("metrics at http://{address}/metrics");
    Ok(Some(Serving { _stop: stop }))
}

async fn accept(listener: std::net::TcpListener, pages: &Pages, address: SocketAddr) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return debug!("{address}: {error}"),
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        let stream = tokio::select! {
            _ = upkeep.tick() => {
                pages.recorder.run_upkeep();
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!("{address}: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let pages = pages.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&pages, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let _ = timeout(CONNECTION_TIMEOUT, serving).await;
            drop(place);
        });
    }
}

/// What the pages show.
#[derive(Clone)]
struct Pages {
    recorder: PrometheusHandle,
    routes: Arc<[RouteView]>,
    process: Arc<ProcessView>,
    began: Instant,
    began_at: SystemTime,
}

impl Pages {
    /// The time of `instant`, RFC 3339 to the millisecond. It is counted from the start of the program, so a clock that is set
    /// meanwhile does not move it.
    fn time(&self, instant: Instant) -> String {
        let at = self.began_at + instant.saturating_duration_since(self.began);
        DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    fn condition(&self, condition: Condition) -> ConditionPage {
        ConditionPage {
            component: condition.component.as_str().to_owned(),
            state: condition.state.as_str().to_owned(),
            since: condition.since.map(|since| self.time(since)),
            why: condition.why,
            what_to_do: condition.what_to_do,
        }
    }

    fn ready_route(&self, view: &RouteView, now: Instant) -> ReadyRoute {
        let health = &view.health;
        ReadyRoute {
            route: health.route.clone(),
            ready: health.is_ready(now),
            joined: health.is_joined(),
            draining: health.is_draining(),
            ended: health.is_ended(),
            partitions: view.status.borrow().owned,
            components: health.conditions(now).into_iter().map(|condition| self.condition(condition)).collect(),
        }
    }

    /// Ready means that every route can store records.
    fn ready(&self, now: Instant) -> ReadyPage {
        let routes: Vec<ReadyRoute> = self.routes.iter().map(|view| self.ready_route(view, now)).collect();
        ReadyPage { ready: routes.iter().all(|route| route.ready), routes }
    }

    fn status(&self, now: Instant) -> StatusPage {
        let read_at = series::Now { instant: now, time: SystemTime::now() };
        let routes: Vec<StatusRoute> = self
            .routes
            .iter()
            .map(|view| {
                let status = view.status.borrow().clone();
                let [(_, reader), (_, coordinator)] = view.health.turn_ages(now);
                StatusRoute {
                    ready: self.ready_route(view, now),
                    source: status.source.map(|source| source.0),
                    partitions: status.partitions.iter().map(|view| PartitionPage::of(view, read_at)).collect(),
                    lanes: status.lanes.iter().map(LanePage::from).collect(),
                    brokers: status.brokers.iter().map(BrokerPage::from).collect(),
                    records: status.moved.records,
                    reader_turned_seconds: reader.as_secs_f64(),
                    coordinator_turned_seconds: coordinator.as_secs_f64(),
                    seconds_since_stored: status
                        .moved
                        .last_stored_at
                        .map(|at| now.saturating_duration_since(at).as_secs_f64()),
                }
            })
            .collect();
        StatusPage {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started: self.time(self.began),
            uptime_seconds: now.saturating_duration_since(self.began).as_secs(),
            ready: routes.iter().all(|route| route.ready.ready),
            budget: BudgetPage {
                bytes_max: self.process.budget_bytes_max,
                held: (self.process.budget_held)().into_iter().collect(),
            },
            routes,
            configuration: self.process.configuration.clone(),
        }
    }

    /// Alive means that every route's loops turn. It asks no database.
    fn alive(&self, now: Instant) -> (StatusCode, String) {
        let hanging: Vec<String> = self
            .routes
            .iter()
            .filter(|view| !view.health.is_alive(now))
            .map(|view| {
                let ages = view.health.turn_ages(now);
                let loops = ages.map(|(of, age): (Component, Duration)| format!("{} {} s", of.as_str(), age.as_secs()));
                format!("route {}: last turns: {}\n", view.health.route, loops.join(", "))
            })
            .collect();
        match hanging.is_empty() {
            true => (StatusCode::OK, "alive\n".to_owned()),
            false => (StatusCode::SERVICE_UNAVAILABLE, hanging.concat()),
        }
    }

    fn metrics(&self, now: Instant) -> String {
        for view in self.routes.iter() {
            for condition in view.health.conditions(now) {
                metrics::health(&view.health.route, condition.component, condition.state);
            }
            metrics::joined(&view.health.route, view.health.is_joined());
        }
        metrics::budget(&(self.process.budget_held)(), self.process.budget_bytes_max);
        for (kind, bytes) in (self.process.allocated)() {
            metrics::allocator(kind, bytes);
        }
        let statuses: Vec<Status> = self.routes.iter().map(|view| view.status.borrow().clone()).collect();
        let routes = self.routes.iter().zip(&statuses);
        let routes: Vec<(&str, &Status)> = routes.map(|(view, status)| (view.health.route.as_str(), status)).collect();
        let audited: Vec<Vec<Audited>> = self.routes.iter().map(|view| view.audited.borrow().clone()).collect();
        let of_audit = self.routes.iter().zip(&audited);
        let audited: Vec<(&str, &[Audited])> =
            of_audit.map(|(view, audited)| (view.health.route.as_str(), audited.as_slice())).collect();
        let at = series::Now { instant: now, time: SystemTime::now() };
        self.recorder.render() + &series::of_process() + &series::of(&routes, at) + &audit_series(&audited, now)
    }
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

fn answer(pages: &Pages, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let now = Instant::now();
    let (status, kind, text) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, TEXT, pages.metrics(now)),
        "/livez" => {
            let (status, text) = pages.alive(now);
            (status, TEXT, text)
        }
        "/readyz" => {
            let page = pages.ready(now);
            let status = if page.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, JSON, json(&page))
        }
        "/status" => (StatusCode::OK, JSON, json(&pages.status(now))),
        _ => (StatusCode::NOT_FOUND, TEXT, "try /metrics, /livez, /readyz or /status\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(page: &impl Serialize) -> String {
    // a page of texts and numbers has nothing that JSON cannot say
    serde_json::to_string_pretty(page).map_or_else(|error| format!("{{\"error\": \"{error}\"}}"), |text| text + "\n")
}
