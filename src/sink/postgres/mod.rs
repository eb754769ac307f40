//! PostgreSQL: its connections. Only the files here, the ledger's SQL and the commands that read tables name tokio-postgres.

pub mod asked;
pub mod copy;
pub mod error;
pub mod migrate;
mod refused;
pub mod rights;
pub mod session;
pub mod shape;
mod shares;
pub mod stored;
pub mod writer;

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::{Client, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::error::connect_remedy;
pub use self::error::{describe, is_passing_connect};
use crate::config::{Postgres, Tls};
use crate::route::Route;
use asked::Unfit;
use session::{Purpose, Server, SessionError};

/// How long connecting may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// PostgreSQL refused or could not be reached.
    #[error("postgresql at {address}: {}; {}", describe(.cause), connect_remedy(.cause))]
    Postgres {
        /// `host:port/database`.
        address: String,
        /// The cause; its own text says less than [`describe`], so it is no `source`.
        cause: tokio_postgres::Error,
    },
    /// No answer in time.
    #[error("postgresql at {0} did not answer in {CONNECT_TIMEOUT:?}; is it up, is DB_HOST right?")]
    TimedOut(String),
    /// The certificate authorities cannot be read.
    #[error("postgres.ca_file: {0}")]
    Authorities(String),
    /// The session cannot be made the program's own.
    #[error("postgresql at {address}: {source}")]
    Session {
        /// `host:port/database`.
        address: String,
        /// Why, and what to do.
        source: SessionError,
    },
    /// The session must not write.
    #[error("postgresql at {address}: {source}")]
    Unfit {
        /// `host:port/database`.
        address: String,
        /// Why, and what to do.
        source: Unfit,
    },
}

fn client_config(postgres: &Postgres, application_name: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(&postgres.host)
        .port(postgres.port)
        .dbname(&postgres.database)
        .user(&postgres.user)
        .application_name(application_name)
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives_idle(Duration::from_secs(15))
        .tcp_user_timeout(Duration::from_secs(30));
    if !postgres.password.reveal().is_empty() {
        config.password(postgres.password.reveal());
    }
    config
}

fn tls(postgres: &Postgres) -> Result<MakeRustlsConnect, ConnectError> {
    let mut roots = rustls::RootCertStore::empty();
    if postgres.ca_file.as_os_str().is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    } else {
        let broken = |error: &dyn std::fmt::Display| {
            ConnectError::Authorities(format!("{}: {error}", postgres.ca_file.display()))
        };
        for certificate in CertificateDer::pem_file_iter(&postgres.ca_file).map_err(|e| broken(&e))? {
            roots.add(certificate.map_err(|e| broken(&e))?).map_err(|e| broken(&e))?;
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Authorities(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// A connection of its own, with everything pinned that the program depends on. The task that serves it ends with the client.
///
/// # Errors
/// PostgreSQL refuses, cannot be reached, does not answer in time, or is not fit for the program.
pub async fn connect(postgres: &Postgres, application_name: &str, purpose: Purpose) -> Result<Client, ConnectError> {
    let address = address(postgres);
    let mut config = client_config(postgres, application_name);
    let connecting = async {
        let failed = |cause| ConnectError::Postgres { address: address.clone(), cause };
        let (client, server) = match postgres.tls {
            Tls::Off => serve(config.connect(NoTls).await.map_err(failed)?),
            Tls::On => {
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                serve(config.connect(tls(postgres)?).await.map_err(failed)?)
            }
        };
        match session::pin(&client, &server, postgres, purpose).await {
            Ok(()) => Ok(client),
            Err(SessionError::Postgres(cause)) => Err(failed(cause)),
            Err(source) => Err(ConnectError::Session { address: address.clone(), source }),
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(ConnectError::TimedOut(address)),
    }
}

/// The same, to write `tables`, and `route`'s where one is given: asks whether that may be done.
///
/// # Errors
/// As [`connect`], and what [`asked::may_write`] found.
pub async fn connect_to_write(
    postgres: &Postgres,
    application_name: &str,
    purpose: Purpose,
    tables: &[&str],
    route: Option<&Route>,
) -> Result<Client, ConnectError> {
    let client = connect(postgres, application_name, purpose).await?;
    let address = || address(postgres);
    match tokio::time::timeout(CONNECT_TIMEOUT, asked::may_write(&client, tables, route)).await {
        Ok(Ok(())) => Ok(client),
        Ok(Err(Unfit::Postgres(cause))) => Err(ConnectError::Postgres { address: address(), cause }),
        Ok(Err(source)) => Err(ConnectError::Unfit { address: address(), source }),
        Err(_) => Err(ConnectError::TimedOut(address())),
    }
}

fn address(postgres: &Postgres) -> String {
    format!("{}:{}/{}", postgres.host, postgres.port, postgres.database)
}

/// Starts the task that serves a connection.
fn serve<S>((client, connection): (Client, Connection<Socket, S>)) -> (Client, Server)
where
    S: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let server = Server::of(connection.parameter("server_version"), connection.parameter("server_encoding"));
    tokio::spawn(connection);
    (client, server)
}
