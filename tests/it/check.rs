//! `footprint check` on real servers: everything in place, each thing that can be wrong, and how it is printed.

mod clickhouse;
mod clocks;
mod found;
mod kafka;
mod postgres;
mod silent;

use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use footprint_service::config::Config;

use crate::support::databases::{Databases, fresh_database, runtime, told_by_environment};
use crate::support::{calm, stack};

/// What a person sees: the exit status and the lines.
fn printed(config: &Config) -> (i32, String) {
    let Output { status, stdout, .. } = told_by_environment(config, "check").output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

/// A database with everything in place.
fn ready(what: &str) -> Databases {
    let databases = fresh_database(what);
    stack().kafka().unwrap().create_topic(&databases.config.routes[0].topic, 2, &[]).unwrap();
    runtime().block_on(databases.migrate());
    databases
}

#[test]
fn with_everything_in_place_there_is_no_fault() {
    let _up = calm();
    let databases = ready("check");
    let (status, text) = printed(&databases.config);
    assert_eq!(status, 0, "{text}");
    for part in ["2 partitions", "producer's clock (CreateTime)", "postgresql fsync: ", "fsync_after_insert"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(text.lines().all(|line| line.starts_with("ok    ") || line.starts_with("note  ")), "{text}");
}

#[test]
fn an_empty_installation_is_told_to_migrate() {
    let _up = calm();
    let databases = fresh_database("check_empty");
    let (status, text) = printed(&databases.config);
    let faults: Vec<&str> = text.lines().filter(|line| line.starts_with("FAULT")).collect();
    assert_eq!(status, 3);
    assert!(faults[0].contains("does not exist; set TOPIC to the right name, or run: kafka-topics.sh"), "{text}");
    assert!(faults[1..].iter().all(|fault| fault.contains("footprint migrate")) && faults.len() >= 3, "{text}");
    assert_eq!(text.lines().last(), Some(format!("{} faults", faults.len()).as_str()));
    runtime().block_on(databases.migrate());
    stack().kafka().unwrap().create_topic(&databases.config.routes[0].topic, 1, &[]).unwrap();
    found::check(&databases.config).is_clean();
}

#[test]
fn an_adopted_order_is_told_and_no_fault() {
    let _up = calm();
    let databases = fresh_database("check_adopted").for_adopter();
    stack().kafka().unwrap().create_topic(&databases.config.routes[0].topic, 1, &[]).unwrap();
    databases.clickhouse_query(
        "create table {db}.user_footprint (link String, request LowCardinality(String), \
         footprint_time DateTime64(6, 'UTC')) engine MergeTree order by (request, footprint_time)",
    );
    runtime().block_on(databases.migrate());
    let (status, text) = printed(&databases.config);
    assert_eq!(status, 0, "{text}");
    assert!(
        text.contains("adopted, keeps its order by request, footprint_time; adopted, stays without partitions"),
        "{text}"
    );
}

/// A port of another loopback address that forwards to a port of 127.0.0.1.
fn forwarded(from: &str, port: u16) -> u16 {
    let listener = TcpListener::bind((from, 0)).unwrap();
    let forwarded = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for near in listener.incoming() {
            let near = near.unwrap();
            let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                thread::spawn(move || {
                    // the end of either side ends both
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    forwarded
}

#[test]
fn a_host_may_be_an_address_of_ipv6_with_brackets_or_without() {
    let _up = calm();
    let mut databases = ready("check_ipv6");
    databases.config.postgres.port = forwarded("::1", databases.config.postgres.port);
    databases.config.clickhouse.port = forwarded("::1", databases.config.clickhouse.port);
    for host in ["::1", "[::1]"] {
        databases.config.postgres.host = host.to_owned();
        databases.config.clickhouse.host = host.to_owned();
        let (status, text) = printed(&databases.config);
        assert_eq!(status, 0, "{host}: {text}");
        for port in [databases.config.postgres.port, databases.config.clickhouse.port] {
            assert!(text.contains(&format!("[::1]:{port}")), "{text}");
        }
    }
}

/// The same command, but it sees `file` in place of `path`.
fn with_file(command: &Command, file: &Path, path: &str) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg(format!("mount --bind \"$0\" {path} && exec \"$@\""))
        .arg(file)
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
}

/// A server that accepts connections at the first address of a name, and never answers.
fn silent_before(port: u16) -> (u16, TcpListener) {
    let mut taken = Vec::new();
    loop {
        let forwarded = forwarded("127.0.0.2", port);
        match TcpListener::bind(("127.0.0.1", forwarded)) {
            Ok(silent) => return (forwarded, silent),
            // another program has that port at the first address: use another
            Err(error) => taken.push(error),
        }
        assert!(taken.len() < 20, "{taken:?}");
    }
}

/// The story: a name had two addresses, and the server at the first one was silent. The second one was never tried.
#[test]
fn of_a_name_with_two_addresses_the_second_answers_where_the_first_is_silent() {
    let _up = calm();
    let mut databases = ready("check_names");
    let (postgres, silent) = silent_before(databases.config.postgres.port);
    let (clickhouse, also_silent) = silent_before(databases.config.clickhouse.port);
    (databases.config.postgres.port, databases.config.clickhouse.port) = (postgres, clickhouse);
    for host in [&mut databases.config.postgres.host, &mut databases.config.clickhouse.host] {
        *host = "databases.test".to_owned();
    }
    let hosts = Path::new(env!("CARGO_TARGET_TMPDIR")).join("two-addresses");
    std::fs::write(&hosts, "127.0.0.1 localhost\n127.0.0.1 databases.test\n127.0.0.2 databases.test\n").unwrap();
    let begun = Instant::now();
    let output = with_file(&told_by_environment(&databases.config, "check"), &hosts, "/etc/hosts").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let elsewhere = "if it is 0, OSIOWaitMicroseconds is blank; on databases.test, run: sysctl kernel.task_delayacct";
    assert!(said.contains(elsewhere), "for all that it knows, the host is another machine: {said}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    for silent in [silent, also_silent] {
        silent.set_nonblocking(true).unwrap();
        silent.accept().expect("the first address was tried");
    }
}
