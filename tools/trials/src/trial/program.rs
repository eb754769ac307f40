//! The real `footprint` program: built once, then run as child processes that cannot outlive us.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use footprint_stack::{spawn, tail};

use super::fixture::Fixture;
use super::process::{Output, Process};

/// How many bytes of the log's end a failure shows.
const LOG_TAIL_BYTES: usize = 4_000;
/// The time limit of a command that ends by itself, however much it has to do.
const COMMAND_LIMIT: Duration = Duration::from_secs(3_600);
/// Variables that may be meant for another footprint, in addition to those that begin with `FOOTPRINT_`.
const OTHER_VARIABLES: [&str; 4] = ["GROUP_ID", "LOG_DIR", "LOG_LEVEL", "OFFSET_RESET_CONFIG"];

/// Builds `footprint` in the profile of this program, shows cargo's progress, and returns the program's path. Returns `given` instead if it
/// is set. Without cargo, it takes the program beside this one.
///
/// # Errors
/// The program does not compile, or there is none.
pub fn build(given: Option<&Path>) -> Result<PathBuf> {
    build_named("footprint", &[], given)
}

/// Does the same as [`build`], for `footprint-failpoints`, which dies at a named point.
///
/// # Errors
/// The program does not compile, or there is none.
pub fn build_with_failpoints(given: Option<&Path>) -> Result<PathBuf> {
    build_named("footprint-failpoints", &["--features", "footprint/failpoints"], given)
}

fn build_named(name: &str, features: &[&str], given: Option<&Path>) -> Result<PathBuf> {
    if let Some(file) = given {
        ensure!(file.is_file(), "{} is not a file: name the footprint program", file.display());
        return std::path::absolute(file).context("cannot find the footprint program");
    }
    let ours = env::current_exe().context("cannot find this program's own file")?;
    let directory = ours.parent().context("this program lies in no directory")?;
    let file = directory.join(name);
    let (Some(cargo), Some(package)) = (env::var_os("CARGO"), env::var_os("CARGO_MANIFEST_DIR")) else {
        ensure!(file.is_file(), "no {}: start this with cargo, or name the program with --footprint", file.display());
        return Ok(file);
    };
    let workspace = Path::new(&package).ancestors().nth(2).context("the package lies in no workspace")?;
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    // From the workspace's root and without --package: so cargo resolves the same features as for this program, and
    // builds no dependency twice.
    let mut command = Command::new(cargo);
    command.args(["build", "--profile", profile, "--bin", name]).args(features).current_dir(workspace);
    for (name, _) in env::vars_os() {
        // These variables come from `cargo run` and describe this program. The nested cargo must not see them.
        if name.to_str().is_some_and(|name| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|ours| name.starts_with(ours)))
        {
            command.env_remove(&name);
        }
    }
    let status = spawn(command).and_then(|mut child| child.wait()).context("cannot run cargo")?;
    ensure!(status.success(), "{name} does not build ({status}): see above");
    Ok(file)
}

/// The program with its settings, which lead it to the servers.
#[derive(Clone, Debug)]
pub struct Program {
    file: PathBuf,
    directory: PathBuf,
    environment: Vec<(String, String)>,
}

/// What `footprint generate` has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Records that can be stored.
    pub good: u64,
    /// Records that become dead letters.
    pub bad: u64,
}

impl Program {
    /// Takes the program `file` with the settings of `fixture`. It logs to the stack's directory.
    ///
    /// # Errors
    /// The stack lacks a server.
    pub fn new(file: PathBuf, fixture: &Fixture<'_>) -> Result<Self> {
        let environment = fixture.settings()?.into_iter().map(|setting| (setting.variable.to_owned(), setting.value));
        Ok(Self { file, directory: fixture.stack.directory().to_owned(), environment: environment.collect() })
    }

    /// Sets one of the program's environment names; the last value counts.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(found, _)| found != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Its settings, as environment names and values.
    pub fn settings(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The file that `migrate` and every consumer log to.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("footprint.log")
    }

    /// The last lines of that log.
    pub fn log_tail(&self) -> String {
        tail(&self.log_path(), LOG_TAIL_BYTES)
    }

