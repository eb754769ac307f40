//! Reading, the topic's id, claims, heartbeats and commits, as the coordinator drives them.

use footprint_protocol::first_start::commit_mark;
use footprint_protocol::ledger::Progress;
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::tracker::Tracker;
use footprint_protocol::write::{Resolution, resolve};

use crate::config::Config;
use crate::consumer::{Batch, Machine, now};
use crate::guard::Guard;
use crate::ledger::{self, ClaimWanted};
use crate::servers::{Late, Offsets};
use crate::world::{Answer, Broken, World, source};

impl World {
    pub(super) fn read(&mut self, config: &Config, by: usize, count: Offset) {
        let content = self.kafka.life;
        let own = self.consumers[by].definition;
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let range = Range::new(owning.position, owning.position + count);
        let described = !config.topic_may_change() || !config.guards.hold(Guard::TopicId);
        owning.position = range.end;
        let others = owning.plan.claims_of_others(own);
        let claimed_by = others.into_iter().find(|(claim, _)| claim.start <= range.start && range.start < claim.end);
        let definition = match claimed_by {
            Some((_, definition)) if config.guards.hold(Guard::ByItsDefinition) => definition,
            _ => own,
        };
        let batch = Batch { range, content, definition };
        if let Some(machine) = &mut self.consumers[by].machine {
            machine.cut(batch, described, now());
        }
    }

    /// The topic's id is asked. Batches read before belong to this life, or the ownership ends.
    pub(super) fn describe(&mut self, by: usize) {
        let life = self.kafka.life;
        let consumer = &mut self.consumers[by];
        match consumer.owning().map(|owning| owning.life == life) {
            Some(true) => consumer.machine.iter_mut().for_each(|machine| machine.topic_id_seen(|_| true)),
            Some(false) => self.end(by),
            None => {}
        }
    }

    /// `Coordinator::lose_ledger` (R4).
    pub(super) fn lose_ledger(&mut self, config: &Config, by: usize) {
        self.consumers[by].broken = false;
        if config.guards.hold(Guard::TakeOverAfterLoss) {
            self.end(by);
        }
    }

    /// The first ready batch goes to the writers, if it is claimed or can be.
    pub(super) fn send(&mut self, config: &Config, by: usize, answer: Answer) {
        if self.consumers[by].may_send(config) {
            self.pretend_claimed(by);
            self.hand_on(by);
        } else if self.consumers[by].may_claim() {
            self.claim(config, by, answer);
        }
    }

    /// Only without the guard: a batch that was never claimed goes on as if it were.
    fn pretend_claimed(&mut self, by: usize) {
        let Some(machine) = &mut self.consumers[by].machine else { return };
        let range = machine.ready().next().map(|batch| batch.range);
        if let Some(range) = range.filter(|_| !machine.wants_to_send())
            && let Some(frontiers) = machine.tracker().map(Tracker::frontiers)
        {
            let heard = machine.claimed(range, Some(&Progress { partition: 0, claimed: range.end, frontiers }));
            self.heard(by, heard);
        }
    }

    fn hand_on(&mut self, by: usize) {
        let Some(batch) = self.consumers[by].machine.as_mut().and_then(Machine::next_to_send) else { return };
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        owning.queue.push(batch);
        if owning.plan.frontiers.clickhouse.is_none() {
            owning.clickhouse_done += 1;
        }
    }

    fn claim(&mut self, config: &Config, by: usize, answer: Answer) {
        if self.consumers[by].broken {
            return self.lose_ledger(config, by);
        }
        let consumer = &self.consumers[by];
        let Some(owning) = consumer.owning() else { return };
        let Some((batch, clickhouse_next)) = consumer.machine.as_ref().and_then(|machine| machine.to_claim(now()))
        else {
            return;
        };
        let (life, fence, Batch { range, definition: fingerprint, .. }) = (owning.life, owning.fence, *batch);
        let wanted = ClaimWanted { fence, range, fingerprint, clickhouse_next };
        if answer == Answer::Late {
            self.postgres.late.push(Late::Claim { life, wanted });
            return self.lose_ledger(config, by);
        }
        let slot = &mut self.postgres.tables.ledger[life];
        let mut progress = ledger::claim(slot, &wanted, config.guards);
        if answer == Answer::Lost {
            return self.lose_ledger(config, by);
        }
        if progress.is_none() {
            let found = ledger::reread(slot, &fence);
            if resolve(found.is_some(), found.map(|row| row.claimed), range) == Resolution::Landed {
                progress = found;
            }
        }
        let Some(machine) = &mut self.consumers[by].machine else { return };
        let heard = machine.claimed(range, progress.as_ref());
        if !self.heard(by, heard) {
            return;
        }
        if let Some(owning) = self.consumers[by].owning_mut() {
            owning.proof = true;
        }
        self.hand_on(by);
    }

    pub(super) fn beat(&mut self, config: &Config, by: usize, answer: Answer) {
        if self.consumers[by].broken {
            return self.lose_ledger(config, by);
        }
        let consumer = &mut self.consumers[by];
        let Some(machine) = &mut consumer.machine else { return };
        let (Some(owning), Some(next)) = (machine.right(), machine.heartbeat()) else { return };
        let (fence, slot) = (owning.fence, &mut self.postgres.tables.ledger[owning.life]);
        let progress = ledger::heartbeat(slot, &fence, next, config.guards);
        if answer == Answer::Lost {
            return self.lose_ledger(config, by);
        }
        // only without the guard, the ledger's answer is not compared
        let compares =
            config.guards.hold(Guard::HeartbeatFence) || machine.clone().heartbeat_answered(progress.as_ref()).is_ok();
        if compares {
            let heard = machine.heartbeat_answered(progress.as_ref());
            if !self.heard(by, heard) {
                return;
            }
        }
        if let Some(owning) = self.consumers[by].owning_mut() {
            owning.proof = true;
        }
        if !config.slow_commits {
            self.commit(config, by);
        }
    }

    pub(super) fn commit(&mut self, config: &Config, by: usize) {
        let from_ledger = config.guards.hold(Guard::CommitFromLedger);
        let Some(machine) = &mut self.consumers[by].machine else { return };
        let memory = machine.tracker().map(|tracker| tracker.frontiers().lowest());
        let Some(offset) = (if from_ledger { machine.to_commit() } else { memory }) else { return };
        machine.committed(offset);
        let Some(life) = machine.right().map(|owning| owning.life) else { return };
        let mark = if config.guards.hold(Guard::CommitMark) { commit_mark(source(life)) } else { String::new() };
        if self.kafka.life != life {
            return; // the broker no longer has that life's log
        }
        self.kafka.committed = Some((offset, mark));
        // rows and gaps that a restored PostgreSQL has forgotten were true when they were reported
        let restored = self.consumers[by].broken;
        let below = self.ours(Offsets::below(offset).and(config.good()), life);
        let tables = &self.postgres.tables;
        let in_clickhouse = self.clickhouse.rows[life].or(tables.gaps[life][1]).or(tables.refused[life][1]);
        if self.clickhouse_on && !restored && !below.minus(in_clickhouse).is_empty() {
            self.fault(Broken::CommittedTooFar);
        }
    }

    pub(super) fn recommit(&mut self, config: &Config, by: usize) {
        if let Some(machine) = &mut self.consumers[by].machine {
            machine.commit_again();
        }
        self.commit(config, by);
    }

    /// Only without the guard: the reader starts again at the log's end.
    pub(super) fn reset(&mut self, by: usize) {
        let end = self.kafka.end;
        if let Some(owning) = self.consumers[by].owning_mut() {
            owning.position = end;
        }
    }
}
