//! Downloads the servers once into the cache, with the ordinary package clients.
//!
//! The clients know the user's registries, mirrors and proxies, so none is named here. For integrity, Maven runs with strict
//! checksums and npm checks those of the lock file. The SHA-256 sums in `packages/` then pin the exact bytes. A download is
//! unpacked next to its final place and then renamed as a whole, so the final place is always complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::{Cache, make_directory, remove_tree};
use crate::deadline::Deadline;
use crate::error::StackError;
use crate::prerequisites;
use crate::progress::Progress;
use crate::tool;

/// Attempts of one download, and the time for one: a slow line needs minutes for ClickHouse's 178 MB.
const TRIES_MAX: u32 = 4;
const TRY_LIMIT: Duration = Duration::from_secs(20 * 60);
/// The pause before the second attempt. Each further pause is twice as long.
const BACKOFF_FIRST: Duration = Duration::from_secs(2);
/// How long unpacking, checking or compiling may take.
const LOCAL_LIMIT: Duration = Duration::from_secs(5 * 60);
/// How long to wait for another process that sets up the same cache: the time for all attempts of one download.
const LOCK_LIMIT: Duration = Duration::from_secs(80 * 60);

const MAVEN_DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1";

/// A server's files: their names, what is needed to get them, and how to put them into an empty directory.
struct Package {
    title: &'static str,
    /// The directory in the cache. It contains the version, so another version is another package.
    directory: &'static str,
    programs: &'static [&'static str],
    fetch: fn(&Path) -> Result<(), StackError>,
}

const KAFKA: Package = Package {
    title: "Kafka 4.1.1 (56 MB)",
    directory: "kafka-4.1.1",
    programs: &["java", "mvn", "sha256sum"],
    fetch: fetch_kafka,
};

const POSTGRES: Package = Package {
    title: "PostgreSQL 18.1 (15 MB)",
    directory: "postgresql-18.1",
    programs: &["java", "mvn", "tar", "xz", "sha256sum"],
    fetch: fetch_postgres,
};

const CLICKHOUSE: Package = Package {
    title: "ClickHouse 26.7 (178 MB)",
    directory: "clickhouse-26.7.3-1",
    programs: &["npm", "cc"],
    fetch: fetch_clickhouse,
};

/// Debian's package, in the version of this machine's Debian or Ubuntu.
const PROMETHEUS: Package = Package {
    title: "Prometheus (19 MB)",
    directory: "prometheus-debian",
    programs: &["apt-get", "dpkg-deb"],
    fetch: fetch_prometheus,
};

/// The servers that are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) kafka: bool,
    pub(crate) postgres: bool,
    pub(crate) clickhouse: bool,
}

/// Fails if something is missing to download, and to run, the servers that are not in the cache. It names everything at once.
pub(crate) fn check_prerequisites(cache: &Cache, wanted: Wanted) -> Result<(), StackError> {
    prerequisites::check_platform()?;
    let packages = [(wanted.kafka, &KAFKA), (wanted.postgres, &POSTGRES), (wanted.clickhouse, &CLICKHOUSE)];
    let mut programs = if wanted.kafka { vec!["java"] } else { vec![] };
    for (_, package) in packages.iter().filter(|(wanted, _)| *wanted) {
        if !cache.path(package.directory).is_dir() {
            programs.extend(package.programs);
        }
    }
    programs.sort_unstable();
    programs.dedup();
    prerequisites::check(&programs)
}

/// The directory with Kafka's jars. It is downloaded if needed.
pub(crate) fn kafka(cache: &Cache, progress: &Progress) -> Result<PathBuf, StackError> {
    ensure(cache, &KAFKA, progress)
}

/// The directory with PostgreSQL's `bin`, `lib` and `share`. It is downloaded if needed.
pub(crate) fn postgres(cache: &Cache, progress: &Progress) -> Result<PathBuf, StackError> {
    ensure(cache, &POSTGRES, progress)
}

