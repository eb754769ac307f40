//! The writer's loop with a scripted sink: what it does after a refusal, a failure after the write, a held answer and a fence.

use std::collections::VecDeque;
use std::time::Duration;

use footprint_event::definition::Definition;
use footprint_event::rows::Rows;
use footprint_protocol::offset::{Offset, Range};
use footprint_service::config::Config;
use footprint_service::health::{Component, Health, State};
use footprint_service::metrics::Meters;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::batch::CutReason;
use crate::batch::budget::Permit;
use crate::batch::under_way::UnderWay;
use crate::ledger::ownership::Ownership;
use crate::read::tests::ownership;

/// How long anything may take here.
const SOON: Duration = Duration::from_secs(10);

/// What the sink does with one call.
#[derive(Clone, Copy, Debug)]
enum Scripted {
    /// It stores the group.
    Store,
    /// Another process owns the partition.
    Fence,
    /// It refuses before anything is written.
    Reject,
    /// It stores the group, and the answer is an error.
    FailAfterWrite,
    /// It stores the group when the test allows it.
    Hold,
    /// It refuses for good.
    Stop,
}

/// One call of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    ranges: Vec<Range>,
    uncertain: bool,
}

#[derive(Default)]
struct Seen {
    calls: Mutex<Vec<Call>>,
    called: Notify,
    let_go: Notify,
}

struct ScriptedSink {
    script: VecDeque<Scripted>,
    seen: Arc<Seen>,
}

impl Sink for ScriptedSink {
    fn name(&self) -> SinkName {
        SinkName::Postgres
    }

    fn joins(&self, group: &[Arc<Batch>], _next: &Batch) -> bool {
        group.len() < 2
    }

    async fn write(&mut self, group: &[Arc<Batch>], uncertain: bool) -> Result<Vec<Verdict>, SinkError> {
        let ranges = group.iter().map(|batch| batch.range).collect();
        self.seen.calls.lock().push(Call { ranges, uncertain });
        self.seen.called.notify_one();
        match self.script.pop_front().unwrap_or(Scripted::Store) {
            Scripted::Store => Ok(vec![Verdict::Stored; group.len()]),
            Scripted::Fence => Ok(vec![Verdict::Fenced; group.len()]),
            Scripted::Reject => Err(SinkError::Retry(WriteFailure::GivenUp)),
            Scripted::FailAfterWrite => Err(SinkError::Uncertain(WriteFailure::GivenUp)),
            Scripted::Hold => {
                self.seen.let_go.notified().await;
                Ok(vec![Verdict::Stored; group.len()])
            }
            Scripted::Stop => Err(SinkError::Stop(WriteFailure::GivenUp)),
        }
    }
}

struct Lane {
    batches: mpsc::Sender<Arc<Batch>>,
    acks: mpsc::Receiver<Ack>,
    seen: Arc<Seen>,
    ownership: Arc<Ownership>,
    definition: Arc<Definition>,
    serving: JoinHandle<Result<(), SinkError>>,
    health: Arc<Health>,
    pause: watch::Sender<Paused>,
}

impl Lane {
    fn new(script: &[Scripted]) -> Self {
        Self::with(script, Patience::None)
    }

    fn with(script: &[Scripted], patience: Patience) -> Self {
        let seen = Arc::new(Seen::default());
        let sink = ScriptedSink { script: script.iter().copied().collect(), seen: Arc::clone(&seen) };
        let (batches, receiver) = mpsc::channel(16);
        let (acks, receiver_of_acks) = mpsc::channel(16);
        let route = Arc::new(Config::load(None, &[]).unwrap().routes.remove(0));
        let definition = Arc::new(Definition::of(&route).unwrap());
        let health = Health::new("visits", vec![Component::Postgres], Instant::now());
        let meters = Meters::new("visits").sink(SinkName::Postgres);
        let (pause, paused) = watch::channel(Paused::default());
        let watched = Watched { health: health.reporter(Component::Postgres), meters, patience, paused };
        let serving = tokio::spawn(serve(sink, receiver, acks, watched));
        Self { batches, acks: receiver_of_acks, seen, ownership: ownership(0, 0), definition, serving, health, pause }
    }

