//! A TCP proxy before a server. It holds bytes up, passes on a client's bytes slowly, falls silent in the middle of a large request, or
//! loses one answer. To lose an answer, it recognizes the request by its bytes and forwards it whole. Then it drops the connection in place
//! of the reply, or withholds the reply until the client gives up.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// The most bytes moved at once. In a slow proxy, the system's buffer for a client's bytes has this size too.
const PIECE_BYTES: usize = 64 << 10;
/// After an answer was lost, the proxy reads from the server for at most this long, because the server's work must not be cut short.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 64;

/// Which answer is lost. The proxy looks for the marks one after the other in what one connection sends. The request that ends with the
/// last mark loses its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The bytes to look for, in this order.
    pub marks: &'static [&'static [u8]],
    /// Whether to withhold the reply until the client closes, instead of closing the connection.
    pub withhold: bool,
}

/// A listening proxy. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

#[derive(Debug)]
struct Shared {
    bytes_per_second: Option<usize>,
    loss: Mutex<Option<Loss>>,
    lost: AtomicBool,
    /// While this is true, nothing goes through.
    held: watch::Sender<bool>,
    /// A connection that has passed on this many bytes of its client falls silent.
    silent_after: watch::Sender<Option<usize>>,
    silent_since: Mutex<Option<Instant>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 for a server on `server_port`.
    ///
    /// # Errors
    /// No port.
    pub fn start(server_port: u16) -> Result<Self> {
        Self::listen(server_port, None, None)
    }

    /// Starts a proxy that passes a client's bytes on at this rate. A connection that has passed on `silent_after` bytes of the client
    /// passes on no more of them. It still passes on the server's answers.
    ///
    /// # Errors
    /// No port.
    pub fn slow(server_port: u16, bytes_per_second: usize, silent_after: Option<usize>) -> Result<Self> {
        Self::listen(server_port, Some(bytes_per_second), silent_after)
    }

