//! The parts of the archive. Each returns its text, or why there is none.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use footprint_service::clickhouse::client;
use footprint_service::config::Config;
use footprint_service::kafka::{Inquirer, client_version};
use footprint_service::pages::text_at;
use footprint_service::postgres::session::Purpose;
use footprint_service::postgres::{PostgresError, connect};
use footprint_service::report::Chain;
use tokio::process::Command;

/// Bytes of the end of consumer.log.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Bytes of one file that describes the machine.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// Rows of one ledger table.
const ROWS_MAX: i64 = 2_000;
/// How long Kafka may take to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);

/// What the parts need.
pub(super) struct Site {
    pub(super) config: Config,
    /// The configuration file.
    pub(super) file: Option<PathBuf>,
    /// Where the consumer listens.
    pub(super) listen: String,
}

/// The output of `footprint check`, as a process of its own: it is what a person sees, and its deadline ends it.
pub(super) async fn check(site: &Site) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("the program's own file is not known")?;
    let mut command = Command::new(program);
    if let Some(file) = &site.file {
        command.arg("--config").arg(file);
    }
    command.arg("check").stdin(Stdio::null()).kill_on_drop(true);
    let ended = command.output().await.context("check cannot be started")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let status = ended.status.code().map_or_else(|| "a signal".to_owned(), |code| code.to_string());
    Ok(format!("{}{}exit status: {status}\n", text(&ended.stdout), text(&ended.stderr)))
}

/// A page of the running consumer.
pub(super) async fn page(site: &Site, path: &'static str) -> anyhow::Result<String> {
    if site.listen.is_empty() {
        bail!("telemetry.listen is empty, so no consumer can be asked; --at HOST:PORT says where it listens");
    }
    Ok(text_at(&site.listen, path).await?)
}

/// The end of consumer.log, from the beginning of a line on.
pub(super) async fn log(site: &Site) -> anyhow::Result<String> {
    let directory = site.config.telemetry.log_dir.clone();
    if directory.as_os_str().is_empty() {
        bail!("telemetry.log_dir is empty, so there is no consumer.log; the log is on standard error alone");
    }
    let path = directory.join("consumer.log");
    let name = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || end_of(&path, LOG_BYTES_MAX));
    read.await.context("the thread that reads the log ended early")?.with_context(|| format!("{name} cannot be read"))
}

/// The last bytes of a file. A line that is cut at the front is left out.
fn end_of(path: &Path, bytes_max: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match text.split_once('\n') {
        Some((_, rest)) if start > 0 => rest.to_owned(),
        _ => text,
    })
}

/// The ledger's tables as JSON: of each the rows of the configured routes, and those that belong to no route.
pub(super) async fn ledger(site: &Site) -> anyhow::Result<String> {
    let client = connect(&site.config.postgres, "footprint diagnose", Purpose::Check).await?;
    let names = client.query(
        "select c.relname::text from pg_class c join pg_class l on l.oid = to_regclass('footprint_ledger') \
         and c.relnamespace = l.relnamespace where c.relkind = 'r' and c.relname like 'footprint\\_%' order by 1",
        &[],
    );
    let names = names.await.map_err(PostgresError::from)?;
    if names.is_empty() {
        bail!("there is no ledger; run `footprint migrate`");
    }
    let routes: Vec<&str> = site.config.routes.iter().map(|route| route.name.as_str()).collect();
    let mut tables = serde_json::Map::new();
    for name in names {
        let name: &str = name.get(0);
        // the catalog gave the name, and it has no quote: it is one of ours
        let sql = format!(
            "select to_jsonb(t)::text from {name} t where to_jsonb(t)->>'route' is null or to_jsonb(t)->>'route' = any($1) limit $2"
        );
        let rows = match client.query(&sql, &[&routes, &ROWS_MAX]).await {
            Ok(rows) => rows
                .iter()
                .map(|row| serde_json::from_str(row.get(0)))
                .collect::<Result<Vec<serde_json::Value>, _>>()?
                .into(),
            Err(error) => serde_json::Value::from(Chain(&PostgresError::from(error)).to_string()),
        };
        tables.insert(name.to_owned(), rows);
    }
    Ok(serde_json::to_string_pretty(&tables)?)
}

