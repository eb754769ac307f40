//! A transactional producer under a running consumer. Committed records are stored, aborted ones are not, and nothing behind an
//! open transaction is read before it ends.

use crate::support::calm;
use crate::support::kafka::Feed;
use crate::support::prove::prove;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};

/// The partition and offset of the first record that was sent.
fn first<T>(sent: &[(i32, i64, T)]) -> i64 {
    sent.iter().map(|&(_, offset, _)| offset).min().unwrap()
}

/// A transactional producer that has committed 500 records.
fn committed_500(world: &mut World, source: i64) -> Feed {
    let mut producer = Feed::transactional(&world.topic, 1, 7);
    producer.begin();
    let committed = producer.send(500);
    producer.commit();
    world.oracle.note(source, committed);
    producer
}

fn end_open(name: &str, commits: bool) {
    let _calm = calm();
    let mut world = World::new(name, 1, 0.0);
    let source = world.source();
    let mut consumer = world.consumer();
    let mut producer = committed_500(&mut world, source);
    producer.begin();
    let aborted = producer.send(300);
    producer.abort();
    world.send_to(source, 200);
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    assert_eq!(first(&aborted), 501, "behind the first transaction's mark");
    // the mark of the second transaction may come between these
    assert!(world.oracle.end(source, 0) >= 501 + 300 + 200, "the aborted records are in the log");

    producer.begin();
    let open = producer.send(400);
    let open_at = first(&open);
    world.send_to(source, 100);
    let at_open = |world: &mut World| {
        let rows = world.ledger(source);
        assert!(rows.iter().all(|row| row.claimed <= open_at), "nothing behind it is claimed: {rows:?}");
        (rows[0].lowest() == open_at).then_some(())
    };
    until_or("everything before the open transaction is stored", STORED, || at_open(&mut world), || consumer.tail());
    assert_eq!(world.eye.count("user_footprint"), 700);
    if commits {
        producer.commit();
        world.oracle.note(source, open);
    } else {
        producer.abort();
    }
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn an_open_transaction_that_is_committed_is_stored_with_what_stands_behind_it() {
    end_open("committedtx", true);
}

#[test]
fn an_open_transaction_that_is_aborted_leaves_what_stands_behind_it() {
    end_open("abortedtx", false);
}

/// A log may end in records that nobody reads: those of an aborted transaction, and the mark of its end. No message comes for
/// them, so only librdkafka's position says that they are passed. The other tests send more behind them, which moves the position
/// too.
#[test]
fn a_log_that_ends_in_an_aborted_transaction_is_read_to_its_end() {
    let _calm = calm();
    let mut world = World::new("endsaborted", 1, 0.0);
    let source = world.source();
    let mut producer = committed_500(&mut world, source);
    producer.begin();
    producer.send(300);
    producer.abort();
    let (status, said) = world.attempt(&["run", "--until-caught-up"], STORED);
    assert_eq!(status, Some(0), "{said}");
    // both transactions, and the mark of each
    assert_eq!(world.ledger(source)[0].lowest(), 500 + 1 + 300 + 1, "{said}");
    assert_eq!(world.eye.count("user_footprint"), 500);
}
