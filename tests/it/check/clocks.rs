//! A host whose clock is an hour behind that of the servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::found::{check, found};
use super::ready;
use crate::support::calm;
use crate::support::databases::told_by_environment;

/// A library that the program loads first. To it, the wall clock is an hour behind.
const BEHIND: &str = "
#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    int answer = syscall(SYS_clock_gettime, clock, time);
    if (answer == 0 && clock == CLOCK_REALTIME) time->tv_sec -= 3600;
    return answer;
}
";

fn built() -> PathBuf {
    let at = |name: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(at("behind.c"), BEHIND).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([at("behind.so"), at("behind.c")]).status();
    assert!(built.unwrap().success(), "the linker of Rust programs builds C, too");
    at("behind.so")
}

#[test]
fn servers_whose_clocks_differ_are_noted() {
    let _up = calm();
    let databases = ready("check_clocks");
    let mut command = told_by_environment(&databases.config, "check");
    let found = found(command.arg("--json").env("LD_PRELOAD", built()));
    for finding in [found.note("postgres_clock"), found.note("clickhouse_clock")] {
        let difference = finding.text.split("by +").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        assert!(difference.is_some_and(|seconds| (3_590.0..=3_600.0).contains(&seconds)), "{finding:?}");
        assert_eq!(finding.to_run(), "timedatectl set-ntp true");
    }
    let found = check(&databases.config);
    found.ok("postgres_clock");
    found.ok("clickhouse_clock");
}
