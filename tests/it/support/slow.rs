//! A proxy before a server that forwards a client's bytes slowly, and can fall silent in the middle of a large request.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Bytes of a client that are forwarded at once, and that the system may hold before that.
const PIECE_BYTES: usize = 64 << 10;

/// Whether connections fall silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Each falls silent after it has forwarded this number of its client's bytes.
    SilentAfter(usize),
    /// None falls silent, and silent connections end.
    Talking,
}

/// The proxy. It listens until it is dropped.
pub struct SlowProxy {
    port: u16,
    mood: watch::Sender<Mood>,
    silent_since: watch::Receiver<Option<Instant>>,
    _runtime: Runtime,
}

impl SlowProxy {
    /// A proxy before `server_port` of 127.0.0.1. A connection that has forwarded `silent_after` bytes forwards nothing more.
    pub fn start(server_port: u16, bytes_per_second: usize, silent_after: Option<usize>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(PIECE_BYTES as u32).unwrap();
            socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            socket.listen(64).unwrap()
        });
        let port = listener.local_addr().unwrap().port();
        let (mood, moods) = watch::channel(silent_after.map_or(Mood::Talking, Mood::SilentAfter));
        let (fell_silent, silent_since) = watch::channel(None);
        let fell_silent = Arc::new(fell_silent);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (moods, fell_silent) = (moods.clone(), Arc::clone(&fell_silent));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    serve(client, server, bytes_per_second, moods, &fell_silent).await;
                });
            }
        });
        Self { port, mood, silent_since, _runtime: runtime }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// When the first connection fell silent.
    pub fn silent_since(&self) -> Option<Instant> {
        *self.silent_since.borrow()
    }

    /// Ends the silent connections. None falls silent from now on.
    pub fn talk(&self) {
        self.mood.send_replace(Mood::Talking);
    }
}

/// Forwards bytes until one side ends, or until a silent connection is ended.
async fn serve(
    client: TcpStream,
    server: TcpStream,
    bytes_per_second: usize,
    mut moods: watch::Receiver<Mood>,
    fell_silent: &watch::Sender<Option<Instant>>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let (mut piece, mut passed) = (vec![0; PIECE_BYTES], 0);
        loop {
            let count = from_client.read(&mut piece).await.unwrap_or(0);
            if count == 0 || to_server.write_all(&piece[..count]).await.is_err() {
                return false;
            }
            passed += count;
            if matches!(*moods.borrow(), Mood::SilentAfter(bytes) if passed >= bytes) {
                return true;
            }
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / bytes_per_second as f64)).await;
        }
    };
    let answers = tokio::io::copy(&mut from_server, &mut to_client);
    let is_silent = tokio::select! {
        is_silent = requests => is_silent,
        _ = answers => false,
    };
    if is_silent {
        fell_silent.send_if_modified(|since| since.replace(since.unwrap_or_else(Instant::now)).is_none());
        let _ = moods.wait_for(|mood| *mood == Mood::Talking).await;
    }
}