/// The directory with ClickHouse's library and its compiled host program. It is downloaded if needed.
pub(crate) fn clickhouse(cache: &Cache, progress: &Progress) -> Result<PathBuf, StackError> {
    ensure(cache, &CLICKHOUSE, progress)
}

/// Prometheus's program: the one that is installed, or else one that is downloaded.
pub(crate) fn prometheus(cache: &Cache, progress: &Progress) -> Result<PathBuf, StackError> {
    prerequisites::check_platform()?;
    if let Some(installed) = prerequisites::find("prometheus") {
        return Ok(installed);
    }
    if !cache.path(PROMETHEUS.directory).is_dir() {
        prerequisites::check(PROMETHEUS.programs)?;
    }
    Ok(ensure(cache, &PROMETHEUS, progress)?.join("prometheus"))
}

fn ensure(cache: &Cache, package: &Package, progress: &Progress) -> Result<PathBuf, StackError> {
    let place = cache.path(package.directory);
    if place.is_dir() {
        return Ok(place);
    }
    let step = progress.step(&format!("Downloading {}", package.title));
    let _lock = cache.lock(&format!("{}.lock", package.directory), LOCK_LIMIT)?;
    // Another process may have been faster while this one waited.
    if !place.is_dir() {
        let unfinished = cache.path(&format!("{}.unfinished", package.directory));
        with_retries(|| {
            remove_tree(&unfinished)?;
            make_directory(&unfinished)?;
            (package.fetch)(&unfinished)
        })?;
        let whole = unfinished.join("whole");
        readable_by_all(&whole, &unfinished)?;
        fs::rename(&whole, &place).map_err(StackError::file("rename", &whole))?;
        remove_tree(&unfinished)?;
    }
    step.done();
    Ok(place)
}

fn with_retries(mut attempt: impl FnMut() -> Result<(), StackError>) -> Result<(), StackError> {
    let mut backoff = BACKOFF_FIRST;
    for _ in 1..TRIES_MAX {
        match attempt() {
            // A tool that failed or hung may have met a bad network. Any other error would come again.
            Err(StackError::Tool { .. } | StackError::Deadline { .. }) => {}
            other => return other,
        }
        let pause = Deadline::after(backoff);
        while !pause.passed() {
            std::thread::sleep(pause.remaining());
        }
        backoff *= 2;
    }
    attempt()
}

/// Every `fetch_*` works in `directory`, and leaves only its result, in `directory/whole`.
fn fetch_kafka(directory: &Path) -> Result<(), StackError> {
    let whole = directory.join("whole");
    make_directory(&whole)?;
    maven(directory, include_str!("packages/kafka-pom.xml"), "copy-dependencies", &whole)?;
    check_sums(directory, include_str!("packages/kafka.sha256"), &whole)
}

fn fetch_postgres(directory: &Path) -> Result<(), StackError> {
    let (whole, jar) = (directory.join("whole"), directory.join("jar"));
    make_directory(&whole)?;
    maven(directory, include_str!("packages/postgresql-pom.xml"), "unpack-dependencies", &jar)?;
    check_sums(directory, include_str!("packages/postgresql.sha256"), &jar)?;
    let mut tar = Command::new("tar");
    tar.arg("-xJf").arg(jar.join("postgres-linux-x86_64.txz")).arg("-C").arg(&whole);
    tool::run("tar", tar, &directory.join("tar.log"), LOCAL_LIMIT)
}

fn fetch_clickhouse(directory: &Path) -> Result<(), StackError> {
    let whole = directory.join("whole");
    make_directory(&whole)?;
    write(&directory.join("package.json"), include_str!("packages/clickhouse-package.json"))?;
    write(&directory.join("package-lock.json"), include_str!("packages/clickhouse-package-lock.json"))?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(directory);
    tool::run("npm", npm, &directory.join("npm.log"), TRY_LIMIT)?;
    let library = directory.join("node_modules/@chdb/lib-linux-x64-gnu/libchdb.so");
    fs::rename(&library, whole.join("libchdb.so")).map_err(StackError::file("move", &library))
}

