//! PostgreSQL: its connections, pinned and checked, and the meaning of its errors. All code that sends SQL to it takes its client
//! from here.

pub mod asked;
pub mod error;
pub mod pool;
pub mod session;
mod socket;

use std::time::Duration;

use footprint_event::route::Route;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

pub use self::error::{PostgresError, is_passing_connect};
use self::error::{connect_remedy, may_connect_later};
use self::socket::{Connected, ReachError, reach};
use crate::address::{Unreached, authority};
use crate::config::Postgres;
use crate::report::Remedy;
use crate::tls::FileError;
use crate::traffic::Traffic;
use asked::Unfit;
use session::{Purpose, SessionError};

/// How long connecting may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// PostgreSQL starts, ends or is full, or the connection broke: it may be different the next time.
    #[error("postgresql at {address}")]
    Away {
        /// `host:port/database`.
        address: String,
        /// Why, and what to do.
        source: Remedy,
    },
    /// PostgreSQL refuses us, and would refuse us again.
    #[error("postgresql at {address}")]
    Refused {
        /// `host:port/database`.
        address: String,
        /// Why, and what to do.
        source: Remedy,
    },
    /// Nothing listens at the address.
    #[error("postgresql at {address}: error connecting to server")]
    Unreachable {
        /// `host:port/database`.
        address: String,
        /// The system's error, and what to do.
        source: Remedy,
    },
    /// The host's name has no address.
    #[error("postgresql at {address}")]
    Unknown {
        /// `host:port/database`.
        address: String,
        /// The system's error, and what to do.
        source: Remedy,
    },
    /// No answer in time.
    #[error("postgresql at {address} did not answer in {CONNECT_TIMEOUT:?}")]
    TimedOut {
        /// `host:port/database`.
        address: String,
        /// What to do.
        source: Remedy,
    },
    /// A file of certificates cannot be used.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The session cannot be set up as the program needs it.
    #[error("postgresql at {address}")]
    Session {
        /// `host:port/database`.
        address: String,
        /// Why, and what to do.
        source: SessionError,
    },
    /// The session must not write.
    #[error("postgresql at {address}")]
    Unfit {
        /// `host:port/database`.
        address: String,
        /// Why, and what to do. It is large, and errors are passed by value.
        source: Box<Unfit>,
    },
}

impl ConnectError {
    /// For a server at `address` (`host:port/database`) that does not answer.
    pub fn timed_out(address: String) -> Self {
        Self::TimedOut { address, source: Remedy::only("is it up, is DB_HOST right?") }
    }

    fn of(address: String, error: tokio_postgres::Error) -> Self {
        let may_pass = may_connect_later(&error);
        let source = Remedy::new(connect_remedy(&error), PostgresError::from(error));
        if may_pass { Self::Away { address, source } } else { Self::Refused { address, source } }
    }

    fn unreached(address: String, unreached: Unreached<ReachError>) -> Self {
        match unreached {
            Unreached::Failed(ReachError::Postgres(error)) => Self::of(address, error),
            Unreached::Failed(ReachError::Io(error)) => {
                let source = Remedy::new("is it up, are DB_HOST and DB_PORT right?", error);
                Self::Unreachable { address, source }
            }
            Unreached::Failed(ReachError::Unknown(error)) => {
                Self::Unknown { address, source: Remedy::new("is DB_HOST right?", error) }
            }
            Unreached::Failed(ReachError::Files(error)) => error.into(),
            Unreached::Silent => Self::timed_out(address),
        }
    }
}

/// A separate connection, with all settings pinned that the program depends on. The task that serves it ends with the client. If
/// the host has several addresses, each has its share of the time.
///
/// # Errors
/// PostgreSQL refuses, cannot be reached, does not answer in time, or is not fit for the program.
pub async fn connect(postgres: &Postgres, application_name: &str, purpose: Purpose) -> Result<Client, ConnectError> {
    connect_counted(postgres, application_name, purpose, &Traffic::default()).await
}

async fn connect_counted(
    postgres: &Postgres,
    application_name: &str,
    purpose: Purpose,
    traffic: &Traffic,
) -> Result<Client, ConnectError> {
    Ok(connect_with_task(postgres, application_name, purpose, traffic).await?.0)
}

/// A client, and the task that serves its connection.
async fn connect_with_task(
    postgres: &Postgres,
    application_name: &str,
    purpose: Purpose,
    traffic: &Traffic,
) -> Result<(Client, JoinHandle<()>), ConnectError> {
    let address = address(postgres);
    let reached = reach(postgres, application_name, traffic).await;
    let reached = reached.map_err(|unreached| ConnectError::unreached(address.clone(), unreached))?;
    let Connected { client, server, task } = reached;
    match tokio::time::timeout(CONNECT_TIMEOUT, session::pin(&client, &server, postgres, purpose)).await {
        Ok(Ok(())) => Ok((client, task)),
        Ok(Err(SessionError::Postgres(error))) => Err(ConnectError::of(address, error)),
        Ok(Err(source)) => Err(ConnectError::Session { address, source }),
        Err(_) => Err(ConnectError::timed_out(address)),
    }
}

/// The same, to write `tables`, and `route`'s table if one is given. Asks whether they may be written.
///
/// # Errors
/// Those of [`connect`], and those of `asked::may_write`.
pub async fn connect_to_write(
    postgres: &Postgres,
    application_name: &str,
    purpose: Purpose,
    tables: &[&str],
    route: Option<&Route>,
) -> Result<Client, ConnectError> {
    let client = connect(postgres, application_name, purpose).await?;
    ask_to_write(client, postgres, tables, route).await
}

/// A writer's connection, like [`connect_to_write`]. Its bytes are counted in `traffic`.
///
/// # Errors
/// Those of [`connect_to_write`].
pub async fn connect_writer(
    postgres: &Postgres,
    application_name: &str,
    tables: &[&str],
    route: Option<&Route>,
    traffic: &Traffic,
) -> Result<Client, ConnectError> {
    let client = connect_counted(postgres, application_name, Purpose::Writer, traffic).await?;
    ask_to_write(client, postgres, tables, route).await
}

async fn ask_to_write(
    client: Client,
    postgres: &Postgres,
    tables: &[&str],
    route: Option<&Route>,
) -> Result<Client, ConnectError> {
    let address = || address(postgres);
    match tokio::time::timeout(CONNECT_TIMEOUT, asked::may_write(&client, tables, route)).await {
        Ok(Ok(())) => Ok(client),
        Ok(Err(Unfit::Postgres(error))) => Err(ConnectError::of(address(), error)),
        Ok(Err(unfit)) => Err(ConnectError::Unfit { address: address(), source: Box::new(unfit) }),
        Err(_) => Err(ConnectError::timed_out(address())),
    }
}

fn address(postgres: &Postgres) -> String {
    format!("{}/{}", authority(&postgres.host, postgres.port), postgres.database)
}

/// The number of the server process that serves a connection.
///
/// # Errors
/// No answer.
pub async fn backend(client: &Client, postgres: &Postgres) -> Result<i32, ConnectError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, client.query_one("select pg_backend_pid()", &[])).await {
        Ok(Ok(row)) => Ok(row.get(0)),
        Ok(Err(error)) => Err(ConnectError::of(address(postgres), error)),
        Err(_) => Err(ConnectError::timed_out(address(postgres))),
    }
}
