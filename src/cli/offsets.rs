//! `footprint offsets`: shows where the storing of each partition stands, and changes it when a person decides so.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use comfy_table::{CellAlignment, Table};
use footprint_event::route::Route;
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::Config;
use footprint_service::console::Output;

use crate::cli::{Exit, partition_table};
use crate::upkeep::offsets::{Change, Mode, PartitionOffsets, accept_gap, offsets, rewind_to, skip_to};

/// Show where each partition stands, skip records, store a range again, or accept what retention deleted
///
/// The ledger in PostgreSQL says where storing goes on. Kafka's own tools move only what the group has committed, which footprint
/// overwrites. Each change first only says what it would do; --yes does it, in one transaction that ends the present ownership. A
/// running consumer then takes the partition over again by itself.
#[derive(clap::Args, Debug)]
pub struct OffsetsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Show(ShowArgs),
    Skip(SkipArgs),
    Rewind(RewindArgs),
    AcceptGap(AcceptGapArgs),
}

/// Show each partition: the log, where each database goes on, pending claims, the commit, gaps and the owner
#[derive(clap::Args, Debug)]
struct ShowArgs {
    /// Only this route
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only this partition
    #[arg(long, value_name = "P")]
    partition: Option<Partition>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Which partition, and whether to do it.
#[derive(clap::Args, Debug)]
struct Place {
    /// The route; needed if there are several
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// The partition
    #[arg(long, value_name = "P")]
    partition: Partition,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Never store the records below an offset that are not stored yet
///
/// Each database goes on at the offset. What it lacks below is recorded in footprint_gap, which `verify` honours: these records are in
/// neither database, and are no dead letters. What is stored already stays. Consumers may run meanwhile.
#[derive(clap::Args, Debug)]
struct SkipArgs {
    #[command(flatten)]
    place: Place,
    /// The next offset to store
    #[arg(long, value_name = "OFFSET")]
    to: Offset,
}

/// Store everything from an offset on again, if neither database holds any of it
///
/// It is for tables that were emptied on purpose. It is refused while a database holds a row of the partition at the offset or above,
/// because that row would be stored twice. For some missing rows, use `footprint verify --repair`. The dead letters and gaps from the
/// offset on are deleted: they are found again. Stop the consumers first.
#[derive(clap::Args, Debug)]
struct RewindArgs {
    #[command(flatten)]
    place: Place,
    /// The next offset to store
    #[arg(long, value_name = "OFFSET")]
    to: Offset,
}

/// Give up the records that retention deleted before they were stored, and go on at the log's start
///
/// Without this, and under kafka.on_lost_records = "stop", the route stops at such a partition. The gap is recorded in footprint_gap. If
/// the route has ended, start the consumer again.
#[derive(clap::Args, Debug)]
struct AcceptGapArgs {
    #[command(flatten)]
    place: Place,
}

/// Runs the command.
///
/// # Errors
/// A server does not answer, or the offsets cannot be changed so.
pub async fn run(args: &OffsetsArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let (place, change) = match &args.command {
        Command::Show(args) => return show(args, config, output).await,
        Command::Skip(SkipArgs { place, to }) => {
            let route = place.route(config)?;
            (place, skip_to(config, route, place.partition, *to, place.mode()).await)
        }
        Command::Rewind(RewindArgs { place, to }) => {
            let route = place.route(config)?;
            (place, rewind_to(config, route, place.partition, *to, place.mode()).await)
        }
        Command::AcceptGap(AcceptGapArgs { place }) => {
            let route = place.route(config)?;
            (place, accept_gap(config, route, place.partition, place.mode()).await)
        }
    };
    let change = change.context("nothing was changed")?;
    if place.json {
        output.line(serde_json::to_string(&change)?);
    } else {
        output.line(text(&change));
    }
    Ok(Exit::Done)
}

impl Place {
    fn mode(&self) -> Mode {
        if self.yes { Mode::Do } else { Mode::DryRun }
    }

    fn route<'a>(&self, config: &'a Config) -> anyhow::Result<&'a Route> {
        match (&self.route, config.routes.as_slice()) {
            (None, [route]) => Ok(route),
            (None, _) => bail!("there are several routes: name one with --route"),
            (Some(name), routes) => {
                let found = routes.iter().find(|route| route.name == *name);
                found.with_context(|| format!("no route is called {name}; see [[routes]] of the configuration"))
            }
        }
    }
}

/// What a change did or would do, for people.
fn text(change: &Change) -> String {
    let mut lines = vec![format!("route {} partition {}", change.route, change.partition)];
    let (before, after) = (change.before, change.after);
    for (name, before, after) in [
        ("postgresql", before.postgres, after.postgres),
        ("clickhouse", before.clickhouse, after.clickhouse),
        ("dead letters", Some(before.dead_letters), Some(after.dead_letters)),
    ] {
        lines.push(match (before, after) {
            (Some(before), Some(after)) if before != after => {
                format!("  {name}: goes on at {after} instead of {before}")
            }
            (Some(before), _) => format!("  {name}: goes on at {before} as before"),
            (None, _) => format!("  {name}: off"),
        });
    }
    for gap in &change.gaps {
        let place = if gap.database == "both" { "either database" } else { gap.database.as_str() };
        let never = if change.done { "are never stored" } else { "would never be stored" };
        lines.push(format!(
            "  offsets [{}, {}) {never} in {place}: {} of them",
            gap.start,
            gap.end,
            gap.end - gap.start
        ));
    }
    lines.push(if change.done { "done".into() } else { "nothing was changed; add --yes to do it".into() });
    lines.join("\n")
}

