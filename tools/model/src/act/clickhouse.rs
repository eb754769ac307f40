//! ClickHouse's writer, like `store/clickhouse/writer.rs`, and what the server does with its inserts.

use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::write::{Delivery, Repair, Step};

use crate::config::Config;
use crate::consumer::{Owning, Writer};
use crate::guard::{Guard, Guards};
use crate::ledger::{self, Fence};
use crate::servers::{Fingerprint, Insert, Late, Offsets, PARTS, Token};
use crate::world::{Answer, Broken, Orphan, World};

impl Owning {
    fn rows(&self, config: &Config, range: Range) -> Offsets {
        Offsets::of(range).and(config.good()).minus(self.left_out)
    }

    fn delivery(&self, config: &Config, range: Range) -> Delivery {
        let delivery = self.plan.clickhouse_delivery(range);
        let claimed_before = range.end <= self.plan.claimed;
        let leaves_out = !Offsets::of(range).and(self.left_out).is_empty();
        match delivery {
            Delivery::Insert | Delivery::InsertThenReadBack if leaves_out => Delivery::ReadBackFirst,
            Delivery::ReadBackFirst if claimed_before && !config.guards.hold(Guard::ReadBackAtTakeOver) => {
                Delivery::Insert
            }
            delivery => delivery,
        }
    }

    /// Whether the writer can take its next step: it has a batch, and a proof if it needs one.
    pub fn may_deliver(&self, config: &Config) -> bool {
        let Some(batch) = self.for_clickhouse().filter(|_| self.clickhouse == Writer::Idle) else { return false };
        let rows = self.rows(config, batch.range);
        self.delivery(config, batch.range) == Delivery::Skip || rows.is_empty() || self.has_proof(config)
    }

    /// Whether delivering its next batch sends an insert at once.
    pub fn delivery_inserts(&self, config: &Config) -> bool {
        self.for_clickhouse().is_some_and(|batch| {
            let inserts = matches!(self.delivery(config, batch.range), Delivery::Insert | Delivery::InsertThenReadBack);
            inserts && !self.rows(config, batch.range).is_empty()
        })
    }

    /// The token of a range.
    fn token(&self, config: &Config, Range { start, end }: Range, level: u32) -> Token {
        let salt = if config.guards.hold(Guard::TokenFromRange) { 0 } else { self.fence.owner.0 };
        let birth = if config.guards.hold(Guard::Birth) { self.plan.birth } else { 0 };
        Token { life: self.life, start, end, level, birth, salt }
    }

    fn has_proof(&self, config: &Config) -> bool {
        self.proof || !config.guards.hold(Guard::ProofBeforeInsert)
    }

    /// Whether the repair can take its next step.
    pub fn may_repair(&self, config: &Config) -> bool {
        match &self.clickhouse {
            // without a good sighting it starts again, for which it needs a proof
            Writer::Reading { sighted: None | Some(false), .. } => self.has_proof(config),
            Writer::Reading { .. } | Writer::WaitingOut { .. } | Writer::Missing { .. } => true,
            Writer::Idle | Writer::Inserting { .. } | Writer::LeavingOut { .. } | Writer::Repairing { .. } => false,
        }
    }
}

/// Drives a repair's own functions so that an error takes it to the next level, which "same level first" forbids.
fn next_level(repair: &mut Repair) {
    repair.inserted(true);
    repair.read_back(1);
    repair.read_back(1);
    repair.inserted(false);
}

impl World {
    /// The writer takes its next batch.
    pub(super) fn deliver(&mut self, config: &Config, by: usize, unseen: bool) {
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let Some(batch) = owning.for_clickhouse() else { return };
        let rows = owning.rows(config, batch.range);
        let delivery = owning.delivery(config, batch.range);
        if delivery == Delivery::Skip || rows.is_empty() {
            return self.consumers[by].acknowledge(SinkName::ClickHouse, 1);
        }
        if delivery == Delivery::ReadBackFirst {
            owning.clickhouse = Writer::Reading { repair: Repair::new(), sighted: None };
            return;
        }
        owning.clickhouse = Writer::Inserting { doubtful: delivery == Delivery::InsertThenReadBack };
        self.insert(config, by, rows, 0, unseen);
    }

