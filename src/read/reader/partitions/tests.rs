//! The reader's decisions, driven by a script: commands, messages, errors and positions in, actions out. No Kafka, no clock.

use std::sync::Arc;

use footprint_protocol::offset::Range;
use footprint_service::kafka::fetched::InPlaceError;
use rdkafka::error::RDKafkaErrorCode;

use super::super::readings::{STALLED_AFTER, STUCK_AFTER};
use super::*;
use crate::ledger::ownership::Ownership;
use crate::limits::REPLAYS_MAX;
use crate::read::commands::{Command, CommandQueue, Commands, Commit, commands};
use crate::read::tests::ownership;

/// A reader without librdkafka: its calls return what librdkafka would be asked to do.
struct Script {
    commands: Commands,
    queue: CommandQueue,
    partitions: Partitions,
    now: Instant,
}

impl Script {
    fn new() -> Self {
        let (commands, queue) = commands();
        Self { commands, queue, partitions: Partitions::default(), now: Instant::now() }
    }

    /// One round of the reader's loop. Returns what it does about these commands and about waiting partitions.
    fn round(&mut self, sent: impl IntoIterator<Item = Command>) -> Vec<Action> {
        sent.into_iter().for_each(|command| self.commands.send(command).unwrap());
        let mut actions = self.partitions.follow(self.queue.take());
        actions.extend(self.partitions.start_deferred());
        actions
    }

    /// A reader that reads a partition from its start.
    fn reads(ownership: &Arc<Ownership>) -> Self {
        let mut script = Self::new();
        let partition = ownership.partition;
        let actions = script.round([Command::Assign(Arc::clone(ownership))]);
        assert_eq!(actions, [Action::Fetch { partition, from: 0 }]);
        script
    }

    /// Messages come. Returns the offsets of those that go into a chunk, or what is done instead.
    fn messages(
        &mut self,
        partition: Partition,
        offsets: std::ops::Range<Offset>,
    ) -> Result<Vec<Offset>, Option<Action>> {
        let mut new = self.partitions.readings.messages(partition)?;
        Ok(offsets.filter(|&offset| new.take(offset)).collect())
    }

    fn error(&mut self, partition: Partition, offset: Offset, code: RDKafkaErrorCode) -> Vec<Action> {
        self.partitions.readings.error(InPlaceError { partition, offset, code, why: "words".into() })
    }

    /// One take lasts for `time`.
    fn takes(&mut self, none_came: bool, time: Duration) -> Option<Action> {
        self.now += time;
        self.partitions.taken(none_came, time, self.now)
    }

    fn next(&self, partition: Partition) -> Option<Offset> {
        self.partitions.readings.get(partition).map(|reading| reading.next)
    }
}

fn skipping(partition: Partition, skip: Range) -> Arc<Ownership> {
    let mut ownership = ownership(partition, 0);
    Arc::get_mut(&mut ownership).unwrap().skips.push(skip);
    ownership
}

#[test]
fn commands_are_done_in_their_order() {
    let mut script = Script::reads(&ownership(1, 0));
    let offsets = vec![(1, 5)];
    let actions = script.round([
        Command::Assign(ownership(3, 0)),
        Command::Halt(2),
        Command::Commit { offsets, metadata: "mark".into() },
        Command::Release(vec![1]),
    ]);
    let commit = Commit { offsets: [(1, 5)].into(), metadata: "mark".into(), count: 1 };
    assert_eq!(
        actions,
        [Action::Commit(commit), Action::Pause(2), Action::Release(vec![1]), Action::Fetch { partition: 3, from: 0 }]
    );
    assert!(!script.partitions.closed);
    assert!(script.round([Command::Close]).is_empty() && script.partitions.closed);
}

/// librdkafka takes the next assignment for the answer to a revoke.
#[test]
fn a_revoke_is_answered_before_anything_is_assigned() {
    let mut script = Script::reads(&ownership(1, 0));
    let revoked = || Event::Revoked { partitions: vec![1], lost: false };
    assert_eq!(script.partitions.group_changed(revoked()), Action::Report(revoked()));
    assert!(script.round([Command::Assign(ownership(2, 0))]).is_empty(), "it waits");
    assert_eq!(script.messages(1, 0..3), Ok(vec![0, 1, 2]), "what is revoked is read until it is released");
    let actions = script.round([Command::Release(vec![1])]);
    assert_eq!(actions, [Action::Release(vec![1]), Action::Fetch { partition: 2, from: 0 }]);
    assert_eq!(script.messages(1, 3..5), Err(None), "nobody wants it any more");
    // the group may revoke partitions that are not read, and still waits for an answer
    script.partitions.group_changed(revoked());
    assert_eq!(script.round([Command::Release(vec![])]), [Action::Release(vec![])]);
    let given = Event::Assigned(vec![4]);
    script.partitions.group_changed(given);
    assert_eq!(script.round([Command::Assign(ownership(4, 0))]), [Action::Fetch { partition: 4, from: 0 }]);
}

