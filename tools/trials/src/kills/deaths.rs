//! Rounds of deaths: a program dies at the point, another is started, and the oracle is asked. The death of a program at a
//! point of its start is the second one in a row, with whatever the first has left behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::arrangement::Arrangement;
use super::life::{Action, Aim, Life, Protocol};
use super::point::Point;
use super::schedule::{Entry, Schedule};
use super::site::{BAD_EVERY, REFUSED_REMAINDER, Site};
use super::tally::Tally;
use crate::trial::{Dice, Line};

/// A program that has not arrived at its point within this is a miss.
const ARRIVE_LIMIT: Duration = Duration::from_secs(20);
/// Events are sent again when it has not arrived within this.
const WAVE_INTERVAL: Duration = Duration::from_millis(700);
/// A point that was missed is tried so often.
const TRIES: u32 = 3;
/// Every so many rounds the oracle looks at all topics, not just the one that is read.
const FULL_EVERY: u32 = 50;

/// Kills at points, until the schedule is done.
pub struct Deaths<'a, 's> {
    site: &'a mut Site<'s>,
    dice: &'a mut Dice,
    tally: &'a mut Tally,
    /// A program that runs, and has stored everything.
    live: Option<Life>,
    /// Deaths since the oracle was last asked.
    since: Vec<String>,
    judged: u32,
}

impl<'a, 's> Deaths<'a, 's> {
    /// Nobody runs yet.
    pub fn new(site: &'a mut Site<'s>, dice: &'a mut Dice, tally: &'a mut Tally) -> Self {
        Self { site, dice, tally, live: None, since: Vec::new(), judged: 0 }
    }

    /// Does every round of the schedule, then asks the oracle about everything.
    ///
    /// # Errors
    /// A program ended otherwise than at its point, or the oracle found a fault.
    pub fn run(mut self, mut schedule: Schedule) -> Result<()> {
        let mut line = Line::stderr();
        while schedule.left() > 0 {
            line.show(|| format!("{} kills, {} rounds to go", self.tally.hits(), schedule.left()));
            if let Some(entry) = schedule.next_running() {
                self.round(entry).with_context(|| format!("round: {}", at(entry)))?;
            }
            if let Some(entry) = schedule.next_starting(self.dice) {
                self.round(entry).with_context(|| format!("round: {}", at(entry)))?;
            }
        }
        let life = self.alive(Protocol::Classic)?;
        life.end()?;
        self.site.judge(true)
    }

    fn round(&mut self, entry: Entry) -> Result<()> {
        self.site.program().note(&at(entry))?;
        for _ in 0..TRIES {
            if self.dies(entry)? {
                self.died(entry);
                return Ok(());
            }
            self.tally.missed(entry.point.name(), entry.protocol);
            eprintln!("missed: {}", at(entry));
        }
        Ok(())
    }

