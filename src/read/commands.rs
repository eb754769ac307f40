//! The commands of the coordinator to the reader. Only the latest command for each partition is kept. So a burst of commands costs one
//! entry a partition, however slow the reader is, and sending never waits.
//!
//! The reader takes all commands at once, and does them in this order: commits, halts, releases, assignments, a new client, the end. The order in which
//! they were sent matters only in two cases, and both are kept: nothing is committed for a partition after its release, and a released
//! partition is assigned only after the group has assigned it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use footprint_protocol::offset::{Offset, Partition};
use parking_lot::Mutex;

use crate::ledger::ownership::Ownership;

/// A command of the coordinator to the reader.
#[derive(Debug)]
pub enum Command {
    /// Read a partition from `plan.read_from` on, under this ownership.
    Assign(Arc<Ownership>),
    /// The partition's ownership has ended: stop fetching it until the next `Assign`.
    Halt(Partition),
    /// Answer a revoke: release the partitions.
    Release(Vec<Partition>),
    /// Commit offsets with our mark, and report the result.
    Commit {
        /// The next offset of each partition.
        offsets: Vec<(Partition, Offset)>,
        /// Our mark, as the metadata of the commit.
        metadata: String,
    },
    /// Nothing comes from these partitions, although their logs hold more. If librdkafka fetches one of them, and has given nothing of it
    /// yet, join the group again with a new client.
    JoinAgain(Vec<Partition>),
    /// Leave the group and end.
    Close,
}

/// One commit of offsets to Kafka.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The next offset of each partition.
    pub offsets: BTreeMap<Partition, Offset>,
    /// Our mark, as the metadata of the commit.
    pub metadata: String,
    /// How many `Commit` commands this commit answers.
    pub count: usize,
}

/// The commands that the reader has not taken yet.
#[derive(Debug, Default)]
pub struct PendingCommands {
    /// Offsets to commit.
    pub commit: Option<Commit>,
    /// Partitions to stop fetching.
    pub halted: BTreeSet<Partition>,
    /// Partitions to release. A release without partitions also answers a revoke.
    pub released: Option<BTreeSet<Partition>>,
    /// Partitions to read.
    pub assigned: BTreeMap<Partition, Arc<Ownership>>,
    /// Partitions from which nothing comes, although their logs hold more.
    pub silent: BTreeSet<Partition>,
    /// The reader must end.
    pub is_closing: bool,
    /// The reader has ended.
    is_gone: bool,
}

/// The reader has ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader ended; see the lines above")]
pub struct ReaderGone;

/// The coordinator's end of the queue. If it is dropped, the reader ends.
#[derive(Debug)]
pub struct Commands(Arc<Mutex<PendingCommands>>);

/// The reader's end of the queue.
#[derive(Debug)]
pub struct CommandQueue(Arc<Mutex<PendingCommands>>);

/// Makes both ends of an empty queue.
pub fn commands() -> (Commands, CommandQueue) {
    let pending = Arc::new(Mutex::new(PendingCommands::default()));
    (Commands(Arc::clone(&pending)), CommandQueue(pending))
}

impl Commands {
    /// Adds a command, which may replace an earlier one for the same partition.
    ///
    /// # Errors
    /// The reader has ended.
    pub fn send(&self, command: Command) -> Result<(), ReaderGone> {
        let mut pending = self.0.lock();
        if pending.is_gone {
            return Err(ReaderGone);
        }
        pending.add(command);
        Ok(())
    }
}

impl PendingCommands {
    fn add(&mut self, command: Command) {
        match command {
            Command::Assign(ownership) => {
                self.halted.remove(&ownership.partition);
                self.assigned.insert(ownership.partition, ownership);
            }
            Command::Halt(partition) => {
                self.assigned.remove(&partition);
                self.halted.insert(partition);
            }
            Command::Release(partitions) => {
                for partition in &partitions {
                    self.assigned.remove(partition);
                    self.halted.remove(partition);
                }
                self.released.get_or_insert_default().extend(partitions);
            }
            Command::Commit { offsets, metadata } => {
                let commit = self.commit.get_or_insert_default();
                if commit.metadata != metadata {
                    // the offsets kept so far are of an earlier life of the topic
                    commit.offsets.clear();
                    commit.metadata = metadata;
                }
                commit.offsets.extend(offsets);
                commit.count += 1;
            }
            Command::JoinAgain(partitions) => self.silent.extend(partitions),
            Command::Close => self.is_closing = true,
        }
    }
}

