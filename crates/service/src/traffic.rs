//! The limit on a server's silence. A write has no deadline as a whole: a slow server would receive the same rows again and
//! again, and never finish them. The limit is on the time in which nothing moves: no byte goes into the connection, none comes
//! out of it, and the server does not say on another way that it is still at work.
//!
//! `Watch` decides and is pure; [`unless_silent`] drives it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

/// A server that says that it works may do so for this many times the limit after the last byte.
pub const LIMITS_AT_WORK_MAX: u32 = 10;
/// Questions, and looks at the connection, in the time of one limit.
const QUESTIONS_PER_LIMIT: u32 = 4;
const LOOKS_PER_LIMIT: u32 = 32;

/// Counts the bytes that connections have moved, in both directions.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<AtomicU64>);

impl Traffic {
    /// Adds bytes.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes moved so far.
    pub(crate) fn moved(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a server says about a request, asked on another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It works on the request.
    AtWork,
    /// It waits for more of the request, or does not have it. The number grows with the part that it has taken.
    Waits(u64),
}

/// Why a request was given up. The duration is the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silent {
    /// Nothing moved for the limit.
    #[error("no answer: nothing has moved on its connection in {0:?} (pipeline.sink_timeout_ms)")]
    Still(Duration),
    /// The server says that it works, but has done so for too long.
    #[error(
        "no answer: the server has been at work for {LIMITS_AT_WORK_MAX} times {0:?} (pipeline.sink_timeout_ms) since it took \
         the last byte"
    )]
    AtWork(Duration),
}

/// What to do next about a request without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Wait,
    Ask,
    GiveUp(Silent),
}

/// When something last moved, and what the server says.
#[derive(Debug)]
struct Watch {
    limit: Duration,
    moved: u64,
    taken: Option<u64>,
    /// The last sign of life.
    sign_at: Instant,
    /// The last byte.
    byte_at: Instant,
    asked_at: Instant,
    /// When the server last said that it works.
    at_work_at: Option<Instant>,
}

impl Watch {
    fn new(limit: Duration, moved: u64, now: Instant) -> Self {
        Self { limit, moved, taken: None, sign_at: now, byte_at: now, asked_at: now, at_work_at: None }
    }

    fn look(&mut self, moved: u64, now: Instant) -> Next {
        if moved != self.moved {
            self.moved = moved;
            (self.sign_at, self.byte_at, self.asked_at) = (now, now, now);
        }
        if now - self.sign_at >= self.limit {
            let is_at_work = self.at_work_at.is_some_and(|at| now - at < self.limit);
            return Next::GiveUp(if is_at_work { Silent::AtWork(self.limit) } else { Silent::Still(self.limit) });
        }
        if now - self.asked_at >= self.limit / QUESTIONS_PER_LIMIT {
            self.asked_at = now;
            return Next::Ask;
        }
        Next::Wait
    }

    fn answered(&mut self, standing: Standing, now: Instant) {
        let is_sign = match standing {
            Standing::AtWork => {
                self.at_work_at = Some(now);
                now - self.byte_at < self.limit * (LIMITS_AT_WORK_MAX - 1)
            }
            // the first number says nothing alone; it is compared with the next one
            Standing::Waits(taken) => self.taken.replace(taken).is_some_and(|before| before != taken),
        };
        if is_sign {
            self.sign_at = now;
        }
    }
}

/// Waits for `work` as long as there are signs of life. Its connections count their bytes in `traffic`. `ask` asks the server on
/// another way what it does. None: the server does not say.
///
/// # Errors
/// No sign of life for `limit`.
pub async fn unless_silent<T, A: Future<Output = Option<Standing>>>(
    traffic: &Traffic,
    limit: Duration,
    mut ask: impl FnMut() -> A,
    work: impl Future<Output = T>,
) -> Result<T, Silent> {
    let mut watch = Watch::new(limit, traffic.moved(), Instant::now());
    let mut work = pin!(work);
    let mut question: Option<Pin<Box<A>>> = None;
    loop {
        let answer = async {
            match &mut question {
                Some(question) => question.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // an answer that is there counts, whatever the clock says
            biased;
            done = &mut work => return Ok(done),
            standing = answer => {
                question = None;
                if let Some(standing) = standing {
                    watch.answered(standing, Instant::now());
                }
            }
            () = sleep(limit / LOOKS_PER_LIMIT) => {}
        }
        match watch.look(traffic.moved(), Instant::now()) {
            Next::Wait => {}
            Next::Ask => {
                question.get_or_insert_with(|| Box::pin(ask()));
            }
            Next::GiveUp(silent) => return Err(silent),
        }
    }
}

/// A stream that counts its bytes.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    stream: S,
    traffic: Traffic,
}

impl<S> Counted<S> {
    /// Counts the bytes in `traffic`.
    pub(crate) fn new(stream: S, traffic: &Traffic) -> Self {
        Self { stream, traffic: traffic.clone() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        self.traffic.add(into.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.traffic.add(*count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(count)) = &written {
            self.traffic.add(*count);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    /// How long a request is waited for that is never answered, if the server says `standing` at each question.
    fn given_up_after(mut standing: impl FnMut(u64) -> Standing, bytes_until: u64) -> (u64, Silent) {
        let start = Instant::now();
        let mut watch = Watch::new(LIMIT, 0, start);
        for second in 1.. {
            let now = start + Duration::from_secs(second);
            match watch.look(second.min(bytes_until), now) {
                Next::Wait => {}
                Next::Ask => watch.answered(standing(second), now),
                Next::GiveUp(silent) => return (second, silent),
            }
        }
        unreachable!()
    }

    #[test]
    fn bytes_are_signs_however_long_they_take() {
        assert_eq!(given_up_after(|_| Standing::Waits(0), 1_000), (1_008, Silent::Still(LIMIT)));
    }

    #[test]
    fn a_server_that_takes_what_the_network_holds_goes_on_and_one_that_waits_for_us_does_not() {
        assert_eq!(given_up_after(|_| Standing::Waits(7), 0), (8, Silent::Still(LIMIT)));
        assert_eq!(given_up_after(|second| Standing::Waits(second.min(100)), 0), (108, Silent::Still(LIMIT)));
    }

    #[test]
    fn a_server_at_work_has_ten_times_the_limit() {
        assert_eq!(given_up_after(|_| Standing::AtWork, 0), (78, Silent::AtWork(LIMIT)));
        assert_eq!(given_up_after(|_| Standing::AtWork, 50), (128, Silent::AtWork(LIMIT)));
        let dies = |second| if second < 30 { Standing::AtWork } else { Standing::Waits(0) };
        assert_eq!(given_up_after(dies, 0), (36, Silent::Still(LIMIT)));
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_questions_either_is_given_up_in_the_limit() {
        let (traffic, start, limit) = (Traffic::default(), Instant::now(), Duration::from_millis(100));
        let silent = unless_silent(&traffic, limit, pending::<Option<Standing>>, pending::<()>()).await;
        assert_eq!(silent, Err(Silent::Still(limit)));
        assert!(start.elapsed() >= limit);
    }
}
