//! Rounds of deaths: a program dies at the point, another one is started, and the oracle checks. If the point is in a program's start, two
//! programs die in a row, and the second finds what the first has left behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::arrangement::Arrangement;
use super::member::{Action, Aim, Member, Protocol};
use super::point::Point;
use super::schedule::{Entry, Schedule};
use super::site::{BAD_EVERY, REFUSED_REMAINDER, Site};
use super::tally::Tally;
use crate::trial::{Dice, Line};

/// The round is a miss if the program has not arrived at its point within this time.
const ARRIVE_LIMIT: Duration = Duration::from_secs(20);
/// Events are sent again if the program has not arrived within this time.
const WAVE_INTERVAL: Duration = Duration::from_millis(700);
/// How often a point that was missed is tried.
const TRIES: u32 = 3;
/// Once in this many checks, the oracle checks all topics, and not only the one that is read.
const FULL_EVERY: u32 = 50;

/// Kills at points, until the schedule is done.
pub struct Deaths<'a, 's> {
    site: &'a mut Site<'s>,
    dice: &'a mut Dice,
    tally: &'a mut Tally,
    /// A running program that has stored everything.
    live: Option<Member>,
    /// Deaths since the oracle's last check.
    since: Vec<String>,
    judged: u32,
}

impl<'a, 's> Deaths<'a, 's> {
    /// Prepares the rounds. No program runs yet.
    pub fn new(site: &'a mut Site<'s>, dice: &'a mut Dice, tally: &'a mut Tally) -> Self {
        Self { site, dice, tally, live: None, since: Vec::new(), judged: 0 }
    }

