//! The gate before ClickHouse's connections. It limits how many live at a time. While it is closed, none is made: a request then
//! uses an existing connection, or fails without a byte sent. The HTTP client silently opens a new connection if its old one is
//! dead, or not yet back in its pool. An insert must not use a new one (R3): its proof, and the read-back of a repair, are about
//! the server that runs at that time, and not about one that has crashed and started since.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower_service::Service;

use crate::traffic::Traffic;

/// How long a request waits for an existing connection. The connection returns to the client's pool a moment after the end of an
/// answer was read.
const RETURN_TIMEOUT: Duration = Duration::from_millis(500);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// A proof and a read-back are about a connection that is gone.
    #[error("the connection that the insert had to use is gone; trying again on a new one")]
    Closed,
    /// The previous connection has not ended.
    #[error("the previous connection is neither free nor ended")]
    Busy,
    /// The server cannot be reached.
    #[error("no connection")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Allows new connections to be made, or not.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Counts closings and openings: odd while closed.
    turns: Arc<AtomicU64>,
    /// Connections that may still be made.
    free: Arc<Semaphore>,
    /// Connections made so far.
    made: Arc<AtomicU64>,
    /// Cancelled to end the connections made under it.
    line: Arc<Mutex<CancellationToken>>,
    /// Counts the bytes of all of them.
    traffic: Traffic,
}

/// While it lives, the gate is closed.
#[derive(Debug)]
pub struct Closed(Gate);

impl Gate {
    /// An open gate for `connections_max` connections at a time.
    pub fn new(connections_max: usize) -> Self {
        Self {
            turns: Arc::default(),
            free: Arc::new(Semaphore::new(connections_max)),
            made: Arc::default(),
            line: Arc::default(),
            traffic: Traffic::default(),
        }
    }

    /// Closes the gate. A connection that is just being made is given up too.
    ///
    /// # Panics
    /// If it is closed already: a lane does one thing at a time.
    pub fn close(&self) -> Closed {
        let before = self.turns.fetch_add(1, Ordering::SeqCst);
        assert!(is_open(before), "the gate is closed twice");
        Closed(self.clone())
    }

    /// Ends every connection, even with a request in flight. An answer that nobody waits for would otherwise keep its connection,
    /// its body and the one place in this gate as long as the server is silent.
    pub fn hang_up(&self) {
        std::mem::take(&mut *self.line.lock()).cancel();
    }

    /// How many connections were made so far. If the number has changed, the previous connection is gone.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// Counts the bytes of its connections.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn turns(&self) -> u64 {
        self.turns.load(Ordering::SeqCst)
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.turns.fetch_add(1, Ordering::SeqCst);
    }
}

fn is_open(turns: u64) -> bool {
    turns.is_multiple_of(2)
}

/// Connects if the gate stays open during the whole attempt.
#[derive(Clone)]
pub(crate) struct Gated<C> {
    connector: C,
    gate: Gate,
}

impl<C> Gated<C> {
    /// A connector behind a gate.
    pub(crate) fn new(connector: C, gate: &Gate) -> Self {
        Self { connector, gate: gate.clone() }
    }
}

impl<C> Service<Uri> for Gated<C>
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Response: Send,
    C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    C::Future: Send,
{
    type Response = Held<C::Response>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.connector.poll_ready(cx).map_err(|error| ConnectError::Unreachable(error.into()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let gate = self.gate.clone();
        let turns = gate.turns();
        // the connector that was asked whether it is ready must be the one that connects
        let next = self.connector.clone();
        let mut connector = std::mem::replace(&mut self.connector, next);
        Box::pin(async move {
            if !is_open(turns) {
                sleep(RETURN_TIMEOUT).await;
                return Err(ConnectError::Closed);
            }
            let Ok(Ok(permit)) = timeout(RETURN_TIMEOUT, Arc::clone(&gate.free).acquire_owned()).await else {
                return Err(ConnectError::Busy);
            };
            if gate.turns() != turns {
                return Err(ConnectError::Closed);
            }
            let connecting = connector.call(address);
            let stream = connecting.await.map_err(|error| ConnectError::Unreachable(error.into()))?;
            if gate.turns() != turns {
                return Err(ConnectError::Closed);
            }
            gate.made.fetch_add(1, Ordering::SeqCst);
            let cut = Box::pin(gate.line.lock().clone().cancelled_owned());
            Ok(Held { stream, permit: Some(permit), cut, traffic: gate.traffic.clone() })
        })
    }
}

/// A connection that counts until it is closed. It may be dropped, or only be asked to shut down, which over TLS waits for the
/// peer.
#[derive(Debug)]
pub(crate) struct Held<T> {
    stream: T,
    permit: Option<OwnedSemaphorePermit>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    traffic: Traffic,
}

impl<T> Held<T> {
    fn poll_alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "hung up: nobody waits for the answer"));
        }
        Ok(())
    }
}

