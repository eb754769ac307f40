//! As much of HTTP/1.1 as questions to ClickHouse and Prometheus need: one request a connection, answers read to the end, all within a deadline.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::deadline::Deadline;

/// More than any answer that a test asks for.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Posts `body` to `path` on 127.0.0.1. `headers` are whole lines without their ends.
pub(crate) fn post(port: u16, path: &str, headers: &[String], body: &str, limit: Duration) -> io::Result<Answer> {
    ask("POST", port, path, headers, body, limit)
}

/// Gets `path` on 127.0.0.1.
pub(crate) fn get(port: u16, path: &str, limit: Duration) -> io::Result<Answer> {
    ask("GET", port, path, &[], "", limit)
}

fn ask(method: &str, port: u16, path: &str, headers: &[String], body: &str, limit: Duration) -> io::Result<Answer> {
    let deadline = Deadline::after(limit);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_write_timeout(Some(limit))?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(request.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let answer = read_to_end(&mut stream, deadline)?;
    parse(&answer).ok_or_else(|| io::Error::other("the answer is not whole HTTP"))
}

/// Reads until the server closes. The deadline holds for the whole answer, and not for each read.
fn read_to_end(stream: &mut TcpStream, deadline: Deadline) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    while answer.len() as u64 <= ANSWER_BYTES_MAX {
        let remaining = deadline.remaining();
        if remaining.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(remaining))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend(piece.iter().take(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the answer is too large"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..head_end)?).ok()?;
    let body = answer.get(head_end + 4..)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let body = if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        unchunk(body)?
    } else if let Some(length) = header("content-length") {
        body.get(..length.parse().ok()?)?.to_vec()
    } else {
        body.to_vec()
    };
    Some(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// RFC 9112, section 7.1. An answer without the last, empty chunk is not complete.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size_text = std::str::from_utf8(rest.get(..line_end)?).ok()?;
        let size = usize::from_str_radix(size_text.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(line_end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn body(answer: &str) -> Option<String> {
        parse(answer.as_bytes()).map(|answer| answer.body)
    }

    #[test]
    fn whole_answers_are_read_and_cut_ones_are_not() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(body(chunked).as_deref(), Some("abcde"));
        assert_eq!(body(&chunked[..chunked.len() - 7]), None);
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab").as_deref(), Some("ab"));
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"), None);
        assert_eq!(body("Port 9000 is for clickhouse-client program"), None);
    }
}