    async fn send(&self, start: Offset, end: Offset) {
        let batch = Batch {
            ownership: Arc::clone(&self.ownership),
            range: Range::new(start, end),
            reason: CutReason::Linger,
            definition: Arc::clone(&self.definition),
            rows: Rows::empty(self.definition.route()).into(),
            dead_letters: Vec::new(),
            first_read_at: Instant::now(),
            read_at: Instant::now(),
            brokers: footprint_service::kafka::brokers::Brokers::default(),
            permit: Permit::default(),
            under_way: UnderWay::default().start(0),
        };
        self.batches.send(Arc::new(batch)).await.unwrap();
    }

    /// Waits until the sink was called once more.
    async fn called(&self) {
        timeout(SOON, self.seen.called.notified()).await.unwrap();
    }

    async fn ack(&mut self) -> (Range, Verdict) {
        let ack = timeout(SOON, self.acks.recv()).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&ack.ownership, &self.ownership) && ack.sink == SinkName::Postgres);
        (ack.range, ack.verdict)
    }

    /// Closes the channel of batches and waits for the end of the loop. Returns the loop's result, and how many acknowledgements nobody has
    /// taken.
    async fn ended(self) -> (Result<(), SinkError>, usize) {
        let Self { batches, mut acks, serving, .. } = self;
        drop(batches);
        let ended = timeout(SOON, serving).await.unwrap().unwrap();
        let mut left = 0;
        while acks.recv().await.is_some() {
            left += 1;
        }
        (ended, left)
    }

    fn calls(&self) -> Vec<Call> {
        self.seen.calls.lock().clone()
    }
}

fn call(range: Range, uncertain: bool) -> Call {
    Call { ranges: vec![range], uncertain }
}

/// A paused writer writes nothing, drops what is no longer its own, and goes on when it is resumed.
#[tokio::test]
async fn a_paused_sink_waits_and_then_writes_what_waits() {
    let mut lane = Lane::new(&[Scripted::Reject]);
    lane.pause.send_replace(Paused { postgres: true, ..Paused::default() });
    lane.send(0, 10).await;
    lane.send(10, 20).await;
    lane.pause.send_replace(Paused { postgres: true, clickhouse: true, route: true });
    assert!(timeout(Duration::from_millis(300), lane.acks.recv()).await.is_err(), "nothing is acknowledged");
    assert_eq!(lane.calls(), []);
    lane.pause.send_replace(Paused { route: true, clickhouse: true, postgres: false });
    assert_eq!(lane.ack().await, (Range::new(0, 10), Verdict::Stored));
    assert_eq!(lane.ack().await, (Range::new(10, 20), Verdict::Stored));
    // the coordinator ends while the writer waits: nothing is written
    lane.pause.send_replace(Paused { postgres: true, ..Paused::default() });
    lane.send(20, 30).await;
    let calls = lane.calls().len();
    let Lane { pause, serving, seen, .. } = lane;
    drop(pause);
    assert!(timeout(SOON, serving).await.unwrap().unwrap().is_ok());
    assert_eq!(seen.calls.lock().len(), calls);
}

#[tokio::test]
async fn what_is_rejected_is_written_again_and_acknowledged_once() {
    let mut lane = Lane::new(&[Scripted::Reject, Scripted::Reject]);
    let range = Range::new(0, 10);
    lane.send(0, 10).await;
    assert_eq!(lane.ack().await, (range, Verdict::Stored));
    assert_eq!(lane.calls(), vec![call(range, false); 3]);
    let (ended, left) = lane.ended().await;
    assert!(ended.is_ok() && left == 0);
}

