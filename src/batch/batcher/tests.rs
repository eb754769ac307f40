use std::sync::LazyLock;

use footprint_event::rows::Values;
use footprint_protocol::ledger::{Frontiers, LedgerId, OwnerId, SourceId};
use footprint_protocol::take_over::Plan;
use footprint_service::config::Config;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::batch::CutReason;
use crate::batch::budget::Budget;
use crate::ledger::ownership::{Earlier, LeftOut};
use crate::ledger::proof::{Proof, Proofs};

/// Nothing delays a batch that has lingered.
const PACE: Pace = Pace { interval: Duration::ZERO, room: Room::Any };

static BUDGET: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::new(1 << 20));

fn ownership(start: Offset, claimed: Offset, cuts: &[Offset]) -> Arc<Ownership> {
    let proofs = Arc::new(Proofs::default());
    let sighting = proofs.before_sending();
    Arc::new(Ownership {
        ledger: LedgerId(1),
        left_out: LeftOut::default(),
        source: SourceId(1),
        partition: 0,
        epoch: 1,
        owner: OwnerId(0),
        plan: Plan {
            start,
            read_from: start,
            claimed,
            cuts: cuts.to_vec(),
            claims: Vec::new(),
            frontiers: Frontiers { dead_letters: start, postgres: Some(start), clickhouse: Some(start) },
            uncertain_through: None,
            doubtful_below: None,
            birth: 0,
        },
        proof: Proof::new(proofs, sighting),
        earlier: Vec::new(),
        skips: Vec::new(),
        ended: CancellationToken::new(),
    })
}

fn batcher(rows_max: usize) -> Batcher {
    let route = Arc::new(Config::load(None, &[]).unwrap().routes[0].clone());
    Batcher::new(
        &Arc::new(Definition::of(&route).unwrap()),
        Limits {
            rows_max,
            bytes_max: 1 << 30,
            months_max: 2,
            linger: Duration::from_millis(50),
            kept_bytes_max: 1 << 20,
        },
        &UnderWay::default(),
    )
}

/// Records with a static lifetime.
#[derive(Default)]
struct Made(Vec<Record<'static>>);

impl Records for Made {
    fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.0.iter().copied()
    }
}

impl Buffer for Made {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn capacity_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Record<'_>>()
    }
}

fn chunk(ownership: &Arc<Ownership>, offsets: &[Offset], position: Offset, now: Instant) -> Chunk<Made> {
    let mut records = Made::default();
    for &offset in offsets {
        let good = br#"{"link":"/a","method":"GET","footprint_time":1767290400}"#;
        // every seventh is bad
        let payload: &'static [u8] = if offset % 7 == 0 { b"{" } else { good };
        records.0.push(Record { offset, timestamp_ms: 5, key: None, payload: Some(payload), headers: None });
    }
    let permit = BUDGET.take(100);
    Chunk {
        ownership: Arc::clone(ownership),
        records: records.into(),
        position,
        is_behind: false,
        first_read_at: now,
        read_at: now,
        brokers: Brokers::default(),
        permit,
    }
}

fn ranges(batches: &[Batch]) -> Vec<(Offset, Offset)> {
    batches.iter().map(|batch| (batch.range.start, batch.range.end)).collect()
}

#[test]
fn claims_found_are_cut_exactly_whatever_the_limits_say() {
    let (mut batcher, now, mut full) = (batcher(2), Instant::now(), Vec::new());
    let owner = ownership(10, 30, &[20, 30]);
    batcher.add(chunk(&owner, &[10, 11, 12, 15, 25], 26, now), now, &mut full);
    assert_eq!(ranges(&full), [(10, 20)], "a record past the cut closes the batch; below the cut no limit applies");
    assert_eq!(full[0].rows.len() + full[0].dead_letters.len(), 4);
    assert_eq!(batcher.due_at(PACE), None, "a batch of an earlier claim does not linger");
    batcher.add(chunk(&owner, &[], 30, now), now, &mut full);
    assert_eq!(ranges(&full), [(10, 20), (20, 30)], "the position alone reaches the cut");
    assert!(full.iter().all(|batch| batch.reason == CutReason::Claimed));
}

