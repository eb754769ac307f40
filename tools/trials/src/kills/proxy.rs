//! A proxy before a server that loses one answer: it knows the request by what is said on the wire, forwards it whole, and
//! drops the connection in place of the reply, or withholds the reply until the client gives up.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes moved at once.
const PIECE_BYTES: usize = 64 << 10;
/// After an answer was lost the server is read on for so long at most: its work must not be cut short.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Which answer is lost: that of the request that ends with the last of these, found one after the other in what one
/// connection sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// What to look for.
    pub(super) marks: &'static [&'static [u8]],
    /// Withhold the reply until the client closes, rather than close.
    pub(super) withhold: bool,
}

/// A listening proxy; dropped, it and its connections end.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

#[derive(Debug, Default)]
struct Shared {
    order: Mutex<Option<Order>>,
    lost: AtomicBool,
}

impl Shared {
    fn order(&self) -> Option<Order> {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, order: Option<Order>) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = order;
    }

    /// True for the one who may carry the order out.
    fn take(&self, order: Order) -> bool {
        let mut current = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = *current == Some(order);
        if is_current {
            *current = None;
        }
        is_current
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 for a server on `server_port`.
    pub(super) fn start(server_port: u16) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let shared = Arc::new(Shared::default());
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).context("no port for a proxy")?;
        let port = listener.local_addr()?.port();
        runtime.spawn(serve(listener, server_port, Arc::clone(&shared)));
        Ok(Self { port, shared, _runtime: runtime })
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// From now on the next answer that the order means is lost.
    pub(super) fn lose(&self, order: Order) {
        self.shared.lost.store(false, Ordering::SeqCst);
        self.shared.set(Some(order));
    }

    /// Whether an answer has been lost since the order was given.
    pub(super) fn has_lost(&self) -> bool {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// Forgets the order.
    pub(super) fn calm(&self) {
        self.shared.set(None);
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

/// One connection, until either side closes. An error on either side is that side's closing.
async fn connection(client: TcpStream, server_port: u16, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (losing, loses) = watch::channel(None);
    tokio::join!(requests(from_client, to_server, &shared, losing), replies(from_server, to_client, &shared, loses));
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    losing: watch::Sender<Option<Order>>,
) {
    let mut search: Option<(Order, Search)> = None;
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = client.read(&mut piece).await {
        let order = shared.order();
        if order != search.as_ref().map(|(order, _)| *order) {
            search = order.map(|order| (order, Search::new(order.marks)));
        }
        if let Some((order, search)) = &mut search
            && search.is_complete_with(&piece[..count])
            && shared.take(*order)
        {
            // before the last of the request is passed on: no reply to it may slip through
            let _ = losing.send(Some(*order));
        }
        if server.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
    // a half-closed connection still carries the reply; when it is to be withheld this tells that the client gave up
    let _ = server.shutdown().await;
}

async fn replies(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    shared: &Shared,
    mut losing: watch::Receiver<Option<Order>>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = server.read(&mut piece).await {
        let order = *losing.borrow();
        if let Some(order) = order {
            shared.lost.store(true, Ordering::SeqCst);
            if order.withhold {
                // the sender of this channel goes when the client closes
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
    /// What may be the beginning of the next mark.
    tail: Vec<u8>,
}

impl Search {
    fn new(marks: &'static [&'static [u8]]) -> Self {
        Self { marks, tail: Vec::new() }
    }

    /// True with the piece in which the last mark ends.
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
    use super::*;

    #[test]
    fn marks_are_found_in_order_and_across_pieces() {
        let mut search = Search::new(&[b"insert into", b"EXEC"]);
        assert!(!search.is_complete_with(b"EXEC ins"));
        assert!(!search.is_complete_with(b"ert into t E"));
        assert!(!search.is_complete_with(b"X"));
        assert!(search.is_complete_with(b"EC"));
    }
}