    /// Brings a program to the point. False: it did not come there, and is gone.
    fn dies(&mut self, entry: Entry) -> Result<bool> {
        let Entry { point, protocol } = entry;
        let aim = |hit| Aim { point, action: Action::Kill, hit };
        match Arrangement::of(point) {
            Arrangement::Running { hits_max } => {
                let mut life = self.alive(protocol)?;
                life.arm(aim(self.hit(hits_max)))?;
                self.site.wave(self.dice)?;
                self.await_death(life, point, true)
            }
            Arrangement::Recording => {
                let mut life = self.alive(protocol)?;
                self.site.wave(self.dice)?;
                life.arm(aim(1))?;
                self.await_death(life, point, true)
            }
            Arrangement::Terminated => {
                let mut life = self.alive(protocol)?;
                life.arm(aim(1))?;
                self.site.wave(self.dice)?;
                life.signal(libc::SIGTERM);
                self.await_death(life, point, false)
            }
            Arrangement::Starting { hits_max } => {
                if self.live.is_some() {
                    let before = [Point::ClaimAnswered, Point::CommitSent, Point::InsertSent, Point::HeartbeatSent];
                    let chosen = before[self.dice.below(before.len())];
                    self.preceding(chosen, protocol)?;
                }
                let hit = self.hit(hits_max);
                self.dies_at_start(protocol, aim(hit))
            }
            Arrangement::Replaying { hits_max } => {
                self.preceding(Point::Insert, protocol)?;
                let hit = self.hit(hits_max);
                self.dies_at_start(protocol, aim(hit))
            }
            Arrangement::Deceived => {
                self.preceding(Point::InsertAnswered, protocol)?;
                self.forget_acknowledged()?;
                self.dies_at_start(protocol, aim(1))
            }
            Arrangement::Redefined { kept } => {
                self.preceding(Point::CommitAnswered, protocol)?;
                let fingerprint = i64::from(kept);
                // by another name what it is: its rows are what the oracle expects
                let keep = "insert into footprint_definition (route, fingerprint, definition) \
                            select route, 1, definition from footprint_definition limit 1 on conflict do nothing";
                self.site.watch.ask(keep)?;
                self.change_ledger(&format!(
                    "fingerprints = array_fill({fingerprint}::bigint, array[cardinality(fingerprints)])"
                ))?;
                self.dies_at_start(protocol, aim(1))
            }
            Arrangement::Unknown { hits_max } => {
                let hit = self.hit(hits_max);
                self.dies_on_new_topic(protocol, aim(hit))
            }
            Arrangement::Robbed { at } => {
                let life = self.stopped(at, protocol)?;
                self.change_ledger("owner = gen_random_uuid()")?;
                self.goes_on(life, aim(1))
            }
            Arrangement::CutOff { at } => {
                let life = self.stopped(at, protocol)?;
                self.site.watch.ask(
                    "select pg_terminate_backend(pid) from pg_stat_activity \
                     where application_name like 'footprint %' and state = 'idle in transaction'",
                )?;
                self.goes_on(life, aim(1))
            }
            Arrangement::Refused => self.dies_refused(protocol, aim(1), Self::postgres_refuses),
            Arrangement::RefusedByClickHouse => self.dies_refused(protocol, aim(1), Self::clickhouse_refuses),
            Arrangement::Joined => self.dies_when_joined(protocol, aim(1)),
        }
    }

    fn hit(&mut self, hits_max: u32) -> u32 {
        1 + u32::try_from(self.dice.below(hits_max as usize)).unwrap_or(0)
    }

    /// A program of that protocol that has stored everything, fresh events too, as the oracle has found.
    fn alive(&mut self, protocol: Protocol) -> Result<Life> {
        match self.live.take() {
            Some(life) if life.membership.protocol == protocol => return Ok(life),
            Some(life) => life.kill()?,
            None => {}
        }
        let membership = self.site.membership(protocol);
        let life = self.site.start(membership, None)?;
        self.prove(life)
    }

    /// Proves that everything was stored, and that what is sent now still arrives.
    fn prove(&mut self, mut life: Life) -> Result<Life> {
        let since = std::mem::take(&mut self.since).join(", ");
        self.site.wave(self.dice)?;
        self.site.wait_stored(&mut [&mut life]).with_context(|| format!("after {since}"))?;
        self.judged += 1;
        let judged = self.site.judge(self.judged.is_multiple_of(FULL_EVERY));
        judged.with_context(|| format!("after {since}"))?;
        Ok(life)
    }

    /// A death that must come before: it counts like any other.
    fn preceding(&mut self, point: Point, protocol: Protocol) -> Result<()> {
        let mut life = self.alive(protocol)?;
        life.arm(Aim { point, action: Action::Kill, hit: 1 })?;
        self.site.wave(self.dice)?;
        if !self.await_death(life, point, true)? {
            bail!("the program does not arrive at {}", point.name());
        }
        self.died(Entry { point, protocol });
        Ok(())
    }

    fn died(&mut self, entry: Entry) {
        self.tally.hit(entry.point.name(), entry.protocol);
        self.since.push(at(entry));
    }

    fn dies_at_start(&mut self, protocol: Protocol, aim: Aim) -> Result<bool> {
        self.site.wave(self.dice)?;
        let membership = self.site.membership(protocol);
        let life = self.site.start(membership, Some(aim))?;
        self.await_death(life, aim.point, false)
    }

    fn dies_on_new_topic(&mut self, protocol: Protocol, aim: Aim) -> Result<bool> {
        self.alive(protocol)?.kill()?;
        self.site.judge(false)?;
        self.site.new_topic()?;
        let died = self.dies_at_start(protocol, aim)?;
        // what comes next may need a topic of which something is stored
        self.since.push(at(Entry { point: aim.point, protocol }));
        self.live = Some(self.alive(protocol)?);
        Ok(died)
    }

