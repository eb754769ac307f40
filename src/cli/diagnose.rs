//! `footprint diagnose`: puts all that explains a problem into one archive: settings, checks, pages, the log's end, the ledger, versions and
//! the machine. Each part has a deadline, and all are collected at once. A part that fails becomes a text that says why.

mod archive;
mod parts;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use chrono::Utc;
use footprint_service::config::{Config, Shown};
use footprint_service::console::Output;
use footprint_service::report::Chain;
use futures::future::{BoxFuture, join_all};
use tokio::time::timeout;

use self::archive::Part;
use self::parts::Site;
use crate::cli::Exit;

/// How long one part may take.
const PART_TIMEOUT: Duration = Duration::from_secs(20);
/// How long `check` may take: it asks all servers.
const CHECK_TIMEOUT: Duration = Duration::from_secs(90);

/// Put all that explains a problem into one archive, without passwords and without events
///
/// The archive (tar.gz) has the settings in force, the output of `check`, /status, /readyz and /metrics of the running consumer, the end of
/// consumer.log, the ledger's rows, the number of dead letters by reason, the versions of everything, and the limits of this
/// machine. Passwords are hidden. No event's content is in it; topic names, host names and paths are. Only its owner may read
/// it. It changes nothing.
///
/// A part that cannot be had becomes a text that says why. Exit status 0 if the archive was written.
#[derive(clap::Args, Debug)]
pub struct DiagnoseArgs {
    /// The archive's name; it must not exist yet [default: footprint-diagnose-TIME.tar.gz in this folder]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where the consumer listens, HOST:PORT [default: telemetry.listen]
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<String>,
}

/// Collects and writes.
///
/// # Errors
/// The archive cannot be written.
pub async fn run(
    args: &DiagnoseArgs,
    file: Option<PathBuf>,
    config: &Config,
    shown: &Shown,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let time = Utc::now();
    let folder = format!("footprint-diagnose-{}", time.format("%Y%m%dT%H%M%SZ"));
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
    let listen = args.at.clone().unwrap_or_else(|| super::at::reachable(&config.telemetry.listen));
    let site = Site { config: config.clone(), file, listen };
    let mut collected = vec![Part::whole("config.toml", shown.text())];
    collected.extend(join_all(all(&site)).await);
    let secrets = config.secrets();
    for part in &mut collected {
        archive::hide(&mut part.text, &secrets);
    }
    let mut summary = format!("footprint diagnose, {}\n\n", time.format("%Y-%m-%d %H:%M:%S UTC"));
    for part in &collected {
        summary.push_str(&part.line());
        summary.push('\n');
    }
    collected.insert(0, Part::whole("README.txt", summary.clone()));
    archive::write(&path, &folder, time.timestamp().unsigned_abs(), &collected)
        .with_context(|| format!("the archive cannot be written to {}", path.display()))?;
    for line in summary.lines().skip(2) {
        output.line(line);
    }
    output.line(format!("all of it is in {}; look through it before you send it to anybody", path.display()));
    Ok(Exit::Done)
}

/// All parts, each with its deadline.
fn all(site: &Site) -> Vec<BoxFuture<'_, Part>> {
    vec![
        part("check.txt", CHECK_TIMEOUT, parts::check(site)),
        part("status.json", PART_TIMEOUT, parts::page(site, "/status")),
        part("readyz.json", PART_TIMEOUT, parts::page(site, "/readyz")),
        part("metrics.txt", PART_TIMEOUT, parts::page(site, "/metrics")),
        part("consumer.log", PART_TIMEOUT, parts::log(site)),
        part("ledger.json", PART_TIMEOUT, parts::ledger(site)),
        part("dead-letters.txt", PART_TIMEOUT, parts::dead_letters(site)),
        part("versions.txt", PART_TIMEOUT, parts::versions(site)),
        part("machine.txt", PART_TIMEOUT, parts::machine()),
    ]
}

fn part<'a>(
    name: &'static str,
    limit: Duration,
    work: impl Future<Output = anyhow::Result<String>> + Send + 'a,
) -> BoxFuture<'a, Part> {
    Box::pin(async move {
        match timeout(limit, work).await {
            Ok(Ok(text)) => Part::whole(name, text),
            Ok(Err(error)) => Part::failed(name, Chain(&*error).to_string()),
            Err(_) => Part::failed(name, format!("no answer in {limit:?}")),
        }
    })
}
