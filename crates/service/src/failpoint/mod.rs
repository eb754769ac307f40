//! Failpoints: with the feature `failpoints` a test names one point, and the program is killed or stopped there. Without
//! the feature, as in every release, each call is an empty inline function.
//!
//! The environment variable FOOTPRINT_FAILPOINT_FILE names a file. While it holds `POINT ACTION HIT NONCE`, the HIT-th arrival at
//! that point since the file was written acts: `kill` sends SIGKILL, `stop` SIGSTOP, to this process. It acts only once, even if
//! others arrive too: first it renames the file to `FILE.hit`, so the test knows that it happened here.

mod point;

pub use point::Point;

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("failpoints are for tests: build without --features failpoints, or in the dev profile");

#[cfg(not(feature = "failpoints"))]
mod off {
    use super::Point;

    /// Nothing.
    #[inline(always)]
    pub fn hit(_: Point) {}

    /// Never.
    #[inline(always)]
    pub const fn is_armed(_: Point) -> bool {
        false
    }

    /// The future itself.
    #[inline(always)]
    pub fn sent<F: Future>(_: Point, future: F) -> F {
        future
    }

    /// Nothing.
    #[inline(always)]
    pub async fn hit_soon(_: Point) {}

    /// Never.
    #[inline(always)]
    pub const fn compares_first() -> bool {
        false
    }

    /// Never.
    #[inline(always)]
    pub const fn is_unfenced() -> bool {
        false
    }
}

#[cfg(not(feature = "failpoints"))]
pub use off::{compares_first, hit, hit_soon, is_armed, is_unfenced, sent};

#[cfg(feature = "failpoints")]
mod on {
    use std::path::PathBuf;
    use std::pin::pin;
    use std::sync::LazyLock;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::Point;

    /// A request is in flight for at most this long before the program is killed. So the program dies sometimes before the server
    /// has read the request, and sometimes after it has answered.
    const ON_ITS_WAY_MAX: Duration = Duration::from_millis(3);

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("FOOTPRINT_FAILPOINT_FILE").map(PathBuf::from));
    /// The contents of the file when its point last looked at it, and the arrivals since then.
    static ARRIVALS: Mutex<(String, u32)> = Mutex::new((String::new(), 0));

    /// The contents of the file.
    struct Armed {
        text: String,
        stops: bool,
        hit: u32,
    }

    fn armed(point: Point) -> Option<Armed> {
        let text = std::fs::read_to_string(FILE.as_ref()?).ok()?;
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some(point.name()) {
            return None;
        }
        let stops = words.next()? == "stop";
        let hit = words.next()?.parse().ok()?;
        Some(Armed { text, stops, hit })
    }

    /// Whether the file names `point`.
    pub fn is_armed(point: Point) -> bool {
        armed(point).is_some()
    }

    /// The program has arrived at `point`.
    #[allow(unsafe_code)]
    pub fn hit(point: Point) {
        let Some(armed) = armed(point) else { return };
        let mut arrivals = ARRIVALS.lock();
        if arrivals.0 != armed.text {
            *arrivals = (armed.text, 0);
        }
        arrivals.1 += 1;
        let Some(file) = FILE.as_ref().filter(|_| arrivals.1 == armed.hit) else { return };
        if std::fs::rename(file, file.with_extension("hit")).is_err() {
            return;
        }
        let signal = if armed.stops { libc::SIGSTOP } else { libc::SIGKILL };
        // SAFETY: kill takes numbers only; the process is our own
        unsafe { libc::kill(libc::getpid(), signal) };
        // the kernel stops every thread, but perhaps this one only a moment after kill has returned
        std::thread::sleep(ON_ITS_WAY_MAX);
    }

    /// Runs `future`. If `point` is armed, the program arrives there while the request is in flight.
    pub async fn sent<F: Future>(point: Point, future: F) -> F::Output {
        if !is_armed(point) {
            return future.await;
        }
        let mut future = pin!(future);
        let moment = ON_ITS_WAY_MAX.mul_f64(rand::random_range(0.0..1.0));
        match tokio::time::timeout(moment, &mut future).await {
            Ok(output) => {
                hit(point);
                output
            }
            Err(_) => {
                hit(point);
                future.await
            }
        }
    }

    fn is_without(guard: &str) -> bool {
        std::env::var_os("FOOTPRINT_FAILPOINT_WITHOUT").is_some_and(|without| without == guard)
    }

    /// Whether FOOTPRINT_FAILPOINT_WITHOUT takes out the one guard that the model cannot: the compare-and-set comes after COPY,
    /// so that no row is locked while a client may be stopped.
    pub fn compares_first() -> bool {
        is_without("compare-last")
    }

    /// Whether it takes out the fence of inserts. Then each insert uses its own query id, so none is refused and no drain finds
    /// any.
    pub fn is_unfenced() -> bool {
        is_without("fence")
    }

    /// Arrives at `point` in a moment, while a client is sending a request.
    pub async fn hit_soon(point: Point) {
        sent(point, tokio::time::sleep(ON_ITS_WAY_MAX)).await;
    }
}

#[cfg(feature = "failpoints")]
pub use on::{compares_first, hit, hit_soon, is_armed, is_unfenced, sent};
