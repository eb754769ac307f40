//! Rounds of suspensions: a program is stopped at the point for longer than the group waits. Another takes its partitions and
//! continues, and then the first one wakes. It must find out that it is no longer the owner.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::arrangement::Arrangement;
use super::member::{Action, Aim, Member, Protocol};
use super::point::Point;
use super::schedule::{Entry, in_turn};
use super::site::Site;
use super::tally::Tally;
use crate::trial::{Dice, Line};

/// The round is a miss if the program has not arrived at its point within this time.
const ARRIVE_LIMIT: Duration = Duration::from_secs(20);
/// Events are sent again if the program has not arrived within this time.
const WAVE_INTERVAL: Duration = Duration::from_millis(700);

/// Stops programs at points.
pub struct Suspensions<'a, 's> {
    site: &'a mut Site<'s>,
    dice: &'a mut Dice,
    tally: &'a mut Tally,
}

/// Whether these rounds can stop a program there: while it runs and events come, or at its start.
pub fn can_be_stopped(point: Point) -> bool {
    matches!(
        Arrangement::of(point),
        Arrangement::Running { .. }
            | Arrangement::Recording
            | Arrangement::Starting { .. }
            | Arrangement::Replaying { .. }
    )
}

impl<'a, 's> Suspensions<'a, 's> {
    /// Prepares the rounds. No program runs yet.
    pub fn new(site: &'a mut Site<'s>, dice: &'a mut Dice, tally: &'a mut Tally) -> Self {
        Self { site, dice, tally }
    }

    /// Stops a program at each of `points` in turn, until `rounds` are done.
    ///
    /// # Errors
    /// A program ended, or the oracle found a fault.
    pub fn run(mut self, points: &[Point], protocols: &[Protocol], rounds: usize) -> Result<()> {
        let mut line = Line::stderr();
        for round in 0..rounds {
            let Some((point, protocol)) = in_turn(points, protocols, round) else { break };
            line.show(|| format!("{} suspensions, {} rounds to go", self.tally.hits(), rounds - round));
            let entry = Entry { point, protocol };
            let what = format!("stop at {} ({})", point.name(), protocol.name());
            self.site.program().note(&what)?;
            if self.round(entry).with_context(|| what.clone())? {
                self.tally.hit(point.name(), protocol);
            } else {
                eprintln!("missed: {what}");
                self.tally.missed(point.name(), protocol);
            }
        }
        self.site.judge(true)
    }

    fn round(&mut self, entry: Entry) -> Result<bool> {
        let Some(mut sleeper) = self.stop_at(entry)? else { return Ok(false) };
        self.site.check_ledger_unlocked()?;
        let membership = self.site.joining(&sleeper.membership)?;
        let mut other = self.site.start_as(membership, None, "aim-2")?;
        self.site.wave(self.dice)?;
        self.site.wait_stored(&mut [&mut other])?;
        sleeper.signal(libc::SIGCONT);
        self.site.wave(self.dice)?;
        self.site.wait_stored(&mut [&mut sleeper, &mut other])?;
        self.site.judge(false)?;
        sleeper.end()?;
        self.site.wave(self.dice)?;
        self.site.wait_stored(&mut [&mut other])?;
        other.end()?;
        self.site.judge(false)?;
        Ok(true)
    }

    /// Stops a program at the point. None if the program does not arrive there.
    fn stop_at(&mut self, Entry { point, protocol }: Entry) -> Result<Option<Member>> {
        let aim = Aim { point, action: Action::Stop, hit: 1 };
        let arrangement = Arrangement::of(point);
        if matches!(arrangement, Arrangement::Replaying { .. }) {
            let mut dying = self.running_member(protocol)?;
            dying.arm(Aim { point: Point::Insert, action: Action::Kill, hit: 1 })?;
            self.site.wave(self.dice)?;
            dying.dies_at(Point::Insert, Instant::now() + ARRIVE_LIMIT)?;
        }
        let mut member = if arrangement.begins_with_a_start() {
            self.site.wave(self.dice)?;
            let membership = self.site.membership(protocol);
            self.site.shorten_session(&membership)?;
            self.site.start(membership, Some(aim))?
        } else {
            let mut member = self.running_member(protocol)?;
            if arrangement == Arrangement::Recording {
                self.site.wave(self.dice)?;
                member.arm(aim)?;
            } else {
                member.arm(aim)?;
                self.site.wave(self.dice)?;
            }
            member
        };
        let end = Instant::now() + ARRIVE_LIMIT;
        while Instant::now() < end {
            if member.stops_at(point, Instant::now() + WAVE_INTERVAL)? {
                return Ok(Some(member));
            }
            self.site.wave(self.dice)?;
        }
        member.kill()?;
        Ok(None)
    }

    fn running_member(&mut self, protocol: Protocol) -> Result<Member> {
        let membership = self.site.membership(protocol);
        self.site.shorten_session(&membership)?;
        let mut member = self.site.start(membership, None)?;
        self.site.wait_stored(&mut [&mut member])?;
        Ok(member)
    }
}
