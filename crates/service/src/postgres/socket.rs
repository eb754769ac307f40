//! How a PostgreSQL server is reached: the addresses of its name, TCP or a socket in a folder, TLS, and the count of the bytes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::TryFutureExt as _;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::CONNECT_TIMEOUT;
use super::session::Server;
use crate::address::{Failure, Unreached, bare, resolve, try_each};
use crate::config::{Postgres, Tls};
use crate::tls::{self, FileError};
use crate::traffic::{Counted, Traffic};

/// How long a connection is idle before the system checks whether the other end is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// How long the other end's system may leave bytes unacknowledged.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Why no server was reached.
#[derive(Debug)]
pub(super) enum ReachError {
    /// The server refused.
    Postgres(tokio_postgres::Error),
    /// Nothing listens there.
    Io(io::Error),
    /// The host's name has no address.
    Unknown(io::Error),
    /// A file of certificates cannot be used.
    Files(FileError),
}

/// A connection.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) server: Server,
    /// Serves the connection, and ends with the client.
    pub(super) task: JoinHandle<()>,
}

/// How to make a connection.
struct Endpoint {
    config: Config,
    /// The name that the certificate must have.
    host: String,
    port: u16,
    tls: Option<MakeRustlsConnect>,
    traffic: Traffic,
}

/// Connects to the first address of the host whose server answers.
pub(super) async fn reach(
    postgres: &Postgres,
    application_name: &str,
    traffic: &Traffic,
) -> Result<Connected, Unreached<ReachError>> {
    let failed = Unreached::Failed;
    let tls = match postgres.tls {
        Tls::Off => None,
        Tls::On => {
            let config = tls::client_config(postgres.tls_files()).map_err(|error| failed(ReachError::Files(error)))?;
            Some(MakeRustlsConnect::new(config))
        }
    };
    let config = client_config(postgres, application_name, tls.is_some());
    let (host, port) = (bare(&postgres.host).to_owned(), postgres.port);
    let endpoint = Endpoint { config, host, port, tls, traffic: traffic.clone() };
    if postgres.host.starts_with('/') {
        // a folder with the server's socket
        return match timeout(CONNECT_TIMEOUT, endpoint.by_folder()).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(Unreached::Silent),
        };
    }
    let addresses = resolve(&postgres.host, port).await.map_err(|error| failed(ReachError::Unknown(error)))?;
    endpoint.to_first_of(&addresses).await
}

fn client_config(postgres: &Postgres, application_name: &str, tls: bool) -> Config {
    let mut config = Config::new();
    config.dbname(&postgres.database).user(&postgres.user).application_name(application_name).ssl_mode(if tls {
        SslMode::Require
    } else {
        SslMode::Disable
    });
    if !postgres.password.reveal().is_empty() {
        config.password(postgres.password.reveal());
    }
    config
}

impl Endpoint {
    async fn to_first_of(&self, addresses: &[SocketAddr]) -> Result<Connected, Unreached<ReachError>> {
        let attempt = |address| {
            self.to(address).map_err(|error| match error {
                // a server that starts up or shuts down says so; any other refusal holds for every address of the name
                ReachError::Postgres(error) if error.code().is_some_and(|code| !code.code().starts_with("57P")) => {
                    Failure::Everywhere(ReachError::Postgres(error))
                }
                error => Failure::Here(error),
            })
        };
        try_each(addresses, CONNECT_TIMEOUT, attempt).await
    }

    async fn to(&self, address: SocketAddr) -> Result<Connected, ReachError> {
        let stream = TcpStream::connect(address).await.map_err(ReachError::Io)?;
        stream.set_nodelay(true).map_err(ReachError::Io)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE)).map_err(ReachError::Io)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)).map_err(ReachError::Io)?;
        self.over(stream).await
    }

    async fn by_folder(&self) -> Result<Connected, ReachError> {
        let path = format!("{}/.s.PGSQL.{}", self.host, self.port);
        self.over(UnixStream::connect(path).await.map_err(ReachError::Io)?).await
    }

    async fn over<S>(&self, stream: S) -> Result<Connected, ReachError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Counted::new(stream, &self.traffic);
        match &self.tls {
            None => Ok(serve(self.config.connect_raw(stream, NoTls).await.map_err(ReachError::Postgres)?)),
            Some(tls) => {
                let mut tls = tls.clone();
                let Ok(tls) = MakeTlsConnect::<Counted<S>>::make_tls_connect(&mut tls, &self.host);
                Ok(serve(self.config.connect_raw(stream, tls).await.map_err(ReachError::Postgres)?))
            }
        }
    }
}

/// Starts the task that serves a connection.
fn serve<S, T>((client, connection): (Client, Connection<S, T>)) -> Connected
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsStream + Unpin + Send + 'static,
{
    let server = Server::of(connection.parameter("server_version"), connection.parameter("server_encoding"));
    let task = tokio::spawn(async move {
        // every waiting statement already receives the error that ended the connection
        let _ = connection.await;
    });
    Connected { client, server, task }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The story: the first address of a name accepted the connection and stayed silent for the whole timeout.
    #[tokio::test]
    async fn an_address_behind_a_silent_one_is_tried_in_its_share_of_the_time() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        // the port belongs to the name: the second address is another one of this machine
        let talking = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let addresses = [silent.local_addr().unwrap(), talking.local_addr().unwrap()];
        let mut config = Config::new();
        config.user("a");
        let endpoint = Endpoint { config, host: "name".into(), port, tls: None, traffic: Traffic::default() };
        let began = std::time::Instant::now();
        let connecting = endpoint.to_first_of(&addresses);
        tokio::select! {
            accepted = talking.accept() => assert!(accepted.is_ok()),
            connected = connecting => panic!("nobody answers: {:?}", connected.map(|_| ())),
        }
        assert!(began.elapsed() >= CONNECT_TIMEOUT / 2 && began.elapsed() < CONNECT_TIMEOUT);
    }
}