async fn show(args: &ShowArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let wanted = |route: &&Route| args.route.as_ref().is_none_or(|name| *name == route.name);
    if let Some(name) = args.route.as_ref().filter(|_| !config.routes.iter().any(|route| wanted(&route))) {
        bail!("no route is called {name}; see [[routes]] of the configuration");
    }
    let mut seen = 0;
    for route in config.routes.iter().filter(wanted) {
        let partitions = offsets(config, route, args.partition).await?;
        seen += partitions.len();
        if args.json {
            for partition in &partitions {
                output.line(serde_json::to_string(partition)?);
            }
            continue;
        }
        output.line(format_args!("route {} (topic {})", route.name, route.topic));
        if partitions.is_empty() {
            output.line("the ledger knows no such partition: nothing has been read of it");
            continue;
        }
        output.line(table(&partitions, Table::new().width().map(usize::from)));
        owners(&partitions).iter().for_each(|line| output.line(line));
        for partition in &partitions {
            for gap in &partition.gaps {
                output.line(format_args!(
                    "  gap: partition {} [{}, {}) {}",
                    partition.partition, gap.start, gap.end, gap.database
                ));
            }
            if partition.lost.is_some_and(|lost| lost > 0) {
                output.line(format_args!(
                    "  lost: partition {}: retention has deleted records that are not stored; see `footprint offsets accept-gap`",
                    partition.partition
                ));
            }
        }
    }
    // a program that asks for one partition should notice that there is none
    Ok(if seen == 0 && args.partition.is_some() { Exit::Failed } else { Exit::Done })
}

/// A line for each owner, with its partitions.
fn owners(partitions: &[PartitionOffsets]) -> Vec<String> {
    let mut owners: BTreeMap<&str, (Vec<String>, f64)> = BTreeMap::new();
    for partition in partitions {
        let (of, age_s) = owners.entry(partition.owner.as_deref().unwrap_or("nobody")).or_default();
        of.push(partition.partition.to_string());
        *age_s = age_s.max(partition.owner_age_seconds);
    }
    let line = |(owner, (of, age_s)): (&str, (Vec<String>, f64))| {
        let partitions = if of.len() == 1 { "partition" } else { "partitions" };
        format!("  owner: {owner}, renewed {age_s:.0} s ago: {partitions} {}", of.join(", "))
    };
    owners.into_iter().map(line).collect()
}

const HEADINGS: [&str; 10] =
    ["part", "log start", "log end", "pg next", "ch next", "dead next", "claims", "committed", "lag", "epoch"];

/// One line for each partition, or one line for each number if the terminal is too narrow.
fn table(partitions: &[PartitionOffsets], width: Option<usize>) -> String {
    let rows: Vec<_> = partitions.iter().map(cells).collect();
    partition_table::table(&HEADINGS, &rows, width, CellAlignment::Left)
}

fn cells(partition: &PartitionOffsets) -> [String; HEADINGS.len()] {
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let next = |next: Option<Offset>, stopped: Option<Offset>| match (next, stopped) {
        (Some(next), _) => next.to_string(),
        (None, Some(stopped)) => format!("off {stopped}"),
        (None, None) => "off".to_owned(),
    };
    [
        partition.partition.to_string(),
        number(partition.log_start),
        number(partition.log_end),
        next(partition.postgres_next, partition.postgres_stopped),
        next(partition.clickhouse_next, partition.clickhouse_stopped),
        partition.dead_letters_next.to_string(),
        partition.claims.len().to_string(),
        number(partition.committed),
        number(partition.lag),
        partition.epoch.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upkeep::offsets::{Frontiers, ShownGap};

    fn partition(number: Partition, owner: &str) -> PartitionOffsets {
        PartitionOffsets {
            route: "user_footprint".into(),
            source: 1,
            partition: number,
            log_start: Some(0),
            log_end: Some(1_000_000),
            committed: None,
            postgres_next: Some(999_000),
            clickhouse_next: None,
            postgres_stopped: None,
            clickhouse_stopped: Some(7),
            dead_letters_next: 999_000,
            claimed: 999_000,
            claims: Vec::new(),
            lag: Some(1_000),
            lost: Some(0),
            gaps: Vec::new(),
            epoch: 3,
            owner: Some(owner.into()),
            owner_age_seconds: f64::from(number),
        }
    }

    #[test]
    fn a_narrow_terminal_gets_a_line_for_each_number() {
        let partitions = [partition(0, "a"), partition(1, "a")];
        let wide = table(&partitions, Some(120));
        assert!(wide.lines().count() == 6 && wide.contains("off 7"), "{wide}");
        let narrow = table(&partitions, Some(40));
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        assert_eq!(narrow.lines().count(), 2 * (HEADINGS.len() + 2));
    }

    #[test]
    fn owners_are_named_once() {
        let lines = owners(&[partition(0, "a"), partition(1, "b"), partition(2, "a")]);
        assert_eq!(lines, ["  owner: a, renewed 2 s ago: partitions 0, 2", "  owner: b, renewed 1 s ago: partition 1"]);
    }

    #[test]
    fn a_change_says_what_moves_and_what_is_never_stored() {
        let frontiers = |next| Frontiers { postgres: Some(next), clickhouse: None, dead_letters: next };
        let gaps = vec![ShownGap { database: "both".into(), start: 5, end: 9 }];
        let (before, after) = (frontiers(5), frontiers(9));
        let change = Change { route: "r".into(), partition: 3, done: false, before, after, gaps };
        let expected = "route r partition 3\n  postgresql: goes on at 9 instead of 5\n  clickhouse: off\n  dead letters: goes on at 9 \
                        instead of 5\n  offsets [5, 9) would never be stored in either database: 4 of them\nnothing was changed; add \
                        --yes to do it";
        assert_eq!(text(&change), expected);
    }
}