/// The story: the clocks of a batch's producers spanned centuries. The batch became thousands of parts in ClickHouse, each
/// synced.
#[test]
fn a_batch_ends_before_a_record_of_one_month_too_many_unless_it_was_claimed_so() {
    let of_months = |owner: &Arc<Ownership>, start: Offset, months: &[i64], now| {
        let offsets: Vec<Offset> = (start..).take(months.len()).collect();
        let mut chunk = chunk(owner, &offsets, start + months.len() as i64, now);
        for (record, month) in chunk.records.0.iter_mut().zip(months) {
            record.timestamp_ms = month * 31 * 86_400_000;
        }
        chunk
    };
    let (mut batcher, now, mut full) = (batcher(100), Instant::now(), Vec::new());
    let owner = ownership(10, 10, &[]);
    batcher.add(of_months(&owner, 10, &[0, 1, 1, 0, 2, 1, 2], now), now, &mut full);
    assert_eq!(ranges(&full), [(10, 14)], "a third month");
    assert_eq!(full[0].reason, CutReason::Months);
    batcher.add(of_months(&owner, 17, &[2, 3, 4, 5, 6], now), now, &mut full);
    assert_eq!(ranges(&full), [(10, 14), (14, 18), (18, 20)]);
    let held: usize = full.iter().map(|batch| batch.rows.len() + batch.dead_letters.len()).sum();
    assert_eq!(held, 10, "no record is lost or doubled");

    let owner = ownership(10, 16, &[16]);
    full.clear();
    batcher.add(of_months(&owner, 10, &[0, 1, 2, 3, 4, 5], now), now, &mut full);
    assert_eq!(ranges(&full), [(10, 16)], "a claimed range is written as it was claimed");
}

/// A claim needs a look at the topic's id after the batch's last record was read. Latency counts from its first record.
#[test]
fn a_batch_was_read_when_its_last_chunk_was_and_began_with_its_first() {
    let (mut batcher, start, mut full) = (batcher(3), Instant::now(), Vec::new());
    let owner = ownership(0, 0, &[]);
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    batcher.add(chunk(&owner, &[1, 2], 3, at(1)), at(1), &mut full);
    batcher.add(chunk(&owner, &[3, 4], 5, at(2)), at(2), &mut full);
    assert_eq!((full.len(), full[0].first_read_at, full[0].read_at), (1, at(1), at(2)));
    batcher.add(chunk(&owner, &[5, 6], 7, at(3)), at(3), &mut full);
    assert_eq!((full.len(), full[1].first_read_at, full[1].read_at), (2, at(2), at(3)));
}

