//! The world: servers, consumers, the faults that may still strike, and what has gone wrong. `steps` lists what can come next,
//! and `apply` does it. The checker and the simulation both use these two.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use footprint_protocol::ledger::OwnerId;
use footprint_protocol::offset::Offset;
use xxhash_rust::xxh3::Xxh3Default;

use crate::config::{Budget, Config};
use crate::consumer::Consumer;
use crate::servers::{ClickHouse, Fingerprint, Kafka, LIVES, Offsets, Postgres};

/// What must never happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// PostgreSQL holds a row or a dead letter twice, or both for one record.
    DoubledInPostgres,
    /// ClickHouse holds a row twice.
    DoubledInClickHouse,
    /// A record of another life of the topic was stored as one of this life.
    ForeignRecord,
    /// The ledger says that PostgreSQL holds a record that it does not hold.
    LostInPostgres,
    /// The ledger says that ClickHouse holds a record that it does not hold.
    LostInClickHouse,
    /// An offset was committed to Kafka, and a record below it is not stored.
    CommittedTooFar,
    /// The databases hold rows of two definitions for one record.
    Differ,
    /// A partition did not start where it must.
    StartedElsewhere,
    /// The program stops and calls for a person.
    Stopped(String),
    /// The program panics.
    Panicked,
    /// The faults are over, but not everything is ever stored.
    Stuck,
}

/// How a statement to PostgreSQL ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Executed and answered.
    Fine,
    /// Executed; the answer is lost with the connection.
    Lost,
    /// The connection is lost. The statement may be executed later, or never.
    Late,
}

/// What happens on the server to an insert that its client gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Orphan {
    /// The server continues.
    Lives,
    /// Parts that have not landed never will.
    Dies,
}

/// The steps. A number is a consumer, unless a field says otherwise.
#[allow(missing_docs, reason = "`by`: the consumer; `insert`: its index; each step explains the rest")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A record is added to the log.
    Produce,
    /// A process dies.
    Crash(usize),
    /// A process starts, if it does not run, and the group gives it the partition.
    Assign(usize),
    /// The group revokes it.
    Revoke(usize),
    /// The group takes it from a member that is silent.
    Expel(usize),
    /// The member learns that it was expelled.
    Notice(usize),
    /// The member releases it.
    Release(usize),
    /// The next step of a take-over.
    TakeOver(usize, Answer),
    /// The next step of a take-over that is no longer wanted.
    Stray(usize, Answer),
    /// The next batch, of this number of offsets, is read, claimed (unless it was claimed before the take-over), and given to the
    /// writers.
    Next(usize, Offset, Answer),
    /// If the topic may be replaced: the next batch is read,
    Read(usize, Offset),
    /// the topic's id is asked,
    Describe(usize),
    /// and the batch is claimed (unless it was before), and given to the writers.
    Send(usize, Answer),
    /// A heartbeat is sent to the ledger.
    Beat(usize, Answer),
    /// If commits may be slow: the offset that the ledger returned is committed to Kafka.
    Commit(usize),
    /// A commit arrives after its sender has released the partition. This happens only without that guard.
    LandCommit,
    /// The committed offset is committed again, as every owner does now and then.
    Recommit(usize),
    /// This number of batches goes to PostgreSQL in one transaction.
    Write(usize, usize, Answer),
    /// After an uncertain write the row is read for update.
    Resolve(usize),
    /// ClickHouse's writer takes its next batch. `unseen`: its insert, if there is one, is slow to reach the server.
    Deliver { by: usize, unseen: bool },
    /// ClickHouse's writer takes the next step of its repair.
    Repair { by: usize, unseen: bool },
    /// The dead letter of a record that ClickHouse refuses is written.
    LeaveOut(usize, Answer),
    /// One table partition's part of an insert lands. `insert` is the insert's index.
    Land { insert: usize, part: usize },
    /// A statement that its client has given up is executed. The number is its index.
    LandLate(usize),
    /// An insert is answered with an error. `broke`: its connection breaks too.
    Fail { insert: usize, broke: bool, orphan: Orphan },
    /// Enough time passes that every proof is old.
    Age,
    /// Enough inserts pass that every token is forgotten.
    Forget,
    /// ClickHouse crashes. A part of an insert leaves half of its effects: a token without rows, or rows without a token.
    CrashClickHouse(Option<(usize, usize)>),
    /// PostgreSQL crashes and recovers.
    CrashPostgres,
    /// A backup of PostgreSQL is taken.
    Backup,
    /// It is restored.
    Restore,
    /// The topic is deleted and created again.
    Replace,
    /// Every process ends, and the configuration changes: a sink is switched off or on.
    SwitchPostgres,
    /// The same for ClickHouse.
    SwitchClickHouse,
    /// The reader applies a reset policy. This happens only without that guard.
    Reset(usize),
    /// The old consumer, which has the partition, stores and commits a record.
    OldCommits,
    /// The route's definition changes, for every process that starts from now on.
    Redefine,
}