    fn insert(&mut self, config: &Config, by: usize, rows: Offsets, level: u32, unseen: bool) {
        let Some(owning) = self.consumers[by].owning() else { return };
        let Some(batch) = owning.for_clickhouse() else { return };
        let token = owning.token(config, batch.range, level);
        let insert = Insert {
            by: Some(by),
            token: config.guards.hold(Guard::Token).then_some(token),
            life: owning.life,
            range: batch.range,
            cluster: owning.cluster,
            definition: batch.definition,
            left: rows,
            unseen,
        };
        let foreign = batch.content != owning.life;
        if !unseen && self.running(config, insert.life, insert.cluster).is_some() {
            return self.hear_refusal(by);
        }
        self.clickhouse.inserts.push(insert);
        if foreign {
            self.fault(Broken::ForeignRecord);
        }
    }

    /// Another insert runs under its query id, so it was refused before anything was read. A first write is sent again. A repair
    /// reads back, since the other insert may bring its rows.
    fn hear_refusal(&mut self, by: usize) {
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        owning.clickhouse = match std::mem::replace(&mut owning.clickhouse, Writer::Idle) {
            Writer::Repairing { mut repair, sighted } => {
                repair.refused();
                Writer::Reading { repair, sighted: Some(sighted) }
            }
            Writer::Inserting { .. } => Writer::Idle,
            other => other,
        };
    }

    /// The repair's next step.
    pub(super) fn repair(&mut self, config: &Config, by: usize, unseen: bool) {
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let Some(batch) = owning.for_clickhouse() else { return };
        let (life, good) = (owning.life, owning.rows(config, batch.range));
        let keeps = !config.guards.hold(Guard::RepairDiesWithProof);
        match std::mem::replace(&mut owning.clickhouse, Writer::Idle) {
            Writer::Reading { repair, sighted } => {
                // when a sighting has aged, its repair is dropped too
                let mut repair = if sighted == Some(false) && !keeps { Repair::new() } else { repair };
                let missing = good.minus(self.clickhouse.rows[life]);
                match repair.read_back(missing.len()) {
                    Step::Done => self.consumers[by].acknowledge(SinkName::ClickHouse, 1),
                    Step::ReadBack => owning.clickhouse = Writer::Reading { repair, sighted: Some(true) },
                    Step::WaitOut => owning.clickhouse = Writer::WaitingOut { repair, sighted: true },
                    Step::Contradicted => {
                        let token = owning.token(config, batch.range, 0);
                        self.contradicted(by, &token, missing);
                    }
                    Step::Insert { level } => {
                        let level = if config.guards.hold(Guard::NextLevel) { level } else { 0 };
                        owning.clickhouse = Writer::Missing { repair, rows: missing, level, sighted: true };
                    }
                }
            }
            Writer::WaitingOut { repair, sighted } => {
                owning.clickhouse = Writer::Reading { repair, sighted: Some(sighted) };
                if config.guards.hold(Guard::DrainBeforeRepair) {
                    self.drain(config, life);
                }
            }
            Writer::Missing { repair, rows, level, sighted } => {
                if sighted || keeps && owning.proof || !config.guards.hold(Guard::ProofBeforeInsert) {
                    owning.clickhouse = Writer::Repairing { repair, sighted };
                    self.insert(config, by, rows, level, unseen);
                } else {
                    owning.clickhouse = Writer::Reading { repair: Repair::new(), sighted: None };
                }
            }
            other => owning.clickhouse = other,
        }
    }

