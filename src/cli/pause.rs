//! `footprint pause` and `footprint resume`: stop and continue a route, or one of its sinks, in every process that runs it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::bail;
use footprint_protocol::ledger::SinkName;
use footprint_service::config::Config;
use footprint_service::console::Output;
use footprint_service::escape::{Keep, escaped};

use crate::cli::Exit;
use crate::ledger::statements::Ledger;
use crate::ledger::statements::pauses::Pause;

/// Characters of a reason, at most.
const REASON_CHARS_MAX: usize = 500;

/// Pause a route, or one of its databases, in every process that runs it; without a route, list what is paused
///
/// A paused route stays in its consumer group. It reads nothing and claims nothing new; what was claimed before is stored. Kafka keeps the
/// records, so mind its retention.
///
/// With --sink, only the writers of that database wait. Reading goes on, and the other database is stored, until 64 batches of a
/// partition or the byte budget (pipeline.budget_bytes) wait for the paused one. Then the route stands still, and other routes of the
/// same process may have to wait for the budget too. So pause a sink for minutes, and a route for longer. If the process is stopped
/// meanwhile, it says that it has not drained, and the next start finishes the batches.
///
/// A pause is kept in the ledger: it holds until `footprint resume`, also for processes that start later. Running ones follow within
/// five seconds. /readyz, /status and `footprint health` show it as "paused", with the reason, who and when.
#[derive(clap::Args, Debug)]
pub struct PauseArgs {
    /// The route
    #[arg(value_name = "ROUTE", requires = "reason")]
    route: Option<String>,
    /// Only the writers of this database
    #[arg(long, value_name = "DATABASE", requires = "route")]
    sink: Option<Sink>,
    /// Why, for all who wonder
    #[arg(long, value_name = "TEXT", requires = "route")]
    reason: Option<String>,
}

/// Continue a route, or one of its databases, after `footprint pause`
///
/// Without --sink it ends the pause of the route itself. A database that was paused apart stays paused, and is named.
#[derive(clap::Args, Debug)]
pub struct ResumeArgs {
    /// The route
    #[arg(value_name = "ROUTE")]
    route: String,
    /// Only the writers of this database
    #[arg(long, value_name = "DATABASE")]
    sink: Option<Sink>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Sink {
    Postgres,
    Clickhouse,
}

impl From<Sink> for SinkName {
    fn from(sink: Sink) -> Self {
        match sink {
            Sink::Postgres => Self::Postgres,
            Sink::Clickhouse => Self::ClickHouse,
        }
    }
}

/// Pauses, or lists.
///
/// # Errors
/// The route is not configured, or the ledger cannot be written.
pub async fn pause(args: &PauseArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let (Some(route), Some(reason)) = (&args.route, &args.reason) else {
        for route in &config.routes {
            let pauses = ledger(config, &route.name).await?.pauses().await?;
            pauses.iter().for_each(|pause| output.line(line(&route.name, pause)));
        }
        return Ok(Exit::Done);
    };
    if reason.trim().is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        bail!("--reason must be a text of at most {REASON_CHARS_MAX} characters");
    }
    let sink = args.sink.map(SinkName::from);
    let ledger = ledger(config, route).await?;
    let is_new = ledger.pause(sink, reason.trim(), &who()).await?;
    let pauses = ledger.pauses().await?;
    for pause in pauses.iter().filter(|pause| pause.sink == sink) {
        output.line(line(route, pause));
    }
    output.line(match is_new {
        true => "running consumers follow within five seconds",
        false => "it was paused before; nothing was changed",
    });
    Ok(Exit::Done)
}

/// Resumes.
///
/// # Errors
/// The route is not configured, nothing of it is paused, or the ledger cannot be written.
pub async fn resume(args: &ResumeArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let ledger = ledger(config, &args.route).await?;
    let was_paused = ledger.resume(args.sink.map(SinkName::from)).await?;
    output.line(match was_paused {
        true => format!(
            "{} continues; running consumers follow within five seconds",
            what(&args.route, args.sink.map(SinkName::from))
        ),
        false => format!("{} was not paused", what(&args.route, args.sink.map(SinkName::from))),
    });
    for pause in ledger.pauses().await? {
        output.line(format!("still paused: {}", line(&args.route, &pause)));
    }
    Ok(Exit::Done)
}

async fn ledger(config: &Config, route: &str) -> anyhow::Result<Ledger> {
    if !config.routes.iter().any(|known| known.name == route) {
        bail!("no route is called {route:?}; see [[routes]] of the configuration");
    }
    Ok(Ledger::connect(&config.postgres, route, "footprint pause").await?)
}

fn what(route: &str, sink: Option<SinkName>) -> String {
    sink.map_or_else(|| format!("route {route}"), |sink| format!("{} of route {route}", sink.as_str()))
}

fn line(route: &str, pause: &Pause) -> String {
    // a person's words
    format!("{}: {}", what(route, pause.sink), escaped(&pause.to_string(), Keep::Nothing))
}

/// The user and the machine.
fn who() -> String {
    let uid = fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid());
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "an unknown host" } else { host.trim() };
    format!("{}@{host}", user_name(&users, uid))
}

/// The name of a user in the text of /etc/passwd; without one, the number.
fn user_name(users: &str, uid: u32) -> String {
    let uid = uid.to_string();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("user {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_or_a_number() {
        let users = "root:x:0:0:root:/root:/bin/bash\nfootprint:x:1001:1001::/:/bin/false\n";
        assert_eq!(user_name(users, 1001), "footprint");
        assert_eq!(user_name(users, 7), "user 7");
    }
}
