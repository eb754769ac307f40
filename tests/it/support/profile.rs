//! A proxy before ClickHouse that works like a profile: it adds settings to every request that does not set them itself. The
//! server reads its own profiles only at its start, and all tests share the server.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// The proxy. It listens until it is dropped.
pub struct Profile {
    port: u16,
    _runtime: Runtime,
}

impl Profile {
    /// A profile with these settings, before the server at `server_port` of 127.0.0.1. Values are plain text.
    pub fn start(server_port: u16, settings: &[(&str, &str)]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let settings: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), escaped(value))).collect();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let settings = settings.clone();
                tokio::spawn(async move { connection(client, server_port, &settings).await });
            }
        });
        Self { port, _runtime: runtime }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn escaped(value: &str) -> String {
    value
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Serves until either side closes. An error on a side counts as its closing.
async fn connection(client: TcpStream, server_port: u16, settings: &[(String, String)]) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut from_client = BufReader::with_capacity(256 << 10, from_client);
        while let Ok(true) = request(&mut from_client, &mut to_server, settings).await {}
        let _ = to_server.shutdown().await;
    };
    let answers = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(requests, answers);
}

/// Forwards one request. False: no more requests come.
async fn request(
    client: &mut BufReader<OwnedReadHalf>,
    server: &mut OwnedWriteHalf,
    settings: &[(String, String)],
) -> io::Result<bool> {
    let mut line = String::new();
    if client.read_line(&mut line).await? == 0 {
        return Ok(false);
    }
    let mut head = with_settings(&line, settings);
    let (mut length, mut is_chunked) = (0, false);
    loop {
        line.clear();
        if client.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        head.push_str(&line);
        let lower = line.trim_end().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        is_chunked |= lower == "transfer-encoding: chunked";
    }
    server.write_all(head.as_bytes()).await?;
    if !is_chunked {
        pass(client, server, length).await?;
        return Ok(true);
    }
    loop {
        line.clear();
        client.read_line(&mut line).await?;
        server.write_all(line.as_bytes()).await?;
        let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        // the line end belongs to the chunk; no trailers follow the last, empty chunk
        pass(client, server, size + 2).await?;
        if size == 0 {
            return Ok(true);
        }
    }
}

async fn pass(from: &mut BufReader<OwnedReadHalf>, to: &mut OwnedWriteHalf, bytes: u64) -> io::Result<()> {
    let passed = tokio::io::copy_buf(&mut from.take(bytes), to).await?;
    if passed == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// The request line with the settings that it does not set itself, before those that it does.
fn with_settings(line: &str, settings: &[(String, String)]) -> String {
    let mut parts = line.trim_end().splitn(3, ' ');
    let (method, target, version) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_set = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let added = settings.iter().filter(|(name, _)| !is_set(name)).map(|(name, value)| format!("{name}={value}"));
    let pairs: Vec<String> = added.chain(query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned)).collect();
    format!("{method} {path}?{} {version}\r\n", pairs.join("&"))
}

#[test]
fn a_request_keeps_what_it_sets_itself() {
    let settings = [("limit".to_owned(), "5".to_owned()), ("offset".to_owned(), "1".to_owned())];
    assert_eq!(with_settings("POST /?limit=0 HTTP/1.1\r\n", &settings), "POST /?offset=1&limit=0 HTTP/1.1\r\n");
    assert_eq!(with_settings("GET / HTTP/1.1\r\n", &settings), "GET /?limit=5&offset=1 HTTP/1.1\r\n");
    assert_eq!(escaped("{'t':'a > 1'}"), "%7B%27t%27%3A%27a%20%3E%201%27%7D");
}