#[test]
fn only_a_partition_that_is_fetched_in_vain_needs_a_new_client() {
    let mut script = Script::reads(&ownership(1, 0));
    let last = Partition::try_from(REPLAYS_MAX).unwrap() + 2;
    script.round((2..=last).map(|partition| Command::Assign(ownership(partition, 9))));
    let silent: BTreeSet<Partition> = (0..=last).collect();
    let stuck = |script: &Script, silent: &BTreeSet<Partition>| script.partitions.stuck(silent, |_| true);
    assert_eq!(stuck(&script, &silent), None, "no message was waited for yet");
    script.takes(true, STUCK_AFTER);
    assert_eq!(stuck(&script, &silent), Some(1));
    assert_eq!(stuck(&script, &[last].into()), None, "it waits for its turn");
    assert_eq!(script.partitions.stuck(&[1].into(), |_| false), None, "it gave messages before");
    assert_eq!(stuck(&script, &[].into()), None, "its log holds no more");
    script.messages(1, 0..1).unwrap();
    assert_eq!(stuck(&script, &[1].into()), None, "a message has come");
    script.error(2, 0, RDKafkaErrorCode::BadMessage);
    assert_eq!(stuck(&script, &[2].into()), None, "it stopped at an error");
    script.partitions.group_changed(Event::Revoked { partitions: vec![4], lost: false });
    assert_eq!(stuck(&script, &[3].into()), None, "the group waits for an answer");
    script.round([Command::Release(vec![4])]);
    assert_eq!(stuck(&script, &[3].into()), Some(3));
}

#[test]
fn a_new_client_reads_nothing_before_the_old_partitions_are_released() {
    let mut script = Script::reads(&ownership(1, 0));
    script.partitions.group_changed(Event::Assigned(vec![1, 2, 3]));
    script.partitions.group_changed(Event::Revoked { partitions: vec![2], lost: false });
    let lost = Event::JoinsAgain { partitions: vec![1, 3] };
    assert_eq!(script.partitions.joins_again(), Action::Report(lost));
    assert_eq!(script.messages(1, 0..3), Err(None), "the old client's messages are not read");
    let late = Command::Assign(ownership(3, 0));
    assert!(script.round([late]).is_empty(), "the coordinator does not know yet");
    script.partitions.group_changed(Event::Assigned(vec![3]));
    assert_eq!(script.round([Command::Release(vec![1, 3])]), [Action::Release(vec![1, 3])]);
    assert_eq!(script.round([Command::Assign(ownership(3, 0))]), [Action::Fetch { partition: 3, from: 0 }]);
    assert_eq!(script.partitions.joins_again(), Action::Report(Event::JoinsAgain { partitions: vec![3] }));
}

#[test]
fn a_partition_that_is_released_while_it_waits_is_not_read() {
    let mut script = Script::new();
    let replays =
        (0..Partition::try_from(REPLAYS_MAX).unwrap() + 1).map(|partition| Command::Assign(ownership(partition, 9)));
    assert_eq!(script.round(replays).len(), REPLAYS_MAX, "one waits for a place");
    let last = Partition::try_from(REPLAYS_MAX).unwrap();
    assert_eq!(script.round([Command::Release(vec![0, last])]), [Action::Release(vec![0, last])]);
    assert!(script.round([]).is_empty());
}

#[test]
fn a_stalled_replay_is_paused_for_the_next_and_goes_on_where_it_was() {
    let mut script = Script::new();
    let last = Partition::try_from(REPLAYS_MAX).unwrap();
    script.round((0..=last).map(|partition| Command::Assign(ownership(partition, 9))));
    assert_eq!(script.messages(0, 0..4), Ok(vec![0, 1, 2, 3]));
    assert!(script.round([]).is_empty(), "every place is taken");
    script.takes(false, STALLED_AFTER);
    for partition in 1..last {
        script.messages(partition, 0..1).unwrap();
    }
    assert_eq!(script.round([]), [Action::Pause(0), Action::Fetch { partition: last, from: 0 }]);
    assert_eq!(script.messages(0, 4..5), Err(None), "what librdkafka still has of it is left out");
    script.messages(1, 1..9).unwrap();
    assert_eq!(
        script.round([]),
        [Action::Fetch { partition: 0, from: 4 }],
        "the first is read to the end of its claim"
    );
}

#[test]
fn messages_are_taken_once_and_only_for_an_ownership_that_holds() {
    let ownership = ownership(1, 0);
    let mut script = Script::reads(&ownership);
    assert_eq!(script.messages(1, 0..3), Ok(vec![0, 1, 2]));
    assert_eq!(script.messages(1, 1..5), Ok(vec![3, 4]), "librdkafka may give some of them again");
    assert_eq!(script.messages(7, 0..3), Err(None), "this one is not read");
    ownership.ended.cancel();
    assert_eq!(script.messages(1, 5..9), Err(None));
    assert!(script.error(1, 9, RDKafkaErrorCode::BadMessage).is_empty(), "it is read again in any case");
    assert_eq!(script.partitions.readings.position(1, 9), None);
}

