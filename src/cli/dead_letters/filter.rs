//! The flags that say which dead letters are meant.

use anyhow::bail;
use footprint_event::normalize::{Zone, instant_of_text};
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::Config;

use crate::ledger::statements::letters::Filter;

/// Which dead letters are meant. Without any of these, all are.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct FilterArgs {
    /// Only of this route
    #[arg(long, value_name = "NAME")]
    pub(super) route: Option<String>,
    /// Only with this reason: the code before the colon, such as bad_time
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only those whose row this database lacks: both, postgres or clickhouse
    #[arg(long, value_name = "DATABASE")]
    database: Option<LackedBy>,
    /// Only of this partition
    #[arg(long, value_name = "P")]
    partition: Option<Partition>,
    /// Only at this offset or above
    #[arg(long, value_name = "OFFSET")]
    from: Option<Offset>,
    /// Only below this offset
    #[arg(long, value_name = "OFFSET")]
    to: Option<Offset>,
    /// Only of this life of the topic: a number in the column kafka_source
    #[arg(long, value_name = "SOURCE")]
    source: Option<i64>,
    /// Only records that Kafka received at this time or later, such as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<i64>,
    /// Only records that Kafka received before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<i64>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum LackedBy {
    Both,
    Postgres,
    Clickhouse,
}

/// Reads RFC 3339, or the same without an offset in UTC, or a date alone.
fn instant(text: &str) -> Result<i64, String> {
    let is_date = text.len() == "2026-01-02".len();
    let text = if is_date { format!("{text}T00:00:00") } else { text.to_owned() };
    instant_of_text(&text, Zone::UTC).map_err(|why| format!("{why}; write it like 2026-01-02T03:04:05Z"))
}

impl FilterArgs {
    /// The filter.
    ///
    /// # Errors
    /// The route is not configured.
    pub(super) fn filter(&self, config: &Config) -> anyhow::Result<Filter> {
        if let Some(route) = self.route.as_ref().filter(|name| !config.routes.iter().any(|route| route.name == **name))
        {
            bail!("no route is called {route}; see [[routes]] of the configuration");
        }
        let database = self.database.map(|database| match database {
            LackedBy::Both => "both",
            LackedBy::Postgres => "postgres",
            LackedBy::Clickhouse => "clickhouse",
        });
        Ok(Filter {
            route: self.route.clone(),
            source: self.source,
            partition: self.partition,
            from: self.from,
            to: self.to,
            database: database.map(str::to_owned),
            reason: self.reason.clone(),
            since_us: self.since,
            until_us: self.until,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_a_date_is_its_midnight() {
        assert_eq!(instant("1970-01-02"), Ok(86_400_000_000));
        assert_eq!(instant("1970-01-01T00:00:01"), Ok(1_000_000));
        assert_eq!(instant("1970-01-01T01:00:01+01:00"), Ok(1_000_000));
        assert!(instant("yesterday").is_err_and(|why| why.contains("write it like")));
    }
}
