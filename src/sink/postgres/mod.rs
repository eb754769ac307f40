//! PostgreSQL: its connections. Only the files here, the ledger's SQL and the commands that read tables name tokio-postgres.

pub mod copy;
pub mod error;
pub mod migrate;
mod refused;
pub mod rights;
pub mod shape;
mod shares;
pub mod stored;
pub mod writer;

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::error::connect_remedy;
pub use self::error::{describe, is_passing_connect};
use crate::config::{Postgres, Tls};

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
    /// The pool could not be made.
    #[error("postgresql pool: {0}")]
    Pool(String),
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

/// A connection of its own. The task that serves it ends with the client.
///
/// # Errors
/// PostgreSQL refuses, cannot be reached, or does not answer in time.
pub async fn connect(postgres: &Postgres, application_name: &str) -> Result<Client, ConnectError> {
    let address = format!("{}:{}/{}", postgres.host, postgres.port, postgres.database);
    let config = client_config(postgres, application_name);
    let tls = tls(postgres)?;
    let connecting = async {
        match postgres.tls {
            Tls::Off => {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
            Tls::On => {
                let mut config = config;
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                let (client, connection) = config.connect(tls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(cause)) => Err(ConnectError::Postgres { address, cause }),
        Err(_) => Err(ConnectError::TimedOut(address)),
    }
}

/// The pool, for everything but the writers.
///
/// # Errors
/// The certificate authorities cannot be read.
pub fn pool(postgres: &Postgres, application_name: &str) -> Result<Pool, ConnectError> {
    let mut config = client_config(postgres, application_name);
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
    let manager = match postgres.tls {
        Tls::Off => Manager::from_config(config, NoTls, recycling),
        Tls::On => {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            Manager::from_config(config, tls(postgres)?, recycling)
        }
    };
    Pool::builder(manager)
        .max_size(postgres.pool_connections_max)
        .wait_timeout(Some(CONNECT_TIMEOUT))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .recycle_timeout(Some(CONNECT_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| ConnectError::Pool(error.to_string()))
}