    /// Waits for a death; events go on where `waves`.
    fn await_death(&mut self, mut life: Life, point: Point, waves: bool) -> Result<bool> {
        let end = Instant::now() + ARRIVE_LIMIT;
        while Instant::now() < end {
            if life.dies_at(point, Instant::now() + WAVE_INTERVAL)? {
                return Ok(true);
            }
            if waves {
                self.site.wave(self.dice)?;
            }
        }
        life.kill()?;
        Ok(false)
    }

    /// A running program, stopped at a point.
    fn stopped(&mut self, at: Point, protocol: Protocol) -> Result<Life> {
        let mut life = self.alive(protocol)?;
        life.arm(Aim { point: at, action: Action::Stop, hit: 1 })?;
        self.site.wave(self.dice)?;
        if !life.stops_at(at, Instant::now() + ARRIVE_LIMIT)? {
            bail!("the program does not arrive at {}", at.name());
        }
        Ok(life)
    }

    fn goes_on(&mut self, mut life: Life, aim: Aim) -> Result<bool> {
        life.arm(aim)?;
        life.signal(libc::SIGCONT);
        self.await_death(life, aim.point, true)
    }

    /// Another program joins, the one that runs dies of it, and the other takes all over.
    fn dies_when_joined(&mut self, protocol: Protocol, aim: Aim) -> Result<bool> {
        let mut life = self.alive(protocol)?;
        let membership = self.site.joining(&life.membership)?;
        life.arm(aim)?;
        let other_file = if life.is_aimed_by("aim-1") { "aim-2" } else { "aim-1" };
        let other = self.site.start_as(membership, None, other_file)?;
        let died = self.await_death(life, aim.point, true)?;
        self.since.push(at(Entry { point: aim.point, protocol }));
        self.live = Some(self.prove(other)?);
        Ok(died)
    }

    /// Takes from ClickHouse what it has acknowledged and the ledger does not know of: its tokens stay.
    fn forget_acknowledged(&self) -> Result<()> {
        let source = self.site.source()?.context("no source")?;
        let rows = self
            .site
            .watch
            .ask(&format!("select partition, clickhouse_next from footprint_ledger where source = {source}"))?;
        let places: Vec<String> = rows
            .iter()
            .filter_map(|row| match &row[..] {
                [partition, next] => Some(format!("(kafka_partition = {partition} and kafka_offset >= {next})")),
                _ => None,
            })
            .collect();
        self.site.watch.clickhouse(&format!(
            "alter table prd.user_footprint delete where kafka_source = {source} and ({}) settings mutations_sync = 2",
            places.join(" or ")
        ))?;
        Ok(())
    }

    /// A running program dies of rows that a table refuses, which it takes again afterwards.
    fn dies_refused(&mut self, protocol: Protocol, aim: Aim, refuses: fn(&Self, bool) -> Result<()>) -> Result<bool> {
        let mut life = self.alive(protocol)?;
        refuses(self, true)?;
        life.arm(aim)?;
        self.site.wave(self.dice)?;
        let died = self.await_death(life, aim.point, true);
        refuses(self, false)?;
        died
    }

    /// From now on PostgreSQL's table refuses some rows, or none.
    fn postgres_refuses(&self, some: bool) -> Result<()> {
        let change = if some {
            format!("add constraint refused check (kafka_offset % {BAD_EVERY} <> {REFUSED_REMAINDER}) not valid")
        } else {
            "drop constraint refused".to_owned()
        };
        self.site.watch.ask(&format!("alter table user_footprint {change}"))?;
        Ok(())
    }

    /// The same of ClickHouse's.
    fn clickhouse_refuses(&self, some: bool) -> Result<()> {
        let change = if some {
            format!("add constraint refused check kafka_offset % {BAD_EVERY} != {REFUSED_REMAINDER}")
        } else {
            "drop constraint refused".to_owned()
        };
        self.site.watch.clickhouse(&format!("alter table prd.user_footprint {change}"))?;
        Ok(())
    }

    fn change_ledger(&self, set: &str) -> Result<()> {
        let source = self.site.source()?.context("no source")?;
        self.site.watch.ask(&format!("update footprint_ledger set {set} where source = {source}"))?;
        Ok(())
    }
}

fn at(entry: Entry) -> String {
    format!("kill at {} ({})", entry.point.name(), entry.protocol.name())
}