impl CommandQueue {
    /// Takes all commands.
    pub fn take(&self) -> PendingCommands {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.0.lock().is_closing = true;
    }
}

impl Drop for CommandQueue {
    fn drop(&mut self) {
        self.0.lock().is_gone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PARTITIONS_MAX;
    use crate::read::tests::ownership;

    fn partitions() -> impl Iterator<Item = Partition> {
        0..Partition::try_from(PARTITIONS_MAX).unwrap()
    }

    /// The story: a channel held 1,024 commands, and one more ended the pipeline. It was enough that the reader was busy for a moment while
    /// the ledger was lost, or while many partitions were taken over.
    #[test]
    fn a_burst_of_commands_is_one_wish_a_partition() {
        let (commands, queue) = commands();
        for round in 0..3 {
            for partition in partitions() {
                commands.send(Command::Assign(ownership(partition, 0))).unwrap();
                commands.send(Command::Commit { offsets: vec![(partition, round)], metadata: "mark".into() }).unwrap();
                commands.send(Command::Halt(partition)).unwrap();
            }
        }
        commands.send(Command::Assign(ownership(7, 0))).unwrap();
        let pending = queue.take();
        assert_eq!(pending.assigned.keys().copied().collect::<Vec<_>>(), [7], "the latest wish");
        assert!(pending.halted.iter().copied().eq(partitions().filter(|&partition| partition != 7)));
        let commit = pending.commit.unwrap();
        assert!(commit.offsets.into_iter().eq(partitions().map(|partition| (partition, 2))), "the latest offsets");
        assert_eq!(commit.count, 3 * PARTITIONS_MAX, "each is answered");
        assert!(queue.take().assigned.is_empty(), "and taken once");
    }

    #[test]
    fn a_release_withdraws_what_was_wanted_before_and_keeps_the_commit() {
        let (commands, queue) = commands();
        for partition in [1, 2] {
            commands.send(Command::Assign(ownership(partition, 0))).unwrap();
        }
        commands.send(Command::Commit { offsets: vec![(1, 10)], metadata: "mark".into() }).unwrap();
        commands.send(Command::Release(vec![1])).unwrap();
        commands.send(Command::Release(vec![])).unwrap();
        let pending = queue.take();
        assert_eq!(pending.assigned.keys().copied().collect::<Vec<_>>(), [2]);
        assert_eq!(pending.released, Some([1].into()));
        assert_eq!(pending.commit.unwrap().offsets, [(1, 10)].into());
        commands.send(Command::Release(vec![])).unwrap();
        assert_eq!(queue.take().released, Some([].into()), "the group waits for an answer");
    }

    #[test]
    fn offsets_of_another_life_are_dropped_and_their_command_is_answered() {
        let (commands, queue) = commands();
        commands.send(Command::Commit { offsets: vec![(1, 10), (2, 10)], metadata: "old".into() }).unwrap();
        commands.send(Command::Commit { offsets: vec![(1, 3)], metadata: "new".into() }).unwrap();
        let expected = Commit { offsets: [(1, 3)].into(), metadata: "new".into(), count: 2 };
        assert_eq!(queue.take().commit, Some(expected));
    }

    #[test]
    fn each_end_learns_that_the_other_is_gone() {
        let (commands, queue) = commands();
        drop(queue);
        assert_eq!(commands.send(Command::Close), Err(ReaderGone));
        let (commands, queue) = super::commands();
        assert!(!queue.take().is_closing);
        drop(commands);
        assert!(queue.take().is_closing);
    }
}
