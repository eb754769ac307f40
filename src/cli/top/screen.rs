//! The terminal: its modes, its keys, and the loop that asks and draws. Whatever ends `top`, the modes are as they were.

use std::future::{Future, pending};
use std::io::{self, BufWriter, Stdout};
use std::panic;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use footprint_service::console;
use footprint_service::pages::AskPageError;
use footprint_service::report::Chain;
use footprint_service::signals::Signals;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::ask;
use super::keys::{Next, apply};
use super::snapshot::Snapshot;
use super::view::{Look, draw};
use super::watch::{Watch, time_here};

/// Keys that wait to be handled, at most.
const KEYS_MAX: usize = 64;
/// How long the thread waits for a key before it looks whether it is still needed.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// How long the end waits for that thread. One that reads from a terminal that is gone may never end.
const KEYS_END: Duration = Duration::from_secs(1);
/// How often it is drawn at least, so that ages grow.
const DRAW_INTERVAL: Duration = Duration::from_secs(1);

/// The columns of the terminal.
pub(super) fn width() -> Option<usize> {
    size().ok().map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// The terminal in the modes of a full screen. Its end brings the earlier modes back.
struct Modes;

impl Modes {
    fn enter() -> io::Result<Self> {
        // a panic aborts the process, so no destructor runs
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            leave();
            report(info);
        }));
        enable_raw_mode()?;
        let modes = Self;
        execute!(console::screen(), EnterAlternateScreen, Hide)?;
        Ok(modes)
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        leave();
    }
}

/// Brings the earlier modes back. There is nobody to tell about a terminal that is gone.
fn leave() {
    let _ = execute!(console::screen(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// The thread that reads keys. crossterm has no way to wait for them and for other things together without a thread.
struct Keys {
    events: mpsc::Receiver<io::Result<Event>>,
    is_over: Arc<AtomicBool>,
}

impl Keys {
    fn read() -> io::Result<Self> {
        let (sender, events) = mpsc::channel(KEYS_MAX);
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let read = move || {
            while !stop.load(Ordering::Relaxed) {
                let event = match event::poll(KEY_WAIT) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                let is_last = event.is_err();
                if sender.blocking_send(event).is_err() || is_last {
                    break;
                }
            }
        };
        thread::Builder::new().name("keys".into()).spawn(read)?;
        Ok(Self { events, is_over })
    }

    /// Ends the thread.
    async fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // the thread drops its sender when it ends; what is pressed meanwhile means nothing
        let _ = timeout(KEYS_END, async { while self.events.recv().await.is_some() {} }).await;
    }
}

/// Shows the consumer until a key or a signal ends it.
///
/// # Errors
/// The terminal cannot be used.
pub(super) async fn run(address: &str, every: Duration, signals: &Signals) -> anyhow::Result<()> {
    let modes = Modes::enter().context("the terminal has no full screen: use --once or --json")?;
    let mut keys = Keys::read()?;
    let shown = show(address, every, signals, &mut keys.events).await;
    keys.end().await;
    drop(modes);
    shown.context("the terminal")
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Snapshot, AskPageError>> + Send + 'a>>;

async fn show(
    address: &str,
    every: Duration,
    signals: &Signals,
    keys: &mut mpsc::Receiver<io::Result<Event>>,
) -> io::Result<()> {
    let mut terminal = Terminal::new(CrosstermBackend::new(BufWriter::new(console::screen())))?;
    let mut watch = Watch::new(Instant::now(), time_here());
    let mut look = Look { colours: console::is_coloured(), ..Look::default() };
    let (mut questions, mut redraws) = (interval(every), interval(DRAW_INTERVAL));
    questions.set_missed_tick_behavior(MissedTickBehavior::Delay);
    redraws.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking: Option<Asking<'_>> = None;
    loop {
        let page = draw_on(&mut terminal, &watch, address, every, &mut look)?;
        // one round may have nothing to draw
        loop {
            let answer = async {
                match asking.as_mut() {
                    Some(asking) => asking.await,
                    None => pending().await,
                }
            };
            // signals and keys first: an answer is never urgent
            tokio::select! {
                biased;
                () = signals.wait() => return Ok(()),
                key = keys.recv() => {
                    let Some(event) = key.transpose()? else { return Ok(()) };
                    match apply(&event, &mut look, page, watch.route_count()) {
                        Next::Quit => return Ok(()),
                        Next::Draw => break,
                        Next::Nothing => {}
                    }
                }
                answer = answer => {
                    asking = None;
                    match answer {
                        Ok(snapshot) => watch.answered(Instant::now(), time_here(), snapshot),
                        Err(error) => watch.failed(Chain(&error).to_string()),
                    }
                    break;
                }
                _ = questions.tick() => {
                    if asking.is_none() {
                        asking = Some(Box::pin(ask(address)));
                    }
                }
                _ = redraws.tick() => break,
            }
        }
    }
}

/// Draws, and returns by how many lines a page moves.
fn draw_on(
    terminal: &mut Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    watch: &Watch,
    address: &str,
    every: Duration,
    look: &mut Look,
) -> io::Result<usize> {
    let shown = watch.shown(address, Instant::now(), every);
    let mut page = 1;
    terminal.draw(|frame| page = draw(frame.buffer_mut(), &shown, look))?;
    Ok(page)
}

#[cfg(test)]
mod tests;