/// With package lists of its own: the machine's may be old or missing, and only root may renew them. apt checks the package.
fn fetch_prometheus(directory: &Path) -> Result<(), StackError> {
    let (whole, lists, cache) = (directory.join("whole"), directory.join("lists"), directory.join("cache"));
    for path in [&whole, &lists.join("partial"), &cache.join("archives/partial")] {
        make_directory(path)?;
    }
    for arguments in [["update", "--quiet"].as_slice(), &["download", "--quiet", "prometheus"]] {
        let mut apt = Command::new("apt-get");
        apt.arg("-o").arg(format!("Dir::State::lists={}", lists.display()));
        apt.arg("-o").arg(format!("Dir::Cache={}", cache.display()));
        apt.args(arguments).current_dir(directory);
        tool::run("apt-get", apt, &directory.join("apt.log"), TRY_LIMIT)?;
    }
    let files = fs::read_dir(directory).map_err(StackError::file("read", directory))?;
    let package = files.flatten().map(|file| file.path()).find(|path| path.extension().is_some_and(|end| end == "deb"));
    let unpacked = directory.join("unpacked");
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("--extract").arg(package.unwrap_or_default()).arg(&unpacked);
    tool::run("dpkg-deb", dpkg, &directory.join("dpkg.log"), LOCAL_LIMIT)?;
    let program = unpacked.join("usr/bin/prometheus");
    fs::rename(&program, whole.join("prometheus")).map_err(StackError::file("move", &program))
}

/// Compiles ClickHouse's host program into the cache, under a name made of its source, so a changed source is a new program.
pub(crate) fn clickhouse_host(cache: &Cache) -> Result<PathBuf, StackError> {
    const SOURCE: &str = include_str!("clickhouse_host.c");
    let place = cache.path(&format!("clickhouse-host-{:016x}", fingerprint(SOURCE)));
    if place.is_file() {
        return Ok(place);
    }
    prerequisites::check(&["cc"])?;
    let _lock = cache.lock("clickhouse-host.lock", LOCAL_LIMIT)?;
    if !place.is_file() {
        let directory = cache.path("clickhouse-host.unfinished");
        remove_tree(&directory)?;
        make_directory(&directory)?;
        let (source, program) = (directory.join("host.c"), directory.join("host"));
        write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-std=gnu11", "-O1", "-Wall", "-pthread", "-o"]).arg(&program).arg(&source).arg("-ldl");
        tool::run("cc", compiler, &directory.join("cc.log"), LOCAL_LIMIT)?;
        readable_by_all(&program, &directory)?;
        fs::rename(&program, &place).map_err(StackError::file("rename", &program))?;
        remove_tree(&directory)?;
    }
    Ok(place)
}

/// FNV-1a: a name for a text, and no protection.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn maven(directory: &Path, pom: &str, goal: &str, output: &Path) -> Result<(), StackError> {
    write(&directory.join("pom.xml"), pom)?;
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--quiet", "--strict-checksums"])
        .arg(format!("{MAVEN_DEPENDENCY_PLUGIN}:{goal}"))
        .args(["-DincludeScope=runtime".to_owned(), format!("-DoutputDirectory={}", output.display())])
        .current_dir(directory);
    tool::run("mvn", maven, &directory.join("mvn.log"), TRY_LIMIT)
}

fn check_sums(directory: &Path, sums: &str, files: &Path) -> Result<(), StackError> {
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", "--quiet"]).current_dir(files);
    tool::run_fed("sha256sum", check, &directory.join("sums.log"), LOCAL_LIMIT, sums)
}

/// The servers may run as another user than the one that downloads, whose umask may be strict.
fn readable_by_all(path: &Path, directory: &Path) -> Result<(), StackError> {
    let mut chmod = Command::new("chmod");
    chmod.args(["-R", "a+rX"]).arg(path);
    tool::run("chmod", chmod, &directory.join("chmod.log"), LOCAL_LIMIT)
}

fn write(path: &Path, text: &str) -> Result<(), StackError> {
    fs::write(path, text).map_err(StackError::file("write", path))
}