    /// The program stops and calls for a person. That is right only if the tokens of two levels are there and their rows are not.
    /// The person makes ClickHouse forget its tokens and starts the program again.
    fn contradicted(&mut self, by: usize, token: &Token, missing: Offsets) {
        let lies = |level: u32| {
            let token = Token { level, ..*token };
            (0..PARTS).any(|part| self.clickhouse.remembers(part, &token) && !missing.part(part).is_empty())
        };
        if !lies(0) || !lies(1) {
            return self.fault(Broken::Stopped("the program says that rows are hidden, but they are not".to_owned()));
        }
        self.crash(by);
        for tokens in &mut self.clickhouse.tokens {
            tokens.clear();
        }
    }

    /// A constraint refuses an insert as a whole, before any of it is written, and names the first row.
    fn refuse(&mut self, at: usize, offset: Offset) {
        let insert = self.clickhouse.inserts.remove(at);
        if let Some(owning) = insert.by.and_then(|by| self.consumers[by].owning_mut()) {
            owning.clickhouse = Writer::LeavingOut { offset };
        }
    }

    /// Writes the dead letter of a refused record, like `store/clickhouse/refused.rs`. Then the range is read back.
    pub(super) fn leave_out(&mut self, config: &Config, by: usize, answer: Answer) {
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let Writer::LeavingOut { offset } = owning.clickhouse else { return };
        owning.clickhouse = Writer::Reading { repair: Repair::new(), sighted: None };
        let (life, fence) = (owning.life, owning.fence);
        if answer == Answer::Late {
            self.postgres.late.push(Late::LeaveOut { life, fence, offset });
            return;
        }
        let landed = self.land_left_out(life, &fence, offset, config.guards);
        let Some(owning) = self.consumers[by].owning_mut().filter(|_| answer == Answer::Fine) else { return };
        if landed {
            owning.left_out = owning.left_out.or(Offsets(1 << offset));
        } else {
            // it tries again until the heartbeat, which continues meanwhile, ends the ownership
            self.end(by);
        }
    }

    /// Returns false if it is fenced.
    pub(super) fn land_left_out(&mut self, life: usize, fence: &Fence, offset: Offset, guards: Guards) -> bool {
        if !ledger::may_leave_out(&mut self.postgres.tables.ledger[life], fence, offset) {
            return false;
        }
        let letter = Offsets(1 << offset);
        let there = !self.postgres.tables.refused[life][1].and(letter).is_empty();
        let fits = there && guards.hold(Guard::LetterOnce) || self.land_refused(life, 1, letter);
        if !fits {
            self.fault(Broken::DoubledInPostgres);
        }
        true
    }

    /// A part of an insert lands. The last one is answered. An insert that has only now reached the server is refused if another
    /// one runs under its query id.
    pub(super) fn land(&mut self, config: &Config, at: usize, part: usize) {
        let Insert { unseen, life, cluster, by, .. } = self.clickhouse.inserts[at];
        if unseen && self.running(config, life, cluster).is_some() {
            self.clickhouse.inserts.remove(at);
            return by.map_or((), |by| self.hear_refusal(by));
        }
        if let Some(offset) = self.clickhouse.inserts[at].left.and(config.not_for_clickhouse()).lowest() {
            return self.refuse(at, offset);
        }
        let insert = &mut self.clickhouse.inserts[at];
        insert.unseen = false;
        let (life, token, by, definition) = (insert.life, insert.token, insert.by, insert.definition);
        let share = insert.left.part(part);
        insert.left = insert.left.minus(share);
        let answered = insert.left.is_empty();
        if token.is_none_or(|token| !self.clickhouse.remembers(part, &token)) {
            self.store(life, share, definition);
            if let Some(token) = token {
                self.clickhouse.remember(part, token);
            }
        }
        if answered {
            self.clickhouse.inserts.remove(at);
            if let Some(by) = by {
                self.answer(by);
            }
        }
    }

    pub(super) fn store(&mut self, life: usize, rows: Offsets, definition: Fingerprint) {
        if definition == 1 {
            self.clickhouse.redefined[life] = self.clickhouse.redefined[life].or(rows);
        }
        let held = &mut self.clickhouse.rows[life];
        let doubled = !held.and(rows).is_empty();
        *held = held.or(rows);
        if doubled {
            self.fault(Broken::DoubledInClickHouse);
        }
    }