#[test]
fn a_range_is_decoded_by_the_definition_that_claimed_it() {
    let (mut batcher, now, mut full) = (batcher(100), Instant::now(), Vec::new());
    let mut route = Config::load(None, &[]).unwrap().routes.remove(0);
    route.columns.truncate(1);
    route.columns[0].field = "link".into();
    let definition = Arc::new(Definition::of(&Arc::new(route)).unwrap());
    let mut owner = Arc::into_inner(ownership(10, 30, &[20, 30])).unwrap();
    owner.earlier = vec![Earlier { range: Range::new(10, 20), definition: Arc::clone(&definition) }];
    let owner = Arc::new(owner);
    batcher.add(chunk(&owner, &[10, 11, 22], 30, now), now, &mut full);
    assert_eq!(ranges(&full), [(10, 20), (20, 30)]);
    let decoded = |batch: &Batch| match &batch.rows.columns[0].values {
        Values::Text { bytes, .. } => (batch.definition.fingerprint(), batch.rows.columns.len(), bytes.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(decoded(&full[0]), (definition.fingerprint(), 1, b"/a/a".to_vec()));
    assert_eq!(decoded(&full[1]), (batcher.shared.definition.fingerprint(), 3, b"GET".to_vec()));
}

#[test]
fn an_incomplete_batch_waits_for_the_linger_and_no_longer() {
    let (mut batcher, now, mut full) = (batcher(100), Instant::now(), Vec::new());
    let owner = ownership(0, 0, &[]);
    batcher.add(chunk(&owner, &[1, 2], 3, now), now, &mut full);
    let due = batcher.due_at(PACE).unwrap();
    assert_eq!(due, now + Duration::from_millis(50));
    batcher.cut_due(due - Duration::from_millis(1), PACE, &mut full);
    assert!(full.is_empty());
    batcher.cut_due(due, PACE, &mut full);
    assert_eq!(ranges(&full), [(0, 3)], "the gap below the first record is covered too");
    assert_eq!(full[0].reason, CutReason::Linger);
    assert_eq!(batcher.due_at(PACE), None);
}

fn ownership_of(partition: Partition) -> Arc<Ownership> {
    let mut owner = Arc::into_inner(ownership(0, 0, &[])).unwrap();
    owner.partition = partition;
    Arc::new(owner)
}

#[test]
fn many_partitions_are_cut_one_at_a_time_the_oldest_first() {
    let (mut batcher, start, mut full) = (batcher(100), Instant::now(), Vec::new());
    let ms = Duration::from_millis;
    let pace = Pace { interval: ms(20), room: Room::Any };
    for (partition, came) in [(2, 0), (0, 1), (1, 2)] {
        let now = start + ms(came);
        batcher.add(chunk(&ownership_of(partition), &[1], 2, now), now, &mut full);
    }
    let mut cuts = Vec::new();
    for at in 0..200 {
        batcher.cut_due(start + ms(at), pace, &mut full);
        cuts.extend(full.drain(..).map(|batch| (batch.ownership.partition, at)));
    }
    assert_eq!(cuts, [(2, 50), (0, 70), (1, 90)]);
}

/// The story: a partition stopped during a change of owners, and then waited for its turn among all others.
#[test]
fn a_partition_just_taken_over_is_cut_before_the_others() {
    let (mut batcher, start, mut full) = (batcher(100), Instant::now(), Vec::new());
    let ms = Duration::from_millis;
    let pace = Pace { interval: ms(50), room: Room::Any };
    let old = [0, 1, 2].map(ownership_of);
    let add = |batcher: &mut Batcher, owner: &Arc<Ownership>, offset: Offset, at: u64| {
        let now = start + ms(at);
        batcher.add(chunk(owner, &[offset], offset + 1, now), now, &mut Vec::new());
    };
    old.iter().for_each(|owner| add(&mut batcher, owner, 1, 0));
    let mut first = 0;
    for at in 0..=200 {
        batcher.cut_due(start + ms(at), pace, &mut full);
        first += full.drain(..).count();
    }
    assert_eq!(first, 3, "each partition has had its first batch");
    old.iter().for_each(|owner| add(&mut batcher, owner, 2, 300));
    add(&mut batcher, &ownership_of(3), 1, 310);
    let mut cuts = Vec::new();
    for at in 310..600 {
        batcher.cut_due(start + ms(at), pace, &mut full);
        cuts.extend(full.drain(..).map(|batch| (batch.ownership.partition, at)));
    }
    assert_eq!(cuts, [(0, 350), (3, 400), (1, 450), (2, 500)], "as soon as each has lingered and the pace allows");
}

#[test]
fn an_incomplete_batch_grows_while_the_writers_have_no_use_for_it() {
    let (mut batcher, now, mut full) = (batcher(3), Instant::now(), Vec::new());
    let owner = ownership(0, 0, &[]);
    let busy = Pace { room: Room::None, ..PACE };
    batcher.add(chunk(&owner, &[1, 2], 3, now), now, &mut full);
    let late = now + Duration::from_secs(60);
    batcher.cut_due(late, busy, &mut full);
    assert!(full.is_empty() && batcher.due_at(busy).is_none());
    batcher.add(chunk(&owner, &[3], 4, late), late, &mut full);
    assert_eq!(ranges(&full), [(0, 4)], "a full batch is sent on nevertheless");
    batcher.add(chunk(&owner, &[4], 5, late), late, &mut full);
    full.clear();
    batcher.cut_due(late + Duration::from_secs(1), PACE, &mut full);
    assert_eq!(ranges(&full), [(4, 5)]);
}

/// During a backlog, a batch that is sent on half full makes one more part for ClickHouse to merge, and no row is visible sooner.
#[test]
fn there_is_room_for_few_batches_and_for_one_batch_of_rows() {
    let (mut batcher, now, mut full) = (batcher(10), Instant::now(), Vec::new());
    assert_eq!(batcher.room(), Room::Any);
    batcher.add(chunk(&ownership_of(0), &[1, 2, 3, 4, 5, 6, 8, 9, 10, 11], 12, now), now, &mut full);
    assert_eq!((full.len(), batcher.room()), (1, Room::Rest), "ten rows of ten");
    full.clear();
    for partition in 0..4 {
        assert_eq!(batcher.room(), Room::Any);
        batcher.add(chunk(&ownership_of(partition), &[20], 21, now), now, &mut full);
        batcher.cut_due(now + Duration::from_secs(1), PACE, &mut full);
    }
    assert_eq!((full.len(), batcher.room()), (4, Room::None), "four small ones");
    full.pop();
    assert_eq!(batcher.room(), Room::Any);
}

/// The last batches of a backlog hold all records. It helped nobody to keep them back until the others were stored.
#[test]
fn beside_a_whole_batchs_rows_only_what_holds_all_there_is_goes_on() {
    let (mut batcher, start, mut full) = (batcher(100), Instant::now(), Vec::new());
    let now = start + Duration::from_secs(60);
    let rest = Pace { room: Room::Rest, ..PACE };
    let owner = ownership(0, 0, &[]);
    let behind = |offset| Chunk { is_behind: true, ..chunk(&owner, &[offset], offset + 1, start) };
    batcher.add(behind(1), start, &mut full);
    batcher.cut_due(now, rest, &mut full);
    assert_eq!((full.len(), batcher.due_at(rest)), (0, None), "the log holds more for it");
    batcher.add(chunk(&owner, &[2], 3, start), start, &mut full);
    batcher.cut_due(now, rest, &mut full);
    assert_eq!(ranges(&full), [(0, 3)]);
}

#[test]
fn a_batch_grows_while_the_log_holds_more_but_not_the_very_first() {
    let (mut batcher, start, mut full) = (batcher(1_000_000), Instant::now(), Vec::new());
    let owner = ownership(0, 0, &[]);
    let good: Vec<Offset> = (1..).filter(|offset| offset % 7 != 0).take(100_000).collect();
    let after = |offsets: &[Offset]| offsets[offsets.len() - 1] + 1;
    let mut add = |batcher: &mut Batcher, offsets: &[Offset], is_behind, now| {
        batcher.add(Chunk { is_behind, ..chunk(&owner, offsets, after(offsets), now) }, now, &mut full);
    };
    add(&mut batcher, &good, true, start);
    let now = start + Duration::from_millis(50);
    assert_eq!(batcher.due_at(PACE), Some(now), "no batch was sent on yet: it waits only for its linger");
    batcher.cut_due(now, PACE, &mut Vec::new());
    let next = after(&good);
    add(&mut batcher, &[next], true, now);
    assert_eq!(batcher.due_at(PACE), Some(now + Duration::from_millis(200)), "100,000 rows were sent on");
    add(&mut batcher, &[next + 1], false, now);
    assert_eq!(batcher.due_at(PACE), Some(now + Duration::from_millis(50)), "the log holds no more");
}

/// The story: four partitions were read in turn. They took the whole byte budget before one of their batches was full, and each
/// waited up to a second for records that could not be read.
#[test]
fn a_batch_does_not_wait_for_what_cannot_be_read() {
    let budget = Budget::new(1_000);
    let (mut batcher, start, mut full) = (batcher(100), Instant::now(), Vec::new());
    let owner = ownership(0, 0, &[]);
    let behind =
        |offset, now| Chunk { is_behind: true, permit: budget.take(0), ..chunk(&owner, &[offset], offset + 1, now) };
    batcher.add(behind(1, start), start, &mut full);
    let now = start + Duration::from_millis(50);
    batcher.cut_due(now, PACE, &mut full);
    batcher.add(behind(2, now), now, &mut full);
    let (grown, lingered) = (Some(now + Duration::from_millis(200)), Some(now + Duration::from_millis(50)));
    assert_eq!((full.len(), batcher.due_at(PACE)), (1, grown), "the log holds more");
    let _held = budget.take(1_000);
    assert_eq!(batcher.due_at(PACE), grown, "a batch under way will release bytes");
    full.clear();
    assert_eq!(batcher.due_at(PACE), lingered, "nothing does");
}

#[test]
fn full_batches_put_an_incomplete_one_off_for_a_second_at_most() {
    let (mut batcher, start, mut full) = (batcher(1), Instant::now(), Vec::new());
    let ms = Duration::from_millis;
    let pace = Pace { interval: ms(50), room: Room::Any };
    let (busy, quiet) = (ownership_of(0), ownership_of(1));
    let mut cut = None;
    batcher.add(chunk(&quiet, &[], 1, start), start, &mut full);
    for at in 0..2_000 {
        let now = start + ms(at);
        // a thousand full batches a second
        batcher.add(chunk(&busy, &[at.cast_signed()], at.cast_signed() + 1, now), now, &mut full);
        batcher.cut_due(now, pace, &mut full);
        if full.drain(..).any(|batch| batch.ownership.partition == 1) {
            cut.get_or_insert(at);
        }
    }
    assert!(cut.is_some_and(|at| (50..=1_050).contains(&at)), "{cut:?}");
}

#[test]
fn what_a_batch_holds_of_the_budget_is_given_back_with_it() {
    let budget = Budget::new(1 << 20);
    let (mut batcher, now, mut full) = (batcher(4), Instant::now(), Vec::new());
    let owner = ownership(0, 0, &[]);
    for at in [1, 6, 11] {
        let permit = budget.take(500);
        batcher.add(Chunk { permit, ..chunk(&owner, &[at, at + 1, at + 2], at + 3, now) }, now, &mut full);
    }
    batcher.cut_due(now + Duration::from_secs(1), PACE, &mut full);
    assert_eq!(full.len(), 3);
    let held: usize = full.iter().map(|batch| batch.permit.bytes()).sum();
    assert!(held > 0 && held == budget.taken(), "the chunks' bytes were released, the columns' bytes are held");
    assert_eq!(budget.held(), [("reader", 0), ("open", 0), ("batches", held)]);
    assert_eq!(
        full.iter().map(|batch| batch.reason).collect::<Vec<_>>(),
        [CutReason::Rows, CutReason::Rows, CutReason::Linger]
    );
    full.clear();
    assert_eq!(budget.taken(), 0);
}

/// A producer's clock may say anything. The time of a row was bounded, but that of a dead letter was not. PostgreSQL would have
/// refused the COPY and stopped the program.
#[test]
fn a_dead_letters_time_is_bounded_like_a_rows() {
    let (mut batcher, now, mut full) = (batcher(100), Instant::now(), Vec::new());
    let owner = ownership(0, 0, &[]);
    let mut wild = chunk(&owner, &[], 1, now);
    wild.records.0.push(Record { offset: 0, timestamp_ms: i64::MAX, key: None, payload: None, headers: None });
    batcher.add(wild, now, &mut full);
    batcher.cut_due(now + Duration::from_secs(1), PACE, &mut full);
    assert!(full[0].dead_letters[0].received_at_us <= footprint_event::normalize::INSTANT_MAX_US);
}

#[test]
fn a_batch_names_the_brokers_that_gave_its_records_and_no_others() {
    let (now, ownership) = (Instant::now(), ownership(0, 0, &[]));
    let (mut batcher, mut full) = (batcher(3), Vec::new());
    for (broker, offsets) in [(1, [1, 2]), (2, [3, 4]), (2, [5, 6]), (3, [8, 9])] {
        let mut chunk = chunk(&ownership, &offsets, offsets[1] + 1, now);
        chunk.brokers.add(broker);
        batcher.add(chunk, now, &mut full);
    }
    let named: Vec<Vec<i32>> = full.iter().map(|batch| batch.brokers.iter().collect()).collect();
    assert_eq!(ranges(&full), [(0, 4), (4, 7)]);
    assert_eq!(named, [vec![1, 2], vec![2]]);
}

#[test]
fn an_ended_ownership_leaves_nothing_behind() {
    let (mut batcher, now, mut full) = (batcher(100), Instant::now(), Vec::new());
    let old = ownership(0, 0, &[]);
    batcher.add(chunk(&old, &[1, 2], 3, now), now, &mut full);
    old.ended.cancel();
    let new = ownership(0, 0, &[]);
    batcher.add(chunk(&new, &[1], 2, now), now, &mut full);
    batcher.cut_due(now + Duration::from_secs(1), PACE, &mut full);
    assert_eq!(ranges(&full), [(0, 2)]);
    assert!(Arc::ptr_eq(&full[0].ownership, &new));
}

proptest! {
    /// However the records come, batches touch one another, cover everything seen, and hold each record once.
    #[test]
    fn batches_cover_everything_once(
        gaps in prop::collection::vec(1_i64..5, 1..200), sizes in prop::collection::vec(1_usize..30, 1..40), rows_max in 1_usize..40
    ) {
        let (mut batcher, now, mut full) = (batcher(rows_max), Instant::now(), Vec::new());
        let owner = ownership(0, 0, &[]);
        let offsets: Vec<Offset> = gaps.iter().scan(-1, |at, gap| { *at += gap; Some(*at) }).collect();
        let (mut rest, mut sizes) = (offsets.as_slice(), sizes.iter().cycle());
        while !rest.is_empty() {
            let (now_sent, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            batcher.add(chunk(&owner, now_sent, now_sent[now_sent.len() - 1] + 1, now), now, &mut full);
            rest = later;
        }
        batcher.cut_due(now + Duration::from_secs(1), PACE, &mut full);
        let mut next = 0;
        let mut seen = Vec::new();
        for batch in &full {
            prop_assert_eq!(batch.range.start, next);
            next = batch.range.end;
            prop_assert!(batch.rows.len() + batch.dead_letters.len() <= rows_max);
            let mut held = batch.rows.offsets.clone();
            held.extend(batch.dead_letters.iter().map(|letter| letter.offset));
            prop_assert!(held.iter().all(|&offset| batch.range.contains(offset)));
            held.sort_unstable();
            seen.extend(held);
        }
        prop_assert_eq!(seen, offsets.clone());
        prop_assert_eq!(next, offsets[offsets.len() - 1] + 1);
    }
}