    /// Starts `footprint` with `arguments`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, arguments: &[&str], stdout: Output<'_>, stderr: Output<'_>) -> Result<Process> {
        let mut command = Command::new(&self.file);
        // Neither settings that were meant for another footprint nor a .env file may reach this one.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("FOOTPRINT_") || OTHER_VARIABLES.contains(&text.as_ref()) {
                command.env_remove(&name);
            }
        }
        command.args(arguments).envs(self.environment.iter().cloned()).current_dir(&self.directory);
        Process::start(command, &format!("footprint {}", arguments.join(" ")), stdout, stderr)
    }

    /// Starts `footprint run` with `arguments`; it logs to `log_path`.
    ///
    /// # Errors
    /// It does not start.
    pub fn consumer(&self, arguments: &[&str]) -> Result<Process> {
        let log = self.log_path();
        self.start(&[&["run"], arguments].concat(), Output::File(&log), Output::File(&log))
    }

    /// Runs `footprint migrate` to its end.
    ///
    /// # Errors
    /// It fails.
    pub fn migrate(&self) -> Result<()> {
        let log = self.log_path();
        self.start(&["migrate"], Output::File(&log), Output::File(&log))?.succeed(COMMAND_LIMIT).map(drop)
    }

    /// Runs `footprint verify` to its end. Its report goes to our standard output.
    ///
    /// # Errors
    /// It found a fault, or could not verify.
    pub fn verify(&self) -> Result<()> {
        let ended = self.start(&["verify"], Output::Ours, Output::Ours)?.wait(COMMAND_LIMIT)?;
        match ended.status.code() {
            Some(0) => Ok(()),
            Some(3) => bail!("footprint verify found a fault: see its report above"),
            _ => bail!("footprint verify could not verify ({})", ended.status),
        }
    }

    /// Starts `footprint generate` with `arguments`.
    ///
    /// # Errors
    /// It does not start.
    pub fn generate(&self, arguments: &[&str]) -> Result<Generate> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let said = self.directory.join(format!("generate-{number}.out"));
        // With a fresh broker, librdkafka warns of requests that it then tries again.
        let arguments = [&["generate"], arguments, &["--log", "error"]].concat();
        Ok(Generate(self.start(&arguments, Output::File(&said), Output::Ours)?))
    }

    fn log(&self) -> Result<File> {
        let path = self.log_path();
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes a line of our own into the log, so that it can be followed.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn note(&self, text: &str) -> Result<()> {
        writeln!(self.log()?, "--- {text}").context("cannot write the log")
    }
}

/// Shows the end of the program's log on standard error. The stack's directory is removed with the stack, so the log is copied to the
/// directory for temporary files.
pub fn keep_log(name: &str, program: &Program) {
    let kept = env::temp_dir().join(format!("footprint-{name}-{}.log", std::process::id()));
    let tail = program.log_tail();
    match std::fs::copy(program.log_path(), &kept) {
        Ok(_) => eprintln!("The log of footprint, {}, ends with:\n{tail}", kept.display()),
        Err(error) => eprintln!("The log of footprint cannot be copied to {} ({error}):\n{tail}", kept.display()),
    }
}

/// A running `footprint generate`. Dropping this kills it.
#[derive(Debug)]
pub struct Generate(Process);

impl Generate {
    /// Asks the process to stop sending, as Ctrl-C does.
    pub fn stop(&self) {
        self.0.signal(libc::SIGINT);
    }

    /// How the process ended. None while it runs.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.ended()?.map(|ended| ended.status))
    }

    /// Waits for the end of the process. Returns what it sent, and its output.
    ///
    /// # Errors
    /// The process fails, or its last line has an unknown form.
    pub fn finish(mut self) -> Result<(Sent, String)> {
        let status = self.0.wait(COMMAND_LIMIT)?.status;
        let said = self.0.stdout_text();
        // if it was asked to stop before it had sent everything, its exit status says so too
        let is_interrupted = said.trim_end().ends_with(", interrupted");
        ensure!(status.success() || is_interrupted, "footprint generate failed ({status})");
        let sent = parse_sent(&said).with_context(|| format!("footprint generate says {said:?}"))?;
        Ok((sent, said.trim().to_owned()))
    }
}

/// Reads `sent N records to TOPIC (P partitions): G good, B bad, in ...`.
fn parse_sent(said: &str) -> Option<Sent> {
    let mut parts = said.lines().last()?.split_once("partitions): ")?.1.split(", ");
    let good = parts.next()?.strip_suffix(" good")?.parse().ok()?;
    let bad = parts.next()?.strip_suffix(" bad")?.parse().ok()?;
    Some(Sent { good, bad })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_generate_is_understood() {
        let said = "sent 10 records to t (4 partitions): 7 good, 3 bad, in 0.01 s, 1000 a second\n";
        assert_eq!(parse_sent(said), Some(Sent { good: 7, bad: 3 }));
        assert_eq!(parse_sent("sent nothing"), None);
    }
}
