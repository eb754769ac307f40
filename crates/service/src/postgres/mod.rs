//! PostgreSQL: its connections, pinned and asked, and what its errors mean. Whoever speaks SQL to it takes its client from here.

pub mod asked;
pub mod error;
pub mod session;

use std::net::SocketAddr;
use std::time::Duration;

use footprint_event::route::Route;
use futures::TryFutureExt as _;
use tokio_postgres::{Client, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::error::connect_remedy;
pub use self::error::{describe, is_passing_connect};
use crate::address::{Failure, Unreached, authority, bare, resolve, try_each};
use crate::config::{Postgres, Tls};
use crate::tls::{self, FileError};
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
    /// The host's name has no address.
    #[error("postgresql at {address}: {why}; is DB_HOST right?")]
    Unknown {
        /// `host:port/database`.
        address: String,
        /// The system's words.
        why: String,
    },
    /// No answer in time.
    #[error("postgresql at {0} did not answer in {CONNECT_TIMEOUT:?}; is it up, is DB_HOST right?")]
    TimedOut(String),
    /// A file of certificates is of no use.
    #[error(transparent)]
    Files(#[from] FileError),
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
        .host(bare(&postgres.host))
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
    Ok(MakeRustlsConnect::new(tls::client_config(postgres.tls_files())?))
}

/// A connection of its own, with everything pinned that the program depends on. The task that serves it ends with the client.
/// Of several addresses of the host each has its share of the time.
///
/// # Errors
/// PostgreSQL refuses, cannot be reached, does not answer in time, or is not fit for the program.
pub async fn connect(postgres: &Postgres, application_name: &str, purpose: Purpose) -> Result<Client, ConnectError> {
    let address = address(postgres);
    let failed = |cause| ConnectError::Postgres { address: address.clone(), cause };
    let (client, server) = reach(postgres, application_name).await.map_err(|unreached| match unreached {
        Unreached::Failed(ReachError::Postgres(cause)) => failed(cause),
        Unreached::Failed(ReachError::Other(error)) => error,
        Unreached::Silent => ConnectError::TimedOut(address.clone()),
    })?;
    match tokio::time::timeout(CONNECT_TIMEOUT, session::pin(&client, &server, postgres, purpose)).await {
        Ok(Ok(())) => Ok(client),
        Ok(Err(SessionError::Postgres(cause))) => Err(failed(cause)),
        Ok(Err(source)) => Err(ConnectError::Session { address, source }),
        Err(_) => Err(ConnectError::TimedOut(address)),
    }
}

/// Why no server was reached.
enum ReachError {
    Postgres(tokio_postgres::Error),
    Other(ConnectError),
}

async fn reach(postgres: &Postgres, application_name: &str) -> Result<(Client, Server), Unreached<ReachError>> {
    let other = |error| Unreached::Failed(ReachError::Other(error));
    let config = client_config(postgres, application_name);
    let tls = match postgres.tls {
        Tls::Off => None,
        Tls::On => Some(tls(postgres).map_err(other)?),
    };
    let reached = if postgres.host.starts_with('/') {
        // a folder with the server's socket
        match tokio::time::timeout(CONNECT_TIMEOUT, connect_at(config, tls)).await {
            Ok(connected) => connected.map_err(Unreached::Failed),
            Err(_) => Err(Unreached::Silent),
        }
    } else {
        let unknown =
            |error: std::io::Error| ConnectError::Unknown { address: address(postgres), why: error.to_string() };
        let addresses = resolve(&postgres.host, postgres.port).await.map_err(|error| other(unknown(error)))?;
        connect_to(&addresses, &config, tls.as_ref()).await
    };
    reached.map_err(|unreached| match unreached {
        Unreached::Failed(cause) => Unreached::Failed(ReachError::Postgres(cause)),
        Unreached::Silent => Unreached::Silent,
    })
}

/// Connects to the first address whose server answers; the certificate is that of the host's name.
async fn connect_to(
    addresses: &[SocketAddr],
    config: &tokio_postgres::Config,
    tls: Option<&MakeRustlsConnect>,
) -> Result<(Client, Server), Unreached<tokio_postgres::Error>> {
    try_each(addresses, CONNECT_TIMEOUT, |address| {
        let mut config = config.clone();
        config.hostaddr(address.ip());
        connect_at(config, tls.cloned()).map_err(|error| match error.code() {
            // nobody there, or one that starts up or shuts down
            None => Failure::Here(error),
            Some(code) if code.code().starts_with("57P") => Failure::Here(error),
            Some(_) => Failure::Everywhere(error),
        })
    })
    .await
}

async fn connect_at(
    mut config: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
) -> Result<(Client, Server), tokio_postgres::Error> {
    match tls {
        None => Ok(serve(config.connect(NoTls).await?)),
        Some(tls) => {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            Ok(serve(config.connect(tls).await?))
        }
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
    format!("{}/{}", authority(&postgres.host, postgres.port), postgres.database)
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The story: the first address of a name took the connection and stayed silent for the whole timeout.
    #[tokio::test]
    async fn an_address_behind_a_silent_one_is_tried_in_its_share_of_the_time() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        // the port is the name's: the second address is another of this machine's
        let talking = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let addresses = [silent.local_addr().unwrap(), talking.local_addr().unwrap()];
        let mut config = tokio_postgres::Config::new();
        config.host("name").port(port).user("a");
        let began = std::time::Instant::now();
        let connecting = connect_to(&addresses, &config, None);
        tokio::select! {
            accepted = talking.accept() => assert!(accepted.is_ok()),
            connected = connecting => panic!("nobody answers: {:?}", connected.map(|_| ())),
        }
        assert!(began.elapsed() >= CONNECT_TIMEOUT / 2 && began.elapsed() < CONNECT_TIMEOUT);
    }
}
