//! `cargo stack`: starts the three servers, says how to reach them, and keeps them until Ctrl-C.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use footprint_stack::{APPLICATION_DATABASE, APPLICATION_USER, Progress, Stack, StackOptions};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the servers are looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Runs a real Kafka, PostgreSQL and ClickHouse on this machine, without containers, until Ctrl-C.
///
/// The first run downloads the servers (about 250 MB, with mvn and npm) into a cache:
/// $FOOTPRINT_CACHE, otherwise /var/cache/footprint for root, or ~/.cache/footprint.
/// They listen only on 127.0.0.1, on free ports, with new passwords.
/// For root, they run as nobody. None outlives this program, however it ends.
///
/// Standard output gets one `export NAME=value` line for each setting that
/// footprint reads. Everything else goes to standard error. So, in two terminals:
///
///   cargo stack --env-file .env   starts everything; footprint reads ./.env
///   footprint run --migrate       moves the topic's events into both databases
#[derive(Parser, Debug)]
#[command(name = "stack", version, verbatim_doc_comment)]
struct Arguments {
    /// Name of the topic to create.
    #[arg(long, default_value = "web-logs-topic")]
    topic: String,

    /// Partitions of the topic, if it has to be created.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    partitions: u16,

    /// Keep the data in this directory, for the next run [default: a temporary one, removed at the end].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Also write the settings to this file, as a .env (only its owner can read it, because it holds a password).
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("stack: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line for the person at the terminal. If standard error is closed, the servers keep running.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn run(arguments: Arguments) -> Result<()> {
    // Until the servers run, a signal ends this program at once, and the kernel ends its children.
    let progress = Progress::stderr();
    let stack = Stack::start(StackOptions { data_dir: arguments.data, progress, ..StackOptions::default() })?;
    // Before anything is printed to which a script may answer with a signal.
    let ending = Ending::listen()?;
    create_topic(&stack, &arguments.topic, arguments.partitions)?;
    let settings = settings(&stack, &arguments.topic)?;
    if let Some(path) = &arguments.env_file {
        write_env_file(path, &settings)?;
    }
    describe(&stack)?;
    let mut output = std::io::stdout().lock();
    for (name, value) in &settings {
        writeln!(output, "export {name}={value}").context("cannot write the settings")?;
    }
    output.flush().context("cannot write the settings")?;
    drop(output);
    say(format_args!("Ready; Ctrl-C ends all of them."));
    ending.wait(&stack)?;
    say(format_args!("Stopping."));
    // Ended cleanly and one after the other: after an abrupt drop, kept data would need a recovery.
    for server in stack.servers() {
        server.stop()?;
    }
    Ok(())
}

fn create_topic(stack: &Stack, topic: &str, partitions: u16) -> Result<()> {
    let kafka = stack.kafka()?;
    match kafka.partition_count(topic)? {
        None => kafka.create_topic(topic, partitions, &[])?,
        Some(found) if found != usize::from(partitions) => {
            say(format_args!("Topic {topic} is there with {found} partitions; it is not changed."));
        }
        Some(_) => {}
    }
    Ok(())
}

/// The variables of the old Python consumer, which footprint reads too. No value needs quoting.
fn settings(stack: &Stack, topic: &str) -> Result<Vec<(&'static str, String)>> {
    let (postgres, clickhouse) = (stack.postgres()?, stack.clickhouse()?);
    Ok(vec![
        ("BOOTSTRAP_SERVER", stack.kafka()?.bootstrap().to_owned()),
        ("GROUP_ID", "footprint".to_owned()),
        ("TOPIC", topic.to_owned()),
        ("OFFSET_RESET_CONFIG", "earliest".to_owned()),
        ("DB_HOST", postgres.host().to_owned()),
        ("DB_PORT", postgres.port().to_string()),
        ("DB_NAME", APPLICATION_DATABASE.to_owned()),
        ("DB_USER", APPLICATION_USER.to_owned()),
        ("DB_PASSWORD", stack.user_password().to_owned()),
        ("CH_HOST", clickhouse.host().to_owned()),
        ("CH_PORT", clickhouse.http_port().to_string()),
        ("CH_USER", APPLICATION_USER.to_owned()),
        ("CH_PASSWORD", stack.user_password().to_owned()),
    ])
}

fn write_env_file(path: &Path, settings: &[(&str, String)]) -> Result<()> {
    let text: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn describe(stack: &Stack) -> Result<()> {
    for server in stack.servers() {
        say(format_args!("{}: pid {}, log {}", server.name(), server.pid()?, server.log_path().display()));
    }
    Ok(())
}

/// The signals that ask the program to end, caught from `listen` on.
struct Ending {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Ending {
    fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Returns on SIGINT or SIGTERM. Fails if a server ends by itself.
    fn wait(self, stack: &Stack) -> Result<()> {
        let Self { runtime, mut interrupt, mut terminate } = self;
        runtime.block_on(async {
            let mut look = tokio::time::interval(WATCH_INTERVAL);
            loop {
                // A request to end comes before the news that a server has ended.
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                    _ = look.tick() => if let Some((server, status)) = stack.ended() {
                        bail!("{} ended ({status}); its log ends with:\n{}", server.name(), server.log_tail());
                    },
                }
            }
        })
    }
}
