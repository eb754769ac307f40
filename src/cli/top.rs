//! `footprint top`: shows a running consumer, again and again. It asks /status and /metrics over HTTP, with deadlines, and changes
//! nothing.

mod amounts;
mod figures;
mod keys;
mod rates;
mod samples;
mod screen;
mod snapshot;
mod troubles;
mod view;
mod watch;

use std::time::{Duration, Instant};

use footprint_service::config::Config;
use footprint_service::console::{self, Output};
use footprint_service::pages::{AskPageError, text_at};
use footprint_service::report::Chain;
use footprint_service::signals::Signals;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::figures::Figures;
use self::snapshot::Snapshot;
use self::watch::Watch;
use super::{Exit, at};

/// Show a running consumer: health, rates, lag, sinks, budget, dead letters and partitions.
///
/// Asks it every second. q, Esc or Ctrl-C end it; ? shows the keys. Where standard output is no terminal, it prints one view as text,
/// as with --once. Exit status 1 if --once gets no answer.
#[derive(clap::Args, Debug)]
pub struct TopArgs {
    /// Where the consumer listens, HOST:PORT [default: telemetry.listen].
    #[arg(long, value_name = "ADDRESS")]
    at: Option<String>,
    /// Seconds between two questions.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Print one view as plain text and end. It asks twice, one interval apart, so that there are rates.
    #[arg(long)]
    once: bool,
    /// Print one JSON object a line: with --once one, else one for each question.
    #[arg(long)]
    json: bool,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Answer<'a> {
    address: &'a str,
    #[serde(flatten)]
    figures: &'a Figures,
}

/// One line of `--json` while the consumer does not answer.
#[derive(Serialize)]
struct NoAnswer<'a> {
    address: &'a str,
    no_answer_since: &'a str,
    why: &'a str,
}

/// Runs the command.
///
/// # Errors
/// With `--once`, no consumer answers. Else, the terminal cannot be used.
pub async fn run(args: &TopArgs, config: &Config, signals: &Signals, output: &mut Output) -> anyhow::Result<Exit> {
    let address = at::address(args.at.as_deref(), config)?;
    let every = Duration::from_secs(args.interval);
    if args.once || !(args.json || console::has_screen()) {
        tokio::select! {
            biased;
            () = signals.wait() => anyhow::bail!("interrupted: `top` has no view yet"),
            printed = once(&address, every, args.json, output) => printed?,
        }
    } else if args.json {
        tokio::select! {
            biased;
            () = signals.wait() => {}
            ended = stream(&address, every, output) => ended?,
        }
    } else {
        screen::run(&address, every, signals).await?;
    }
    Ok(Exit::Done)
}

/// Asks for both pages.
async fn ask(address: &str) -> Result<Snapshot, AskPageError> {
    let (status, metrics) = tokio::try_join!(text_at(address, "/status"), text_at(address, "/metrics"))?;
    Snapshot::parse(&status, &metrics).map_err(|_| AskPageError::Stranger(address.to_owned()))
}

/// Prints one view.
async fn once(address: &str, every: Duration, is_json: bool, output: &mut Output) -> anyhow::Result<()> {
    let mut watch = Watch::new(Instant::now(), watch::time_here());
    watch.answered(Instant::now(), watch::time_here(), ask(address).await?);
    sleep(every).await;
    watch.answered(Instant::now(), watch::time_here(), ask(address).await?);
    if is_json {
        return print_json(address, &watch, output);
    }
    let width = if console::is_seen() { screen::width() } else { None };
    let shown = watch.shown(address, Instant::now(), every);
    output.line(view::text(&shown, width.unwrap_or(view::PLAIN_WIDTH)).trim_end());
    Ok(())
}

/// Prints one line of JSON for each question, until nobody reads them.
async fn stream(address: &str, every: Duration, output: &mut Output) -> anyhow::Result<()> {
    let mut watch = Watch::new(Instant::now(), watch::time_here());
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !output.is_closed() {
        ticks.tick().await;
        match ask(address).await {
            Ok(snapshot) => watch.answered(Instant::now(), watch::time_here(), snapshot),
            Err(error) => watch.failed(Chain(&error).to_string()),
        }
        print_json(address, &watch, output)?;
    }
    Ok(())
}

fn print_json(address: &str, watch: &Watch, output: &mut Output) -> anyhow::Result<()> {
    let shown = watch.shown(address, Instant::now(), Duration::ZERO);
    let line = match (&shown.silence, shown.figures) {
        (Some(silence), _) => {
            serde_json::to_string(&NoAnswer { address, no_answer_since: &silence.since, why: &silence.why })?
        }
        (None, Some(figures)) => serde_json::to_string(&Answer { address, figures })?,
        (None, None) => return Ok(()),
    };
    output.line(line);
    Ok(())
}