/// A write that may have landed stays uncertain: a later refusal says nothing about the earlier try.
#[tokio::test]
async fn a_write_that_may_have_landed_stays_uncertain_through_later_refusals() {
    let mut lane = Lane::new(&[Scripted::FailAfterWrite, Scripted::Reject]);
    let range = Range::new(0, 10);
    lane.send(0, 10).await;
    assert_eq!(lane.ack().await, (range, Verdict::Stored));
    assert_eq!(lane.calls(), [call(range, false), call(range, true), call(range, true)]);
    // the next batch does not inherit the uncertainty
    lane.send(10, 20).await;
    lane.ack().await;
    assert_eq!(lane.calls()[3], call(Range::new(10, 20), false));
}

/// What a person must mend is shown at once, and the write is tried again until it is mended. Nobody knows what the refused try has left.
#[tokio::test]
async fn a_write_that_a_person_must_mend_is_tried_again_as_uncertain_and_shown() {
    let mut lane = Lane::with(&[Scripted::Stop], Patience::ForPeople);
    let range = Range::new(0, 10);
    lane.send(0, 10).await;
    let state = |lane: &Lane| lane.health.conditions(Instant::now())[0].state;
    let failed = async {
        while state(&lane) != State::Failed {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, failed).await.unwrap();
    assert_eq!(lane.ack().await, (range, Verdict::Stored));
    assert_eq!(lane.calls(), [call(range, false), call(range, true)]);
    assert_eq!(state(&lane), State::Ok);
    let (ended, _) = lane.ended().await;
    assert!(ended.is_ok());
}

#[tokio::test]
async fn batches_that_come_while_an_answer_is_held_are_written_together() {
    let mut lane = Lane::new(&[Scripted::Hold]);
    lane.send(0, 10).await;
    lane.called().await;
    for start in [10, 20, 30] {
        lane.send(start, start + 10).await;
    }
    assert!(lane.acks.try_recv().is_err(), "nothing is acknowledged before the answer");
    lane.seen.let_go.notify_one();
    let mut acknowledged = Vec::new();
    for _ in 0..4 {
        acknowledged.push(lane.ack().await.0.start);
    }
    assert_eq!(acknowledged, [0, 10, 20, 30]);
    let ranges: Vec<usize> = lane.calls().iter().map(|call| call.ranges.len()).collect();
    assert_eq!(ranges, [1, 2, 1], "as many as the sink joins, in order");
}

#[tokio::test]
async fn a_batch_whose_ownership_ends_between_tries_is_given_up_without_a_word() {
    let lane = Lane::new(&[Scripted::Reject, Scripted::Reject, Scripted::Reject, Scripted::Reject]);
    lane.send(0, 10).await;
    lane.called().await;
    lane.ownership.ended.cancel();
    lane.send(10, 20).await;
    let calls = Arc::clone(&lane.seen);
    let (ended, left) = lane.ended().await;
    assert!(ended.is_ok() && left == 0);
    let calls = calls.calls.lock();
    assert!(calls.iter().all(|call| call.ranges == [Range::new(0, 10)]), "what came after the end was never written");
}

/// If the answer to a write comes after its ownership has ended, the verdict is sent all the same. The coordinator ignores it.
#[tokio::test]
async fn an_answer_that_comes_late_is_still_told() {
    let mut lane = Lane::new(&[Scripted::Hold]);
    lane.send(0, 10).await;
    lane.called().await;
    lane.ownership.ended.cancel();
    lane.seen.let_go.notify_one();
    let told = timeout(SOON, lane.acks.recv()).await.unwrap();
    let (ended, left) = lane.ended().await;
    assert!(ended.is_ok() && left == 0);
    assert!(told.is_none_or(|ack| ack.verdict == Verdict::Stored && ack.range == Range::new(0, 10)));
}

#[tokio::test]
async fn a_fence_is_told_and_a_final_refusal_ends_the_loop() {
    let mut lane = Lane::new(&[Scripted::Fence, Scripted::Stop]);
    lane.send(0, 10).await;
    assert_eq!(lane.ack().await, (Range::new(0, 10), Verdict::Fenced));
    lane.send(0, 10).await;
    let (ended, left) = lane.ended().await;
    assert!(matches!(ended, Err(SinkError::Stop(_))) && left == 0);
}
