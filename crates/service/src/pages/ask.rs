//! Asks a running consumer for a page.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ReadyPage;
use crate::report::{Cause, Remedy};

/// How long the consumer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum AskPageError {
    /// Nobody answers.
    #[error("no consumer answers at {0}")]
    Nobody(String, #[source] Remedy),
    /// No answer in time.
    #[error("no answer from {0} in {ANSWER_TIMEOUT:?}")]
    Silent(String),
    /// Somebody else answers.
    #[error("what answers at {0} is no footprint consumer; is telemetry.listen right?")]
    Stranger(String),
}

/// What the consumer that listens at `address`, `HOST:PORT`, says about its readiness.
///
/// # Errors
/// No consumer answers there.
pub async fn ready_at(address: &str) -> Result<ReadyPage, AskPageError> {
    let (status, body) = page_at(address, "/readyz").await?;
    let page = match status {
        StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => serde_json::from_slice(&body).ok(),
        _ => None,
    };
    page.ok_or_else(|| AskPageError::Stranger(address.to_owned()))
}

/// The text of a page such as `/status` of the consumer that listens at `address`, `HOST:PORT`.
///
/// # Errors
/// No consumer answers there, or it has no such page.
pub async fn text_at(address: &str, path: &'static str) -> Result<String, AskPageError> {
    let (status, body) = page_at(address, path).await?;
    // a consumer that is not ready answers 503, and its page says why
    let is_page = matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE);
    let text = String::from_utf8(body.into()).ok().filter(|_| is_page);
    text.ok_or_else(|| AskPageError::Stranger(address.to_owned()))
}

async fn page_at(address: &str, path: &'static str) -> Result<(StatusCode, Bytes), AskPageError> {
    let nobody = |cause| {
        let remedy = "is it running, is telemetry.listen right?";
        AskPageError::Nobody(address.to_owned(), Remedy::new(remedy, cause))
    };
    let answer = timeout(ANSWER_TIMEOUT, ask(address, path)).await;
    answer.map_err(|_| AskPageError::Silent(address.to_owned()))?.map_err(nobody)
}

async fn ask(address: &str, path: &'static str) -> Result<(StatusCode, Bytes), Cause> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    driving.abort();
    Ok((status, body))
}
