//! ClickHouse's client. Its connections pass a gate, and its requests carry their settings.

pub mod error;
pub mod gate;
pub mod reach;
pub mod settings;

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use ::clickhouse::Client;
use hyper::Uri;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::address::{authority, is_local};
use crate::config::{ClickHouse, Compression, Tls};
use crate::tls::{self, FileError};
use gate::{Gate, Gated};
use reach::{CONNECT_TIMEOUT, Fixed, Reach};

/// Idle connections are dropped before the server's own keep-alive of 10 s (3 s in old ones) ends them.
const IDLE_TIMEOUT: Duration = Duration::from_millis(2_500);

/// A client with at most one idle connection. It never sends a request twice by itself.
pub fn client(clickhouse: &ClickHouse) -> Client {
    gated_client(clickhouse, &Gate::new(Semaphore::MAX_PERMITS))
}

/// A [`client`] whose connections `gate` must allow.
pub fn gated_client(clickhouse: &ClickHouse, gate: &Gate) -> Client {
    let mut http = HttpClient::builder(TokioExecutor::new());
    http.pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(1)
        .pool_timer(TokioTimer::new())
        // a request is either answered or uncertain; the protocol decides what uncertain means
        .retry_canceled_requests(false);
    let client = match clickhouse.tls {
        Tls::Off => Client::with_http_client(http.build(Gated::new(Reach::new(|at| connector(at, true)), gate))),
        Tls::On => match tls::client_config(clickhouse.tls_files()) {
            Ok(tls) => {
                let reach = Reach::new(move |address| {
                    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls.clone());
                    builder.https_only().enable_http1().wrap_connector(connector(address, false))
                });
                Client::with_http_client(http.build(Gated::new(reach, gate)))
            }
            // without TLS, https is refused and never sent as plain text
            Err(error) => Client::with_http_client(http.build(Gated::new(BrokenConnector(error), gate))),
        },
    };
    let scheme = if clickhouse.tls == Tls::On { "https" } else { "http" };
    client
        .with_url(format!("{scheme}://{}", authority(&clickhouse.host, clickhouse.port)))
        .with_database(&clickhouse.database)
        .with_user(&clickhouse.user)
        .with_password(clickhouse.password.reveal())
        .with_compression(if uses_lz4(clickhouse) {
            ::clickhouse::Compression::Lz4
        } else {
            ::clickhouse::Compression::None
        })
        .with_validation(false)
        .with_product_info("footprint", env!("CARGO_PKG_VERSION"))
}

/// Connects to one address.
fn connector(address: SocketAddr, http_alone: bool) -> HttpConnector<Fixed> {
    let mut connector = HttpConnector::new_with_resolver(Fixed(address));
    connector.set_keepalive(Some(Duration::from_secs(60)));
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.enforce_http(http_alone);
    connector
}

/// Takes the place of a connector if the certificate files cannot be used. (They were read when the program started, so they have
/// changed since.) Every connection fails, and none is plain.
#[derive(Clone)]
struct BrokenConnector(FileError);

impl Service<Uri> for BrokenConnector {
    type Response = TokioIo<TcpStream>;
    type Error = FileError;
    type Future = Ready<Result<Self::Response, FileError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FileError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(Err(self.0.clone()))
    }
}

/// Whether blocks are compressed for the network.
pub fn uses_lz4(clickhouse: &ClickHouse) -> bool {
    match clickhouse.compression {
        Compression::Lz4 => true,
        Compression::Off => false,
        Compression::Auto => !is_local(&clickhouse.host),
    }
}
