//! One member of a consumer group: a process of the program that can be armed at a point, and that dies or stops there.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::point::Point;
use crate::trial::{Process, Program};

/// The time between two looks at a process.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// The time limit for a process that was asked to end. It is longer than the program's own deadline.
const END_LIMIT: Duration = Duration::from_secs(40);

/// How consumers share partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// The client assigns partitions. The broker admits a restarted consumer at once, by its name.
    Classic,
    /// KIP-848: the broker assigns partitions.
    Consumer,
}

impl Protocol {
    /// Both protocols.
    pub const ALL: [Self; 2] = [Self::Classic, Self::Consumer];

    /// The protocol's name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// What a program does at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It dies.
    Kill,
    /// It stops until it gets SIGCONT.
    Stop,
}

/// A point, what happens there, and at which arrival.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    pub(super) point: Point,
    pub(super) action: Action,
    pub(super) hit: u32,
}

/// The group of a member, and its name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) protocol: Protocol,
    pub(super) group: String,
    /// Its name in the group. Only the classic protocol lets a new member of the same name in at once.
    pub(super) instance: &'static str,
}

/// A running program.
#[derive(Debug)]
pub(super) struct Member {
    process: Process,
    pub(super) membership: Membership,
    aim_file: PathBuf,
    aims: u32,
}

impl Member {
    /// Starts `program` as a member. If there is an aim, the program is armed from its start.
    pub(super) fn start(
        program: &Program,
        membership: Membership,
        aim_file: PathBuf,
        aim: Option<Aim>,
    ) -> Result<Self> {
        let mut program = program.clone();
        program.set("GROUP_ID", &membership.group);
        program.set("FOOTPRINT_KAFKA__GROUP_PROTOCOL", membership.protocol.name());
        program.set("FOOTPRINT_KAFKA__INSTANCE_NAME", membership.instance);
        program.set("FOOTPRINT_FAILPOINT_FILE", aim_file.to_str().context("a path that is not UTF-8")?);
        for file in [aim_file.clone(), aim_file.with_extension("hit")] {
            remove(&file)?;
        }
        if let Some(aim) = aim {
            write_aim(&aim_file, aim, 0)?;
        }
        Ok(Self { process: program.consumer(&[])?, membership, aim_file, aims: 1 })
    }

    /// Arms the program at another point.
    pub(super) fn arm(&mut self, aim: Aim) -> Result<()> {
        remove(&self.aim_file.with_extension("hit"))?;
        self.aims += 1;
        write_aim(&self.aim_file, aim, self.aims)
    }

    /// Whether the program reads its aim from a file of this name.
    pub(super) fn is_aimed_by(&self, name: &str) -> bool {
        self.aim_file.file_name().is_some_and(|found| found == name)
    }

    /// Whether the program has reported an action at `point`.
    fn acted_at(&self, point: Point) -> bool {
        let text = fs::read_to_string(self.aim_file.with_extension("hit")).unwrap_or_default();
        text.split(' ').next() == Some(point.name())
    }

    /// How the program ended. None while it runs.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.ended()?.map(|ended| ended.status))
    }

    /// Fails if the program has ended.
    pub(super) fn must_run(&mut self) -> Result<()> {
        self.process.must_run()
    }

    /// Sends a signal to the program.
    pub(super) fn signal(&self, signal: libc::c_int) {
        self.process.signal(signal);
    }

    /// Kills the program from outside, wherever it is.
    pub(super) fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// Waits until the program has killed itself at `point`. False: it still lives at `end`.
    pub(super) fn dies_at(&mut self, point: Point, end: Instant) -> Result<bool> {
        loop {
            if let Some(status) = self.ended()? {
                let died = status.signal() == Some(libc::SIGKILL) && self.acted_at(point);
                ensure!(died, "footprint run ended by itself ({status}), not at {}", point.name());
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Waits until the program has stopped at `point`. False: it still runs at `end`.
    pub(super) fn stops_at(&mut self, point: Point, end: Instant) -> Result<bool> {
        loop {
            if let Some(status) = self.ended()? {
                bail!("footprint run ended by itself ({status}), before {}", point.name());
            }
            if self.acted_at(point) && self.is_stopped()? {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn is_stopped(&self) -> Result<bool> {
        let path = format!("/proc/{}/stat", self.process.pid());
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // proc(5): "pid (name) state ..."; the name may contain any character
        Ok(stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    }

    /// Asks the program to end, and waits until it has ended well.
    pub(super) fn end(mut self) -> Result<()> {
        self.process.drain(END_LIMIT).map(drop)
    }
}

/// Writes the file in one step, because the program looks at it all the time.
fn write_aim(file: &std::path::Path, aim: Aim, nonce: u32) -> Result<()> {
    let action = match aim.action {
        Action::Kill => "kill",
        Action::Stop => "stop",
    };
    let draft = file.with_extension("draft");
    fs::write(&draft, format!("{} {action} {} {nonce}\n", aim.point.name(), aim.hit))
        .and_then(|()| fs::rename(&draft, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn remove(file: &std::path::Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
