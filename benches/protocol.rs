//! The cost of the protocol's decisions for a batch and for a take-over, without its SQL: a ledger row full of claims, a plan full of
//! cuts, and the trackers of many partitions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod support;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use footprint_protocol::ledger::{Claim, FORMAT, Frontiers, OwnerId, Progress, Row, SinkName};
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::take_over::{Observed, Plan, Switches, must_drain, settle, switch};
use footprint_protocol::take_over::{OnLostRecords, WhenSwitchedOn};
use footprint_protocol::tracker::CLAIMS_PENDING_MAX;
use footprint_protocol::tracker::Tracker;
use footprint_protocol::write::resolve;

use support::scaled;

const RANGE_RECORDS: Offset = 100_000;
const CLAIMED: Offset = CLAIMS_PENDING_MAX as Offset * RANGE_RECORDS;
const PARTITIONS: usize = 1_000;

const SWITCHES: Switches = Switches {
    postgres: Some(WhenSwitchedOn::Fill),
    clickhouse: Some(WhenSwitchedOn::Fill),
    on_lost_records: OnLostRecords::Stop,
};
const OBSERVED: Observed = Observed {
    log_start: 0,
    log_end: CLAIMED,
    may_have_gone_back: false,
    clickhouse_highest: None,
    ledger_lost: false,
};

/// The range of claim `number`.
fn range(number: Offset) -> Range {
    Range::new(number * RANGE_RECORDS, (number + 1) * RANGE_RECORDS)
}

/// A row with as many claims as the bound allows, none of them acknowledged.
fn row() -> Row {
    let claim = |number| Claim { end: range(number).end, fingerprint: 1 };
    Row {
        epoch: 1,
        owner: OwnerId(0),
        claimed: CLAIMED,
        frontiers: Frontiers { dead_letters: 0, postgres: Some(0), clickhouse: Some(0) },
        postgres_stopped: None,
        clickhouse_stopped: None,
        claims: (0..CLAIMS_PENDING_MAX as Offset).map(claim).collect(),
        doubtful_below: None,
        birth: 1,
        first_offset: Some(0),
        format: FORMAT,
    }
}

fn plan() -> Plan {
    settle(row(), &OBSERVED, &SWITCHES).expect("the row is sound").plan
}

fn takeover(criterion: &mut Criterion) {
    let row = row();
    let off =
        Row { frontiers: Frontiers { clickhouse: None, ..row.frontiers }, clickhouse_stopped: Some(0), ..row.clone() };
    let mut group = criterion.benchmark_group("protocol/take-over of 64 claims");
    for (name, row) in [("switch, nothing changes", &row), ("switch, clickhouse on again and filled", &off)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| row.clone(), |row| switch(row, &SWITCHES), BatchSize::SmallInput);
        });
    }
    group.bench_function("settle, the plan", |bencher| {
        bencher.iter_batched(|| row.clone(), |row| settle(row, &OBSERVED, &SWITCHES), BatchSize::SmallInput);
    });
    group.bench_function("must drain", |bencher| bencher.iter(|| must_drain(black_box(&row), true, false)));
}

fn each_batch(criterion: &mut Criterion) {
    let plan = plan();
    let ranges: Vec<Range> = (0..CLAIMS_PENDING_MAX as Offset).map(range).collect();
    let mut group = criterion.benchmark_group("protocol/batch");
    group.throughput(Throughput::Elements(ranges.len() as u64));
    group.bench_function("how each of 64 claimed ranges goes to either sink", |bencher| {
        bencher.iter(|| {
            for &range in &ranges {
                black_box((
                    plan.clickhouse_delivery(black_box(range)),
                    plan.postgres_wants_rows(range),
                    plan.wants_dead_letters(range),
                    plan.postgres_is_truth(range, 1),
                ));
            }
        });
    });
    group.bench_function("resolve a lost answer", |bencher| {
        bencher.iter(|| {
            for &range in &ranges {
                black_box(resolve(true, black_box(Some(range.end)), range));
            }
        });
    });
}

/// Each run takes one batch of each partition from its claim to the commit of its offset. The sinks are 32 batches behind the claims.
fn tracker(criterion: &mut Criterion) {
    const BEHIND: Offset = CLAIMS_PENDING_MAX as Offset / 2;
    let partitions = scaled(PARTITIONS);
    let fresh = Plan { claimed: 0, cuts: Vec::new(), claims: Vec::new(), ..plan() };
    let mut trackers = vec![Tracker::new(&fresh); partitions];
    for tracker in &mut trackers {
        (0..BEHIND).for_each(|number| tracker.claimed_range(range(number)));
    }
    let mut number = BEHIND;
    let mut group = criterion.benchmark_group("protocol/tracker");
    group.throughput(Throughput::Elements(partitions as u64));
    group.bench_function("a batch, claimed to committed, 1,000 partitions in turn", |bencher| {
        bencher.iter(|| {
            for tracker in &mut trackers {
                assert!(tracker.may_claim());
                tracker.claimed_range(range(number));
                tracker.acknowledged(SinkName::Postgres, range(number - BEHIND));
                tracker.acknowledged(SinkName::ClickHouse, range(number - BEHIND));
                let progress = Progress { partition: 0, claimed: tracker.claimed(), frontiers: tracker.frontiers() };
                assert!(tracker.recorded(&progress).is_ok());
                if let Some(offset) = tracker.to_commit() {
                    tracker.committed(offset);
                }
            }
            number += 1;
        });
    });
}

criterion_group! { name = benches; config = support::criterion(); targets = takeover, each_batch, tracker }
criterion_main!(benches);
