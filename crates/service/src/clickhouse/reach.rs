//! Connects to ClickHouse by a name that may have several addresses, and takes the first that answers. Otherwise an address that
//! accepts the connection and then stays silent would be chosen by every attempt, each time for the whole timeout of a request.
//! So if there is a choice, `/ping` is asked first, on a separate connection. It is also asked first over TLS: a server that does not
//! accept the client's certificate says so only after the handshake, and the HTTP client would lose that reason if the connection
//! ended before it took the request.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, poll_fn, ready};
use std::iter::{Once, once};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::TryFutureExt as _;
use futures::future::{BoxFuture, Either, select};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::rt::{Read, Write};
use hyper::{Request, Uri};
use hyper_util::client::legacy::connect::dns::Name;
use parking_lot::Mutex;
use tower_service::Service;

use crate::address::{Failure, Unreached, resolve, try_each};
use crate::report::Remedy;

/// How long connecting may take, for all addresses together.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Problem = Box<dyn Error + Send + Sync>;

/// The host's name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name {host} has no address")]
struct NoAddress {
    host: String,
    source: Remedy,
}

/// A name that has one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed(pub SocketAddr);

impl Service<Name> for Fixed {
    type Response = Once<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(once(self.0)))
    }
}

/// Connects to the first address of a name that answers.
#[derive(Clone)]
pub(crate) struct Reach<C> {
    make: Arc<dyn Fn(SocketAddr) -> C + Send + Sync>,
    /// The address that answered last. It is tried first.
    last: Arc<Mutex<Option<SocketAddr>>>,
}

impl<C> Reach<C>
where
    C: Service<Uri> + Send,
    C::Response: Read + Write + Unpin + Send + 'static,
    C::Error: Into<Problem>,
    C::Future: Send,
{
    /// `make` returns a connector to one address.
    pub(crate) fn new(make: impl Fn(SocketAddr) -> C + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), last: Arc::default() }
    }

    /// Connects to the first of `addresses` that answers.
    async fn connect(
        &self,
        mut addresses: Vec<SocketAddr>,
        uri: &Uri,
        total: Duration,
    ) -> Result<C::Response, Problem> {
        if let Some(last) = *self.last.lock() {
            // stable: the others keep the system's order
            addresses.sort_by_key(|address| *address != last);
        }
        let asks_first = addresses.len() > 1 || uri.scheme_str() == Some("https");
        let reached = try_each(&addresses, total, |address| {
            let (make, uri) = (Arc::clone(&self.make), uri.clone());
            async move {
                if asks_first {
                    let stream = call(make(address), uri.clone()).await?;
                    answers(stream, &uri).await?;
                }
                Ok((address, call(make(address), uri).await?))
            }
            .map_err(Failure::Here)
        });
        match reached.await {
            Ok((address, stream)) => {
                *self.last.lock() = Some(address);
                Ok(stream)
            }
            Err(Unreached::Failed(error)) => Err(error),
            Err(Unreached::Silent) => Err(format!("no answer in {total:?} from {addresses:?}").into()),
        }
    }
}

async fn call<C>(mut connector: C, uri: Uri) -> Result<C::Response, Problem>
where
    C: Service<Uri>,
    C::Error: Into<Problem>,
{
    poll_fn(|cx| connector.poll_ready(cx)).await.map_err(Into::into)?;
    connector.call(uri).await.map_err(Into::into)
}

/// Whether a server speaks HTTP there. Any answer counts.
async fn answers(stream: impl Read + Write + Unpin + Send + 'static, uri: &Uri) -> Result<(), Problem> {
    let (mut sender, connection) = http1::handshake(stream).await?;
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get("/ping").header(HOST, host).body(Empty::<Bytes>::new())?;
    let (asking, driving) = (pin!(sender.send_request(request)), pin!(connection));
    let answer = match select(asking, driving).await {
        Either::Left((answer, _)) => answer,
        // it has closed the connection, with or without an answer; only the connection knows why
        Either::Right((driven, asking)) => asking.await.map_err(|error| driven.err().unwrap_or(error)),
    };
    match answer {
        Ok(_) => Ok(()),
        // an answer in another protocol (the native port's) counts too: the request itself says what is wrong
        Err(error) if error.is_parse() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl<C> Service<Uri> for Reach<C>
where
    C: Service<Uri> + Send + 'static,
    C::Response: Read + Write + Unpin + Send + 'static,
    C::Error: Into<Problem>,
    C::Future: Send,
{
    type Response = C::Response;
    type Error = Problem;
    type Future = BoxFuture<'static, Result<C::Response, Problem>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let reach = Self { make: Arc::clone(&self.make), last: Arc::clone(&self.last) };
        Box::pin(async move {
            let host = uri.host().ok_or("the address names no host")?;
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            let unknown = |error| {
                let source = Remedy::new("is CH_HOST right?", error);
                NoAddress { host: host.to_owned(), source }
            };
            let addresses = resolve(host, port).await.map_err(unknown)?;
            reach.connect(addresses, &uri, CONNECT_TIMEOUT).await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use hyper_util::client::legacy::connect::HttpConnector;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::report::printed_once;

    /// A cause that the HTTP client wraps is still found, with what to do about it.
    #[test]
    fn a_name_without_an_address_is_printed_with_what_to_do() {
        let io = std::io::Error::from(std::io::ErrorKind::NotFound);
        let unknown = NoAddress { host: "db".into(), source: Remedy::new("is CH_HOST right?", io) };
        let wrapped = super::super::gate::ConnectError::Unreachable(unknown.into());
        let printed = "no connection: the name db has no address: entity not found; is CH_HOST right?";
        assert_eq!(printed_once(&wrapped), printed);
    }

    /// A server that answers every request, and one that accepts connections and stays silent.
    async fn servers() -> (SocketAddr, SocketAddr, TcpListener) {
        let talking = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = (talking.local_addr().unwrap(), silent.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = talking.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 1024];
                    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nOk.").await.unwrap();
                    }
                });
            }
        });
        (addresses.0, addresses.1, silent)
    }

    /// The story: the first address of a name accepted the connection and stayed silent, and the second was never asked.
    #[tokio::test]
    async fn the_address_that_answers_is_found_behind_one_that_is_silent_and_remembered() {
        let (talking, silent, _kept) = servers().await;
        let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let reach = Reach::new(|address: SocketAddr| {
            // the port belongs to the address; nobody listens on the port of the name
            let mut connector = HttpConnector::new_with_resolver(Fixed(address));
            connector.enforce_http(false);
            connector
        });
        let uri: Uri = "http://name".parse().unwrap();
        let total = Duration::from_secs(3);
        for expected in [Duration::from_secs(1), Duration::ZERO] {
            let began = Instant::now();
            let stream = reach.connect(vec![silent, nobody, talking], &uri, total).await.unwrap();
            assert_eq!(stream.inner().peer_addr().unwrap(), talking);
            assert!(began.elapsed() >= expected && began.elapsed() < expected + Duration::from_secs(1));
        }
        let reach = Reach::new(|address: SocketAddr| HttpConnector::new_with_resolver(Fixed(address)));
        let error = reach.connect(vec![silent, silent], &uri, Duration::from_millis(200)).await.unwrap_err();
        assert!(error.to_string().contains("no answer in 200ms"), "{error}");
        // with one address nothing is asked: the request itself has a deadline
        assert!(reach.connect(vec![silent], &uri, total).await.is_ok());
    }
}