    fn listen(server_port: u16, bytes_per_second: Option<usize>, silent_after: Option<usize>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime
            .block_on(async {
                let socket = TcpSocket::new_v4()?;
                if bytes_per_second.is_some() {
                    socket.set_recv_buffer_size(PIECE_BYTES as u32)?;
                }
                socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
                socket.listen(BACKLOG)
            })
            .context("no port for a proxy")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            bytes_per_second,
            loss: Mutex::new(None),
            lost: AtomicBool::new(false),
            held: watch::Sender::new(false),
            silent_after: watch::Sender::new(silent_after),
            silent_since: Mutex::new(None),
        });
        runtime.spawn(serve(listener, server_port, Arc::clone(&shared)));
        Ok(Self { port, shared, _runtime: runtime })
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing goes through; connections stay open.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Everything goes through again.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// When the first connection fell silent, if one has.
    pub fn silent_since(&self) -> Option<Instant> {
        *self.shared.silent_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connections that are silent. From now on no connection falls silent.
    pub fn end_silence(&self) {
        self.shared.silent_after.send_replace(None);
    }

    /// From now on, the next answer that `loss` describes is lost.
    pub fn lose(&self, loss: Loss) {
        self.shared.lost.store(false, Ordering::SeqCst);
        self.shared.set(Some(loss));
    }

    /// Whether an answer has been lost since the last call of [`Self::lose`].
    pub fn has_lost(&self) -> bool {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// From now on no answer is lost.
    pub fn lose_nothing(&self) {
        self.shared.set(None);
    }
}

impl Shared {
    fn loss(&self) -> Option<Loss> {
        *self.loss.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, loss: Option<Loss>) {
        *self.loss.lock().unwrap_or_else(PoisonError::into_inner) = loss;
    }

    /// True for the one connection that loses the answer.
    fn claim_loss(&self, loss: Loss) -> bool {
        let mut current = self.loss.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = *current == Some(loss);
        if is_current {
            *current = None;
        }
        is_current
    }

    async fn wait_until_released(&self) {
        // an error would mean that the sender is gone, but this value holds it
        let _ = self.held.subscribe().wait_for(|held| !held).await;
    }

    /// If a connection that has passed on this many bytes is silent, this waits for the end of the silence and returns true. Otherwise it
    /// returns false at once.
    async fn wait_if_silent(&self, passed: usize) -> bool {
        let mut silent_after = self.silent_after.subscribe();
        if silent_after.borrow().is_none_or(|bytes| passed < bytes) {
            return false;
        }
        self.silent_since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        let _ = silent_after.wait_for(Option::is_none).await;
        true
    }
}

async fn serve(listener: TcpListener, server_port: u16, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(connection(client, server_port, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until either side closes. An error on either side counts as its closing.
async fn connection(client: TcpStream, server_port: u16, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (losing, loses) = watch::channel(None);
    let was_silent = Notify::new();
    let replies = async {
        tokio::select! {
            () = replies(from_server, to_client, &shared, loses) => {}
            () = was_silent.notified() => {}
        }
    };
    tokio::join!(requests(from_client, to_server, &shared, losing, &was_silent), replies);
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    losing: watch::Sender<Option<Loss>>,
    was_silent: &Notify,
) {
    let mut search: Option<(Loss, Search)> = None;
    let (mut piece, mut passed) = (vec![0; PIECE_BYTES], 0);
    while let Ok(count @ 1..) = client.read(&mut piece).await {
        shared.wait_until_released().await;
        let loss = shared.loss();
        if loss != search.as_ref().map(|(loss, _)| *loss) {
            search = loss.map(|loss| (loss, Search::new(loss.marks)));
        }
        if let Some((loss, search)) = &mut search
            && search.is_complete_with(&piece[..count])
            && shared.claim_loss(*loss)
        {
            // before the last bytes of the request are passed on, so that no reply to it slips through
            let _ = losing.send(Some(*loss));
        }
        if server.write_all(&piece[..count]).await.is_err() {
            return;
        }
        passed += count;
        if shared.wait_if_silent(passed).await {
            return was_silent.notify_one();
        }
        if let Some(bytes_per_second) = shared.bytes_per_second {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / bytes_per_second as f64)).await;
        }
    }
    // a half-closed connection still carries the reply; if the reply is withheld, the end of `losing` says that the client gave up
    let _ = server.shutdown().await;
}

async fn replies(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    shared: &Shared,
    mut losing: watch::Receiver<Option<Loss>>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = server.read(&mut piece).await {
        shared.wait_until_released().await;
        let loss = *losing.borrow();
        if let Some(loss) = loss {
            shared.lost.store(true, Ordering::SeqCst);
            if loss.withhold {
                // the sender of this channel is dropped when the client closes
                while losing.changed().await.is_ok() {}
            }
            drop(client);
            let drained = async { while let Ok(1..) = server.read(&mut piece).await {} };
            let _ = tokio::time::timeout(DRAIN_LIMIT, drained).await;
            return;
        }
        if client.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

/// Looks for marks, one after the other, in a stream that comes in pieces.
struct Search {
    marks: &'static [&'static [u8]],
    /// The bytes that may begin the next mark.
    tail: Vec<u8>,
}

impl Search {
    fn new(marks: &'static [&'static [u8]]) -> Self {
        Self { marks, tail: Vec::new() }
    }

    /// Takes the next piece. True if the last mark ends in it.
    fn is_complete_with(&mut self, piece: &[u8]) -> bool {
        self.tail.extend_from_slice(piece);
        while let Some((mark, rest)) = self.marks.split_first() {
            let Some(at) = self.tail.windows(mark.len()).position(|window| window == *mark) else {
                let kept = self.tail.len().min(mark.len().saturating_sub(1));
                self.tail.drain(..self.tail.len() - kept);
                return false;
            };
            self.tail.drain(..at + mark.len());
            self.marks = rest;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn marks_are_found_in_order_and_across_pieces() {
        let mut search = Search::new(&[b"insert into", b"EXEC"]);
        assert!(!search.is_complete_with(b"EXEC ins"));
        assert!(!search.is_complete_with(b"ert into t E"));
        assert!(!search.is_complete_with(b"X"));
        assert!(search.is_complete_with(b"EC"));
    }

    const LIMIT: Duration = Duration::from_secs(20);

    /// A server that returns what it reads, behind a proxy. It serves one connection.
    fn echoed(start: impl FnOnce(u16) -> Result<Proxy>) -> (Proxy, std::net::TcpStream) {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = start(server.local_addr().unwrap().port()).unwrap();
        let client = std::net::TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        std::thread::spawn(move || {
            let (mut from, _) = server.accept().unwrap();
            let mut to = from.try_clone().unwrap();
            std::io::copy(&mut from, &mut to)
        });
        (proxy, client)
    }

    fn answer(client: &mut std::net::TcpStream) -> String {
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn what_is_held_goes_through_when_it_is_released() {
        let (proxy, mut client) = echoed(Proxy::start);
        client.write_all(b"one.").unwrap();
        assert_eq!(answer(&mut client), "one.");
        proxy.hold();
        client.write_all(b"two.").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(client.read(&mut [0; 4]).is_err(), "nothing comes");
        client.set_read_timeout(Some(LIMIT)).unwrap();
        proxy.release();
        assert_eq!(answer(&mut client), "two.");
    }

    #[test]
    fn an_answer_is_lost_once_and_only_of_its_request() {
        let (proxy, mut client) = echoed(Proxy::start);
        proxy.lose(Loss { marks: &[b"two", b"."], withhold: false });
        client.write_all(b"one.").unwrap();
        assert_eq!(answer(&mut client), "one.");
        assert!(!proxy.has_lost());
        client.write_all(b"two.").unwrap();
        assert_eq!(client.read(&mut [0; 4]).unwrap(), 0, "the connection ends in place of the answer");
        assert!(proxy.has_lost());
    }

    #[test]
    fn a_connection_falls_silent_after_so_many_bytes_and_ends_when_the_silence_ends() {
        let (proxy, mut client) = echoed(|port| Proxy::slow(port, 1 << 20, Some(8)));
        client.write_all(b"one.").unwrap();
        assert_eq!(answer(&mut client), "one.");
        assert_eq!(proxy.silent_since(), None);
        client.write_all(b"two.").unwrap();
        assert_eq!(answer(&mut client), "two.");
        client.write_all(b"lost").unwrap();
        let began = Instant::now();
        while proxy.silent_since().is_none() {
            assert!(began.elapsed() < LIMIT, "the connection does not fall silent");
            std::thread::yield_now();
        }
        proxy.end_silence();
        assert!(matches!(client.read(&mut [0; 4]), Ok(0) | Err(_)), "the connection ends");
    }
}