    /// Does every round of the schedule, then checks everything.
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
        let member = self.running_member(Protocol::Classic)?;
        member.end()?;
        self.site.judge(true)
    }

    fn round(&mut self, entry: Entry) -> Result<()> {
        self.site.program().note(&at(entry))?;
        for _ in 0..TRIES {
            if self.kill_at(entry)? {
                self.note_death(entry);
                return Ok(());
            }
            self.tally.missed(entry.point.name(), entry.protocol);
            eprintln!("missed: {}", at(entry));
        }
        Ok(())
    }

    /// Brings a program to the point, where it dies. False: the program did not arrive, and was killed from outside.
    fn kill_at(&mut self, entry: Entry) -> Result<bool> {
        let Entry { point, protocol } = entry;
        let aim = |hit| Aim { point, action: Action::Kill, hit };
        match Arrangement::of(point) {
            Arrangement::Running { hits_max } => {
                let mut member = self.running_member(protocol)?;
                member.arm(aim(self.choose_hit(hits_max)))?;
                self.site.wave(self.dice)?;
                self.await_death(member, point, true)
            }
            Arrangement::Recording => {
                let mut member = self.running_member(protocol)?;
                self.site.wave(self.dice)?;
                member.arm(aim(1))?;
                self.await_death(member, point, true)
            }
            Arrangement::Terminated => {
                let mut member = self.running_member(protocol)?;
                member.arm(aim(1))?;
                self.site.wave(self.dice)?;
                member.signal(libc::SIGTERM);
                self.await_death(member, point, false)
            }
            Arrangement::Starting { hits_max } => {
                if self.live.is_some() {
                    let before = [Point::ClaimAnswered, Point::CommitSent, Point::InsertSent, Point::HeartbeatSent];
                    let chosen = before[self.dice.below(before.len())];
                    self.kill_first(chosen, protocol)?;
                }
                let hit = self.choose_hit(hits_max);
                self.kill_at_start(protocol, aim(hit))
            }
            Arrangement::Replaying { hits_max } => {
                self.kill_first(Point::Insert, protocol)?;
                let hit = self.choose_hit(hits_max);
                self.kill_at_start(protocol, aim(hit))
            }
            Arrangement::RowsDeleted => {
                self.kill_first(Point::InsertAnswered, protocol)?;
                self.forget_acknowledged()?;
                self.kill_at_start(protocol, aim(1))
            }
            Arrangement::Redefined { kept } => {
                self.kill_first(Point::CommitAnswered, protocol)?;
                let fingerprint = i64::from(kept);
                // this is the same definition under another fingerprint, so its rows are those that the oracle expects
                let keep = "insert into footprint_definition (route, fingerprint, definition) \
                            select route, 1, definition from footprint_definition limit 1 on conflict do nothing";
                self.site.watch.ask(keep)?;
                self.change_ledger(&format!(
                    "fingerprints = array_fill({fingerprint}::bigint, array[cardinality(fingerprints)])"
                ))?;
                self.kill_at_start(protocol, aim(1))
            }
            Arrangement::Unknown { hits_max } => {
                let hit = self.choose_hit(hits_max);
                self.kill_on_new_topic(protocol, aim(hit))
            }
            Arrangement::OwnerChanged { at } => {
                let member = self.stop_at(at, protocol)?;
                self.change_ledger("owner = gen_random_uuid()")?;
                self.resume(member, aim(1))
            }
            Arrangement::Disconnected { at } => {
                let member = self.stop_at(at, protocol)?;
                self.site.watch.ask(
                    "select pg_terminate_backend(pid) from pg_stat_activity \
                     where application_name like 'footprint %' and state = 'idle in transaction'",
                )?;
                self.resume(member, aim(1))
            }
            Arrangement::Refused => self.kill_when_refused(protocol, aim(1), Self::make_postgres_refuse),
            Arrangement::RefusedByClickHouse => self.kill_when_refused(protocol, aim(1), Self::make_clickhouse_refuse),
            Arrangement::Joined => self.kill_when_joined(protocol, aim(1)),
        }
    }

    fn choose_hit(&mut self, hits_max: u32) -> u32 {
        1 + u32::try_from(self.dice.below(hits_max as usize)).unwrap_or(0)
    }

    /// A running program of this protocol that has stored everything. The oracle has checked that.
    fn running_member(&mut self, protocol: Protocol) -> Result<Member> {
        match self.live.take() {
            Some(member) if member.membership.protocol == protocol => return Ok(member),
            Some(member) => member.kill()?,
            None => {}
        }
        let membership = self.site.membership(protocol);
        let member = self.site.start(membership, None)?;
        self.prove(member)
    }

    /// Proves that everything was stored, and that new events still arrive.
    fn prove(&mut self, mut member: Member) -> Result<Member> {
        let since = std::mem::take(&mut self.since).join(", ");
        self.site.wave(self.dice)?;
        self.site.wait_stored(&mut [&mut member]).with_context(|| format!("after {since}"))?;
        self.judged += 1;
        let judged = self.site.judge(self.judged.is_multiple_of(FULL_EVERY));
        judged.with_context(|| format!("after {since}"))?;
        Ok(member)
    }

    /// Kills a program at a point before the round proper. It counts like any other death.
    fn kill_first(&mut self, point: Point, protocol: Protocol) -> Result<()> {
        let mut member = self.running_member(protocol)?;
        member.arm(Aim { point, action: Action::Kill, hit: 1 })?;
        self.site.wave(self.dice)?;
        if !self.await_death(member, point, true)? {
            bail!("the program did not arrive at {}", point.name());
        }
        self.note_death(Entry { point, protocol });
        Ok(())
    }

    fn note_death(&mut self, entry: Entry) {
        self.tally.hit(entry.point.name(), entry.protocol);
        self.since.push(at(entry));
    }

    fn kill_at_start(&mut self, protocol: Protocol, aim: Aim) -> Result<bool> {
        self.site.wave(self.dice)?;
        let membership = self.site.membership(protocol);
        let member = self.site.start(membership, Some(aim))?;
        self.await_death(member, aim.point, false)
    }

    fn kill_on_new_topic(&mut self, protocol: Protocol, aim: Aim) -> Result<bool> {
        self.running_member(protocol)?.kill()?;
        self.site.judge(false)?;
        self.site.new_topic()?;
        let died = self.kill_at_start(protocol, aim)?;
        // the next round may need a topic of which some records are stored
        self.since.push(at(Entry { point: aim.point, protocol }));
        self.live = Some(self.running_member(protocol)?);
        Ok(died)
    }

    /// Waits for a death, and sends more events if `waves`.
    fn await_death(&mut self, mut member: Member, point: Point, waves: bool) -> Result<bool> {
        let end = Instant::now() + ARRIVE_LIMIT;
        while Instant::now() < end {
            if member.dies_at(point, Instant::now() + WAVE_INTERVAL)? {
                return Ok(true);
            }
            if waves {
                self.site.wave(self.dice)?;
            }
        }
        member.kill()?;
        Ok(false)
    }

    /// Stops a running program at a point.
    fn stop_at(&mut self, at: Point, protocol: Protocol) -> Result<Member> {
        let mut member = self.running_member(protocol)?;
        member.arm(Aim { point: at, action: Action::Stop, hit: 1 })?;
        self.site.wave(self.dice)?;
        if !member.stops_at(at, Instant::now() + ARRIVE_LIMIT)? {
            bail!("the program did not arrive at {}", at.name());
        }
        Ok(member)
    }

    fn resume(&mut self, mut member: Member, aim: Aim) -> Result<bool> {
        member.arm(aim)?;
        member.signal(libc::SIGCONT);
        self.await_death(member, aim.point, true)
    }

    /// Another program joins. The running one dies at a point that this brings it to, and the other takes everything over.
    fn kill_when_joined(&mut self, protocol: Protocol, aim: Aim) -> Result<bool> {
        let mut member = self.running_member(protocol)?;
        let membership = self.site.joining(&member.membership)?;
        member.arm(aim)?;
        let other_file = if member.is_aimed_by("aim-1") { "aim-2" } else { "aim-1" };
        let other = self.site.start_as(membership, None, other_file)?;
        let died = self.await_death(member, aim.point, true)?;
        self.since.push(at(Entry { point: aim.point, protocol }));
        self.live = Some(self.prove(other)?);
        Ok(died)
    }

    /// Deletes rows from ClickHouse that ClickHouse has acknowledged and that the ledger does not know of. Their tokens stay.
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

    /// A running program dies when a table refuses rows. Afterwards the table takes them again.
    fn kill_when_refused(
        &mut self,
        protocol: Protocol,
        aim: Aim,
        refuses: fn(&Self, bool) -> Result<()>,
    ) -> Result<bool> {
        let mut member = self.running_member(protocol)?;
        refuses(self, true)?;
        member.arm(aim)?;
        self.site.wave(self.dice)?;
        let died = self.await_death(member, aim.point, true);
        refuses(self, false)?;
        died
    }

    /// Makes PostgreSQL's table refuse some rows, or none.
    fn make_postgres_refuse(&self, some: bool) -> Result<()> {
        let change = if some {
            format!("add constraint refused check (kafka_offset % {BAD_EVERY} <> {REFUSED_REMAINDER}) not valid")
        } else {
            "drop constraint refused".to_owned()
        };
        self.site.watch.ask(&format!("alter table user_footprint {change}"))?;
        Ok(())
    }

    /// As [`Self::make_postgres_refuse`], for ClickHouse's table.
    fn make_clickhouse_refuse(&self, some: bool) -> Result<()> {
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
