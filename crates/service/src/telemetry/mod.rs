//! The three pages for people and machines while `run` works: /metrics, /livez and /readyz.

mod line;
mod log_file;
pub mod logging;
mod repeats;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::config::Telemetry;
use crate::report::Remedy;
use crate::status::Status;

/// Connections served at once.
const CONNECTIONS_MAX: usize = 32;
/// How long one connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Bounds of the histograms' buckets, seconds.
const SECONDS_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The port is taken, or the address is not valid.
    #[error("telemetry.listen {0}")]
    Listen(String, #[source] Remedy),
    /// A recorder is installed already.
    #[error("metrics")]
    Recorder(#[source] BuildError),
}

/// The state that the pages show.
#[derive(Clone)]
struct Pages {
    metrics: PrometheusHandle,
    statuses: Arc<Vec<watch::Receiver<Status>>>,
}

/// Installs the metrics recorder. If an address is configured, serves the pages.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    telemetry: &Telemetry,
    statuses: Vec<watch::Receiver<Status>>,
) -> Result<Option<JoinHandle<()>>, TelemetryError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)
        .map_err(TelemetryError::Recorder)?;
    let metrics = builder.install_recorder().map_err(TelemetryError::Recorder)?;
    crate::metrics::describe();
    if telemetry.listen.is_empty() {
        return Ok(None);
    }
    let broken = |error| {
        let remedy = "choose another port, 0 for a free one, or an empty text for none";
        TelemetryError::Listen(telemetry.listen.clone(), Remedy::new(remedy, error))
    };
    let listener = TcpListener::bind(&telemetry.listen).await.map_err(broken)?;
    let address = listener.local_addr().map_err(broken)?;
    info!("metrics at http://{address}/metrics");
    let pages = Pages { metrics, statuses: Arc::new(statuses) };
    Ok(Some(tokio::spawn(accept(listener, pages, address))))
}

async fn accept(listener: TcpListener, pages: Pages, address: SocketAddr) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut upkeep = tokio::time::interval(Duration::from_secs(5));
    loop {
        let stream = tokio::select! {
            _ = upkeep.tick() => {
                pages.metrics.run_upkeep();
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
                .header_read_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(stream), service);
            let _ = timeout(CONNECTION_TIMEOUT, serving).await;
            drop(place);
        });
    }
}

fn answer(pages: &Pages, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, pages.metrics.render()),
        "/livez" => (StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => readiness(&pages.statuses),
        _ => (StatusCode::NOT_FOUND, "try /metrics, /livez or /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

/// Ready means that every route's ledger answers, and its consumer has joined the group.
fn readiness(statuses: &[watch::Receiver<Status>]) -> (StatusCode, String) {
    let mut ready = true;
    let mut text = String::new();
    for status in statuses {
        let Status { source, owned, ledger_up, joined, moved: _ } = status.borrow().clone();
        ready &= ledger_up && joined;
        let topic = if source.is_some() { "known" } else { "unknown" };
        text.push_str(&format!("ledger up: {ledger_up}, topic: {topic}, joined: {joined}, partitions: {owned}\n"));
    }
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}