#[test]
fn a_halted_partition_is_paused_and_read_again_where_it_is_assigned() {
    let mut script = Script::reads(&ownership(1, 0));
    assert_eq!(script.round([Command::Halt(1)]), [Action::Pause(1)]);
    assert_eq!(script.messages(1, 0..3), Err(None));
    assert_eq!(script.round([Command::Assign(ownership(1, 0))]), [Action::Fetch { partition: 1, from: 0 }]);
    assert_eq!(script.messages(1, 0..3), Ok(vec![0, 1, 2]));
}

/// The story: librdkafka reads on behind a batch that it cannot read, and so a claim moved past it. See `it/unreadable.rs`.
#[test]
fn nothing_behind_an_error_is_taken() {
    let mut script = Script::reads(&ownership(1, 0));
    script.messages(1, 0..4).unwrap();
    let reported = script.error(1, 4, RDKafkaErrorCode::BadMessage);
    let unreadable = Event::Unreadable { partition: 1, offset: 4, sent_below: 4, why: "words".into() };
    assert_eq!(reported, [Action::Report(unreadable)]);
    assert_eq!(script.partitions.readings.position(1, 5), None, "a position does not count as a message");
    assert_eq!(script.messages(1, 5..9), Err(Some(Action::Pause(1))), "it is still fetched");
    assert_eq!(script.messages(1, 9..10), Err(None), "and paused once");
    assert_eq!(script.partitions.readings.position(1, 10), None);
    assert_eq!(script.round([Command::Assign(ownership(1, 0))]), [Action::Fetch { partition: 1, from: 0 }]);
    assert_eq!(script.messages(1, 0..2), Ok(vec![0, 1]));
}

#[test]
fn an_error_that_leaves_nothing_out_does_not_end_the_reading() {
    let mut script = Script::reads(&ownership(1, 0));
    assert!(script.error(1, 0, RDKafkaErrorCode::PartitionEOF).is_empty());
    let reported = script.error(1, 0, RDKafkaErrorCode::OffsetOutOfRange);
    assert_eq!(reported, [Action::Report(Event::Displaced { partitions: vec![1], why: "offset 0: words".into() })]);
    assert_eq!(script.error(1, 0, RDKafkaErrorCode::UnknownTopicOrPartition), [Action::Report(Event::TopicGone)]);
    assert_eq!(script.messages(1, 0..2), Ok(vec![0, 1]), "the coordinator says what becomes of it");
}

#[test]
fn records_that_are_given_up_are_read_past() {
    let mut script = Script::reads(&skipping(1, Range::new(4, 10)));
    script.messages(1, 0..4).unwrap();
    let actions = script.error(1, 4, RDKafkaErrorCode::BadMessage);
    assert_eq!(actions, [Action::SendPosition(1), Action::Fetch { partition: 1, from: 10 }]);
    assert_eq!(script.next(1), Some(10));
    assert_eq!(script.messages(1, 8..12), Ok(vec![10, 11]));
    let again = script.error(1, 12, RDKafkaErrorCode::BadMessage);
    assert!(matches!(again[..], [Action::Report(Event::Unreadable { offset: 12, sent_below: 12, .. })]), "{again:?}");
}

/// The story: a log that ends in control records never seemed to be read to its end. Its batch stayed open, and the partition seemed to be
/// behind for ever. Only the position passes control records.
#[test]
fn control_records_at_a_logs_end_are_passed_by_the_position() {
    let mut script = Script::reads(&ownership(1, 0));
    script.messages(1, 0..500).unwrap();
    assert_eq!(script.takes(false, Duration::from_millis(1)), None, "messages come");
    assert_eq!(script.takes(true, Duration::from_millis(20)), Some(Action::AskPositions));
    assert_eq!(script.takes(true, POSITION_INTERVAL - Duration::from_millis(1)), None, "not at every take");
    assert_eq!(script.takes(true, Duration::from_millis(1)), Some(Action::AskPositions));
    let position = |script: &mut Script, position| script.partitions.readings.position(1, position);
    assert_eq!(position(&mut script, 500), None, "nothing but the messages");
    assert_eq!(position(&mut script, 501), Some(Action::SendPosition(1)), "a commit mark");
    assert_eq!((script.next(1), position(&mut script, 501)), (Some(501), None), "sent once");
    assert_eq!(script.messages(1, 501..502), Ok(vec![501]));
}

#[test]
fn positions_are_not_asked_for_while_nothing_is_read() {
    let mut script = Script::new();
    assert_eq!(script.takes(true, POSITION_INTERVAL), None);
    script.round([Command::Assign(ownership(1, 0))]);
    assert_eq!(script.takes(true, POSITION_INTERVAL), Some(Action::AskPositions));
    script.round([Command::Halt(1)]);
    assert_eq!(script.takes(true, POSITION_INTERVAL), None);
    assert_eq!(script.partitions.readings.position(1, 7), None);
}

#[test]
fn a_partition_that_cannot_be_fetched_is_looked_at_again() {
    let mut script = Script::reads(&ownership(1, 0));
    let reported = script.partitions.not_fetched(1, 0, "unknown partition");
    let displaced = Event::Displaced { partitions: vec![1], why: "offset 0: unknown partition".into() };
    assert_eq!((reported, script.next(1)), (Action::Report(displaced), None));
}
