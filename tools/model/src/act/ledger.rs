//! Reading, the topic's id, claims, heartbeats and commits, as the coordinator drives them.

use footprint_protocol::first_start::commit_mark;
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::write::{Resolution, resolve};

use crate::config::Config;
use crate::consumer::{Batch, Owning, TakeOver};
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
        owning.ready.push(Batch { range, content, definition, described });
    }

    /// The topic's id is asked: batches read before are of this life, or the ownership ends.
    pub(super) fn describe(&mut self, by: usize) {
        let life = self.kafka.life;
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        if owning.life == life {
            for batch in &mut owning.ready {
                batch.described = true;
            }
        } else {
            self.end(by);
        }
    }

    /// `Coordinator::lose_ledger` (R4).
    pub(super) fn lose_ledger(&mut self, config: &Config, by: usize) {
        self.consumers[by].broken = false;
        if config.guards.hold(Guard::TakeOverAfterLoss) {
            self.end(by);
        }
    }

    /// The first batch that is ready goes to the writers, when it is claimed, or can be.
    pub(super) fn send(&mut self, config: &Config, by: usize, answer: Answer) {
        let Some(owning) = self.consumers[by].owning() else { return };
        if owning.may_replay(config) {
            self.hand_on(by);
        } else if owning.may_claim() {
            self.claim(config, by, answer);
        }
    }

    fn hand_on(&mut self, by: usize) {
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let batch = owning.ready.remove(0);
        owning.queue.push(batch);
        if owning.plan.nexts.clickhouse.is_none() {
            owning.clickhouse_done += 1;
        }
    }

    fn claim(&mut self, config: &Config, by: usize, answer: Answer) {
        if self.consumers[by].broken {
            return self.lose_ledger(config, by);
        }
        let Some(owning) = self.consumers[by].owning() else { return };
        let (life, fence, Batch { range, definition: fingerprint, .. }) = (owning.life, owning.fence, owning.ready[0]);
        let wanted = ClaimWanted { fence, range, fingerprint, clickhouse_next: owning.tracker.clickhouse_next() };
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
        let Some(progress) = progress else { return self.end(by) };
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        owning.tracker.claimed_range(range);
        owning.proof = true;
        if owning.tracker.recorded(&progress).is_err() {
            return self.end(by);
        }
        self.hand_on(by);
    }

    pub(super) fn beat(&mut self, config: &Config, by: usize, answer: Answer) {
        if self.consumers[by].broken {
            return self.lose_ledger(config, by);
        }
        let Some(owning) = self.consumers[by].owning() else { return };
        let next = owning.tracker.clickhouse_next();
        let (fence, slot) = (owning.fence, &mut self.postgres.tables.ledger[owning.life]);
        let progress = ledger::heartbeat(slot, &fence, next, config.guards);
        if answer == Answer::Lost {
            return self.lose_ledger(config, by);
        }
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let fenced = config.guards.hold(Guard::HeartbeatFence);
        match progress.map(|progress| owning.tracker.recorded(&progress)) {
            Some(Ok(())) => owning.proof = true,
            _ if !fenced => owning.proof = true,
            _ => return self.end(by),
        }
        if !config.slow_commits {
            self.commit(config, by);
        }
    }

    pub(super) fn commit(&mut self, config: &Config, by: usize) {
        let from_ledger = config.guards.hold(Guard::CommitFromLedger);
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let offset = if from_ledger { owning.tracker.to_commit() } else { Some(owning.tracker.nexts().lowest()) };
        let Some(offset) = offset else { return };
        owning.tracker.committed(offset);
        let life = owning.life;
        let mark = if config.guards.hold(Guard::CommitMark) { commit_mark(source(life)) } else { String::new() };
        if self.kafka.life != life {
            return; // the broker does not know that life's log any more
        }
        self.kafka.committed = Some((offset, mark));
        // what a restored PostgreSQL has forgotten, rows and gaps, was true when it was told
        let restored = self.consumers[by].broken;
        let below = self.ours(Offsets::below(offset).and(config.good()), life);
        let tables = &self.postgres.tables;
        let in_clickhouse = self.clickhouse.rows[life].or(tables.gaps[life][1]).or(tables.refused[life][1]);
        if self.clickhouse_on && !restored && !below.minus(in_clickhouse).is_empty() {
            self.fault(Broken::CommittedTooFar);
        }
    }

    pub(super) fn recommit(&mut self, config: &Config, by: usize) {
        if let Some(owning) = self.consumers[by].owning_mut() {
            owning.tracker.commit_again();
        }
        self.commit(config, by);
    }

    /// Only without the guard: the reader falls back to the log's end.
    pub(super) fn reset(&mut self, by: usize) {
        let end = self.kafka.end;
        if let Some(owning) = self.consumers[by].owning_mut() {
            owning.position = end;
        }
    }

    /// Whether its take-over's next step is a statement.
    pub fn take_over_is_statement(config: &Config, taking: &TakeOver) -> bool {
        match taking {
            TakeOver::Look => !config.topic_may_change(),
            TakeOver::Starts { .. } | TakeOver::Take { .. } | TakeOver::Settle { .. } => true,
            TakeOver::Ask { .. } => false,
        }
    }
}

impl Owning {
    /// Whether its next batch was claimed before the take-over, and needs no claim.
    pub fn may_replay(&self, config: &Config) -> bool {
        let needs = |batch: &Batch| self.plan.needs_claim(batch.range) && config.guards.hold(Guard::Claim);
        self.ready.first().is_some_and(|batch| batch.described && !needs(batch))
    }

    /// Whether its next batch can be claimed.
    pub fn may_claim(&self) -> bool {
        let next = |batch: &Batch| batch.range.start == self.tracker.claimed() && batch.described;
        self.ready.first().is_some_and(next) && self.tracker.may_claim()
    }
}