impl<T> Held<T> {
    fn written(&self, answer: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &answer {
            self.traffic.add(*count);
        }
        answer
    }
}

impl<T: Connection> Connection for Held<T> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl<T: Read + Unpin> Read for Held<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.poll_alive(cx)?;
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if let Poll::Ready(Ok(())) = &read {
            // the cursor does not say how many bytes; any answer is a sign of life, whatever its length
            self.traffic.add(1);
        }
        read
    }
}

impl<T: Write + Unpin> Write for Held<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_alive(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.permit = None;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_alive(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(written)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Connects when the test says so.
    #[derive(Clone)]
    struct Scripted(Arc<Mutex<Option<oneshot::Receiver<()>>>>);

    impl Service<Uri> for Scripted {
        type Response = &'static str;
        type Error = std::io::Error;
        type Future = BoxFuture<'static, Result<&'static str, std::io::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Uri) -> Self::Future {
            let signal = self.0.lock().take();
            Box::pin(async move {
                signal.expect("connects once").await.map_err(std::io::Error::other)?;
                Ok("connected")
            })
        }
    }

    fn scripted() -> (Gated<Scripted>, Gate, oneshot::Sender<()>) {
        let (tell, signal) = oneshot::channel();
        let gate = Gate::new(1);
        (Gated::new(Scripted(Arc::new(Mutex::new(Some(signal)))), &gate), gate, tell)
    }

    #[tokio::test]
    async fn an_open_gate_lets_connect_also_after_it_was_closed() {
        let (mut connector, gate, tell) = scripted();
        drop(gate.close());
        tell.send(()).unwrap();
        assert_eq!(connector.call(Uri::default()).await.unwrap().stream, "connected");
    }

    #[tokio::test]
    async fn a_closed_gate_refuses_and_asks_nobody() {
        let (mut connector, gate, tell) = scripted();
        let _closed = gate.close();
        assert!(matches!(connector.call(Uri::default()).await, Err(ConnectError::Closed)));
        assert!(!tell.is_closed(), "the connector behind was not called");
    }

    #[tokio::test]
    async fn a_second_connection_waits_for_the_first_to_end() {
        let (mut connector, gate, tell) = scripted();
        let first = Arc::clone(&gate.free).acquire_owned().await.unwrap();
        assert!(matches!(connector.call(Uri::default()).await, Err(ConnectError::Busy)));
        let second = connector.call(Uri::default());
        drop(first);
        tell.send(()).unwrap();
        second.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_is_hung_up_ends_though_its_server_is_silent() {
        // The story: an insert was given up after its deadline. Its request kept waiting in a task of the client. From then on
        // the lane found its one connection neither free nor ended.
        let gate = Gate::new(1);
        let permit = Arc::clone(&gate.free).acquire_owned().await.unwrap();
        let (near, _silent) = tokio::io::duplex(64);
        let cut = Box::pin(gate.line.lock().clone().cancelled_owned());
        let traffic = gate.traffic.clone();
        let mut held = Held { stream: hyper_util::rt::TokioIo::new(near), permit: Some(permit), cut, traffic };
        let mut bytes = [0_u8; 8];
        let mut read = reading(&mut held, &mut bytes);
        assert!(futures::poll!(&mut read).is_pending(), "the server is silent");
        gate.hang_up();
        assert!(read.await.is_err(), "the reader wakes and ends");
        drop(held);
        assert_eq!(gate.free.available_permits(), 1);
    }

    fn reading<'a, T: Read + Unpin>(
        from: &'a mut T,
        bytes: &'a mut [u8],
    ) -> impl Future<Output = io::Result<()>> + Unpin + 'a {
        let mut buffer = hyper::rt::ReadBuf::new(bytes);
        futures::future::poll_fn(move |cx| Pin::new(&mut *from).poll_read(cx, buffer.unfilled()))
    }

    #[tokio::test]
    async fn a_connection_on_its_way_when_the_gate_closes_is_given_up() {
        for reopened in [false, true] {
            let (mut connector, gate, tell) = scripted();
            let mut connecting = connector.call(Uri::default());
            assert!(futures::poll!(&mut connecting).is_pending());
            let closed = gate.close();
            let _kept = (!reopened).then_some(closed);
            let _ = tell.send(());
            assert!(matches!(connecting.await, Err(ConnectError::Closed)));
        }
    }
}