impl Step {
    /// Whether the step is a fault.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::TakeOver(_, answer)
            | Self::Stray(_, answer)
            | Self::Next(_, _, answer)
            | Self::Send(_, answer)
            | Self::Beat(_, answer)
            | Self::LeaveOut(_, answer)
            | Self::Write(_, _, answer) => *answer != Answer::Fine,
            Self::Deliver { unseen, .. } | Self::Repair { unseen, .. } => *unseen,
            Self::Crash(_)
            | Self::Revoke(_)
            | Self::Expel(_)
            | Self::Fail { .. }
            | Self::Age
            | Self::Forget
            | Self::CrashClickHouse(_)
            | Self::CrashPostgres
            | Self::Backup
            | Self::Restore
            | Self::Replace
            | Self::SwitchPostgres
            | Self::SwitchClickHouse
            | Self::OldCommits
            | Self::Redefine => true,
            Self::Produce
            | Self::Assign(_)
            | Self::Notice(_)
            | Self::Release(_)
            | Self::Read(..)
            | Self::Describe(_)
            | Self::Commit(_)
            | Self::Recommit(_)
            | Self::Resolve(_)
            | Self::Land { .. }
            | Self::LandLate(_)
            | Self::LandCommit
            | Self::Reset(_) => false,
        }
    }
}

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Kafka.
    pub kafka: Kafka,
    /// PostgreSQL.
    pub postgres: Postgres,
    /// ClickHouse.
    pub clickhouse: ClickHouse,
    /// The processes.
    pub consumers: Vec<Consumer>,
    /// PostgreSQL's rows are on.
    pub postgres_on: bool,
    /// ClickHouse's rows are on.
    pub clickhouse_on: bool,
    /// The route's configured definition.
    pub definition: Fingerprint,
    /// Where we must start in each life. Records below are the old consumer's, or were there before the first start.
    pub floor: [Offset; LIVES],
    /// Faults that may still strike.
    pub budget: Budget,
    /// What has gone wrong.
    pub broken: Option<Broken>,
}

impl World {
    /// The first state: nothing is stored and no process runs.
    pub fn new(config: &Config) -> Self {
        Self {
            kafka: Kafka { life: 0, end: config.first_end, member: None, committed: None, late_commit: None },
            postgres: Postgres::default(),
            clickhouse: ClickHouse::default(),
            consumers: vec![Consumer::down(); config.consumers],
            postgres_on: true,
            clickhouse_on: true,
            definition: 0,
            floor: [0; LIVES],
            budget: config.budget,
            broken: None,
        }
    }

    /// Takes a step. A panic of the program's own functions is a fault too.
    pub fn apply(&mut self, config: &Config, step: &Step) {
        let done = catch_unwind(AssertUnwindSafe(|| self.take(config, step)));
        if done.is_err() {
            self.broken.get_or_insert(Broken::Panicked);
        }
        self.normalize(config);
        if self.broken.is_none() {
            self.broken = self.audit(config);
        }
    }

    /// Notes a fault. Only the first one counts.
    pub fn fault(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
    }

    /// Checks that everything that the ledger calls stored is stored.
    fn audit(&self, config: &Config) -> Option<Broken> {
        let tables = &self.postgres.tables;
        for life in 0..LIVES {
            let Some(found) = &tables.ledger[life] else { continue };
            if config.has_first_start() && found.row.first_offset != Some(self.floor[life]) {
                return Some(Broken::StartedElsewhere);
            }
            let frontiers = found.row.frontiers;
            let (good, bad) = (self.ours(config.good(), life), self.ours(config.bad(), life));
            let rows = frontiers.postgres.map_or(Offsets::default(), Offsets::below).and(good);
            let dead_letters = Offsets::below(frontiers.dead_letters).and(bad);
            let held = tables.rows[life].or(tables.gaps[life][0]).or(tables.refused[life][0]);
            if !rows.minus(held).is_empty() || !dead_letters.minus(tables.dead_letters[life]).is_empty() {
                return Some(Broken::LostInPostgres);
            }
            let rows = frontiers.clickhouse.map_or(Offsets::default(), Offsets::below).and(good);
            let held = self.clickhouse.rows[life].or(tables.gaps[life][1]).or(tables.refused[life][1]);
            if !rows.minus(held).is_empty() {
                return Some(Broken::LostInClickHouse);
            }
            let both = tables.rows[life].and(self.clickhouse.rows[life]);
            if tables.redefined[life].and(both) != self.clickhouse.redefined[life].and(both) {
                return Some(Broken::Differ);
            }
        }
        None
    }

    /// The records of a life that are ours to store.
    pub(crate) fn ours(&self, offsets: Offsets, life: usize) -> Offsets {
        offsets.minus(Offsets::below(self.floor[life]))
    }