    /// An insert was answered OK.
    fn answer(&mut self, by: usize) {
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        match std::mem::replace(&mut owning.clickhouse, Writer::Idle) {
            Writer::Inserting { doubtful: false } => self.consumers[by].acknowledge(SinkName::ClickHouse, 1),
            Writer::Inserting { doubtful: true } => {
                owning.clickhouse = Writer::Reading { repair: Repair::after_ok(), sighted: None };
            }
            Writer::Repairing { mut repair, sighted } => {
                repair.inserted(true);
                owning.clickhouse = Writer::Reading { repair, sighted: Some(sighted) };
            }
            other => owning.clickhouse = other,
        }
    }

    /// An insert is answered with an error, or not at all.
    pub(super) fn fail(&mut self, config: &Config, at: usize, broke: bool, orphan: Orphan) {
        let by = self.clickhouse.inserts[at].by.take();
        if orphan == Orphan::Dies {
            self.clickhouse.inserts.remove(at);
        }
        if let Some(by) = by {
            self.hear_error(config, by, broke);
        }
    }

    fn hear_error(&mut self, config: &Config, by: usize, broke: bool) {
        if broke && config.guards.hold(Guard::OldConnection) {
            self.void(by);
        }
        let Some(owning) = self.consumers[by].owning_mut() else { return };
        let believes = !config.guards.hold(Guard::ReadBackAfterError);
        owning.clickhouse = match std::mem::replace(&mut owning.clickhouse, Writer::Idle) {
            // without the guard, any error is taken for one that came before any write
            Writer::Inserting { .. } if believes => Writer::Idle,
            Writer::Inserting { .. } => {
                let mut repair = Repair::new();
                if !config.guards.hold(Guard::SameLevelFirst) {
                    next_level(&mut repair);
                }
                Writer::Reading { repair, sighted: None }
            }
            Writer::Repairing { mut repair, sighted } => {
                repair.inserted(false);
                if !config.guards.hold(Guard::SameLevelFirst) {
                    next_level(&mut repair);
                }
                Writer::Reading { repair, sighted: Some(sighted) }
            }
            other => other,
        };
    }

    /// The server ends an insert. Parts that have not landed never will, and its client receives an error.
    pub(super) fn kill_insert(&mut self, config: &Config, at: usize) {
        let insert = self.clickhouse.inserts.remove(at);
        if let Some(by) = insert.by {
            // a killed query is answered on a connection that lives
            self.hear_error(config, by, false);
        }
    }

    /// The server crashes. Nothing in flight survives, and a part of one insert may leave only half of its effects.
    pub(super) fn crash_clickhouse(&mut self, config: &Config, half: Option<(usize, usize)>) {
        let refused = |at: usize| !self.clickhouse.inserts[at].left.and(config.not_for_clickhouse()).is_empty();
        if let Some((at, part)) = half.filter(|&(at, _)| !refused(at)) {
            let insert = self.clickhouse.inserts[at].clone();
            if config.token_first {
                if let Some(token) = insert.token {
                    self.clickhouse.remember(part, token);
                }
            } else if insert.token.is_none_or(|token| !self.clickhouse.remembers(part, &token)) {
                self.store(insert.life, insert.left.part(part), insert.definition);
            }
        }
        if config.guards.hold(Guard::OldConnection) {
            // every later insert would need a new connection, and a new connection voids every proof
            self.age();
        }
        // inserts that have not reached the server die with their connections
        for insert in std::mem::take(&mut self.clickhouse.inserts) {
            if let Some(by) = insert.by {
                self.hear_error(config, by, true);
            }
        }
    }

    /// The parts of an insert that have not landed.
    pub fn parts_left(insert: &Insert) -> impl Iterator<Item = usize> + '_ {
        (0..PARTS).filter(|&part| !insert.left.part(part).is_empty())
    }
}