/// How many dead letters there are, by route, database and code. No payload is read.
pub(super) async fn dead_letters(site: &Site) -> anyhow::Result<String> {
    let client = connect(&site.config.postgres, "footprint diagnose", Purpose::Check).await?;
    let sql = "select route, sink, split_part(reason, ':', 1), count(*), min(stored_at)::text, max(stored_at)::text \
               from dead_letters group by 1, 2, 3 order by 1, 2, 3";
    let rows = client.query(sql, &[]).await.map_err(PostgresError::from)?;
    let mut text = format!("{} kinds\n", rows.len());
    for row in rows {
        let (route, sink, code): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let (count, first, last): (i64, &str, &str) = (row.get(3), row.get(4), row.get(5));
        // writing to a String does not fail
        let _ = writeln!(text, "{route} {sink} {code}: {count}, stored from {first} to {last}");
    }
    Ok(text)
}

/// The versions of the program, its client of Kafka, and the servers. A server that does not answer is one line.
pub(super) async fn versions(site: &Site) -> anyhow::Result<String> {
    let config = &site.config;
    let postgres = async {
        let client = connect(&config.postgres, "footprint diagnose", Purpose::Check).await?;
        let row = client.query_one("select version()", &[]).await.map_err(PostgresError::from)?;
        anyhow::Ok(row.get::<_, String>(0))
    };
    let clickhouse = async {
        let answer = client(&config.clickhouse).query("select version()").fetch_all::<String>().await?;
        anyhow::Ok(answer.concat())
    };
    let settings = config.kafka.clone();
    let kafka = async {
        let asked = tokio::task::spawn_blocking(move || Inquirer::new(&settings)?.cluster_id(KAFKA_TIMEOUT));
        let cluster = asked.await.context("the thread that asks kafka ended early")??;
        anyhow::Ok(format!("cluster {cluster} answers; brokers do not tell their version"))
    };
    let (postgres, clickhouse, kafka) = tokio::join!(postgres, clickhouse, kafka);
    let said =
        |answer: anyhow::Result<String>| answer.unwrap_or_else(|error| format!("not available: {}", Chain(&*error)));
    Ok(format!(
        "footprint {}\n{}\npostgresql: {}\nclickhouse: {}\nkafka: {}\n",
        env!("CARGO_PKG_VERSION"),
        client_version(),
        said(postgres),
        said(clickhouse),
        said(kafka)
    ))
}

/// Files of the kernel that say what this machine is and what this process may use.
const FILES: [&str; 12] = [
    "/proc/version",
    "/etc/os-release",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/self/limits",
    "/proc/self/cgroup",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory.current",
    "/sys/fs/cgroup/cpu.max",
];

/// The machine: kernel, processors, memory, limits.
pub(super) async fn machine() -> anyhow::Result<String> {
    let read = tokio::task::spawn_blocking(|| {
        let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let model = read_start("/proc/cpuinfo", FILE_BYTES_MAX).ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let mut text = format!("processors: {processors} ({})\n", model.as_deref().unwrap_or("the model is not known"));
        for file in FILES {
            let content = match read_start(file, FILE_BYTES_MAX) {
                Ok(content) => content,
                Err(error) => format!("not available: {error}"),
            };
            let _ = write!(text, "\n{file}\n{}\n", content.trim_end());
        }
        text
    });
    read.await.context("the thread that reads files ended early")
}

fn read_start(path: &str, bytes_max: u64) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_begins_with_a_whole_line() {
        let path = std::env::temp_dir().join(format!("footprint-end-of-log-{}", std::process::id()));
        std::fs::write(&path, "first line\nsecond line\nthird\n").unwrap();
        assert_eq!(end_of(&path, 100).unwrap(), "first line\nsecond line\nthird\n");
        assert_eq!(end_of(&path, 15).unwrap(), "third\n");
        std::fs::remove_file(&path).unwrap();
        assert!(end_of(&path, 15).is_err());
    }
}