    /// Whether everything is stored, recorded and committed, and no process is doing anything.
    pub fn is_done(&self, config: &Config) -> bool {
        let life = self.kafka.life;
        let tables = &self.postgres.tables;
        let Some(found) = &tables.ledger[life] else { return false };
        let frontiers = found.row.frontiers;
        let end = config.records;
        let (good, bad) = (self.ours(config.good(), life), self.ours(config.bad(), life));
        let stored = tables.rows[life].or(tables.gaps[life][0]).or(tables.refused[life][0]).and(config.good());
        let in_clickhouse = self.clickhouse.rows[life].or(tables.gaps[life][1]).or(tables.refused[life][1]);
        let mark = footprint_protocol::first_start::commit_mark(source(life));
        self.kafka.end == end
            && [frontiers.dead_letters, frontiers.postgres.unwrap_or(-1), frontiers.clickhouse.unwrap_or(-1)]
                == [end; 3]
            && stored == good
            && tables.dead_letters[life] == bad
            && in_clickhouse.and(config.good()) == good
            && (self.kafka.committed == Some((end, mark)) || !config.guards.hold(crate::guard::Guard::CommitMark))
            && self.clickhouse.inserts.is_empty()
            && self.postgres.late.is_empty()
    }

    /// Every owner in use.
    fn owners(&self) -> Vec<OwnerId> {
        let mut owners = Vec::new();
        for tables in [&self.postgres.tables, &*self.postgres.backup] {
            owners.extend(tables.ledger.iter().flatten().map(|found| found.row.owner));
        }
        for late in &self.postgres.late {
            owners.push(late.owner());
        }
        for consumer in &self.consumers {
            owners.extend(consumer.owning().map(|owning| owning.fence.owner));
            owners.extend(consumer.taking.as_ref().and_then(|taking| taking.fence).map(|fence| fence.owner));
        }
        owners
    }

    /// The lowest owner that nobody has. So worlds that do not differ otherwise are equal.
    pub fn fresh_owner(&self) -> OwnerId {
        let used = self.owners();
        (1..).map(OwnerId).find(|owner| !used.contains(owner)).unwrap_or_default()
    }

    /// The lowest birth that nothing carries.
    pub fn fresh_birth(&self, life: usize) -> i64 {
        let mut used: Vec<i64> = Vec::new();
        for tables in [&self.postgres.tables, &*self.postgres.backup] {
            used.extend(tables.ledger[life].iter().map(|found| found.row.birth));
        }
        let tokens = self.clickhouse.tokens.iter().flatten();
        used.extend(
            tokens
                .chain(self.clickhouse.inserts.iter().filter_map(|insert| insert.token.as_ref()))
                .map(|token| token.birth),
        );
        used.extend(self.consumers.iter().filter_map(Consumer::owning).map(|owning| owning.plan.birth));
        (1..).find(|birth| !used.contains(birth)).unwrap_or_default()
    }

    /// Epochs are only compared and raised. So worlds whose epochs all differ by the same number are equal.
    fn normalize(&mut self, config: &Config) {
        if config.consumers == 2 && print(&self.consumers[1]) < print(&self.consumers[0]) {
            self.swap();
        }
        for life in 0..LIVES {
            let mut epochs = Vec::new();
            self.each_epoch(life, &mut |epoch| epochs.push(*epoch));
            let Some(&lowest) = epochs.iter().min() else { continue };
            if lowest > 1 {
                self.each_epoch(life, &mut |epoch| *epoch -= lowest - 1);
            }
        }
    }

    /// Consumers are alike. So worlds in which they have changed places are equal.
    fn swap(&mut self) {
        self.consumers.swap(0, 1);
        self.kafka.member = self.kafka.member.map(|member| 1 - member);
        for insert in &mut self.clickhouse.inserts {
            insert.by = insert.by.map(|by| 1 - by);
        }
    }

    fn each_epoch(&mut self, life: usize, visit: &mut impl FnMut(&mut i64)) {
        for tables in [&mut self.postgres.tables, &mut *self.postgres.backup] {
            if let Some(found) = &mut tables.ledger[life] {
                visit(&mut found.row.epoch);
            }
        }
        for late in &mut self.postgres.late {
            late.each_epoch(life, visit);
        }
        for consumer in &mut self.consumers {
            if let Some(taking) = &mut consumer.taking {
                taking.each_epoch(life, visit);
            }
            if let Some(owning) = consumer.owning_mut()
                && owning.life == life
            {
                visit(&mut owning.fence.epoch);
            }
        }
    }
}

/// A fingerprint.
pub fn print(of: &impl Hash) -> u64 {
    let mut hasher = Xxh3Default::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The source of a life.
pub fn source(life: usize) -> footprint_protocol::ledger::SourceId {
    footprint_protocol::ledger::SourceId(life as i64)
}
