//! Two routes in one process. Each has its own topic and tables. They share the ledger, the budget and the end of the process.

use crate::support::consumer::Consumer;
use crate::support::kafka::Feed;
use crate::support::oracle::Oracle;
use crate::support::prove::{prove, prove_route};
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

const PARTITIONS: u16 = 2;

/// The other route. Its topic and tables have its name.
struct Other {
    name: String,
    source: i64,
    feed: Feed,
    oracle: Oracle,
}

impl Other {
    fn send(&mut self, count: usize) {
        let sent = self.feed.send(count);
        self.oracle.note(self.source, sent);
    }

    fn wait_stored(&self, world: &mut World, consumer: &Consumer) {
        let is_stored = |world: &mut World| {
            let rows = world.ledger(self.source);
            let whole = |partition| {
                let end = self.oracle.end(self.source, partition);
                rows.iter().any(|row| row.partition == partition && row.lowest() == end)
            };
            (0..i32::from(PARTITIONS)).all(whole).then_some(())
        };
        until_or("the other route is stored", STORED, || is_stored(world), || consumer.tail());
    }
}

#[test]
fn two_routes_in_one_process_are_each_stored_whole() {
    let _calm = calm();
    let mut world = World::without_tables("routes", PARTITIONS, 0.005);
    let name = format!("clicks_{}", world.topic.rsplit('-').next().unwrap());
    let bootstrap = stack().kafka().unwrap().bootstrap();
    let config = [("retention.ms", "-1"), ("max.message.bytes", "100000000")];
    stack().kafka().unwrap().create_topic(&name, PARTITIONS, &config).unwrap();
    world.further_routes = vec![name.clone()];
    world.set("pipeline.batch_rows_max", "300");
    world.command(&["migrate"]);
    let source = world.source_of(&name);
    let feed = Feed::new(bootstrap, &name, usize::from(PARTITIONS), 2, 0.01);
    let mut other = Other { name, source, feed, oracle: Oracle::default() };

    let first = world.send(20_000);
    other.send(15_000);
    let mut killed = world.consumer();
    world.wait_some(first, 500, &killed);
    world.wait_some(other.source, 500, &killed);
    killed.kill();
    let left = [first, other.source].map(|source| world.stored(source));
    assert!(left[0] < 20_000 && left[1] < 15_000, "killed in the middle of both: {left:?}");

    let mut consumer = world.consumer();
    world.wait_stored(first, STORED, &mut [&mut consumer]);
    other.wait_stored(&mut world, &consumer);
    other.send(500);
    other.wait_stored(&mut world, &consumer);
    prove(&mut world, &mut [&mut consumer]);
    prove_route(&mut world.eye, &world.database, &other.oracle, &other.name);
    consumer.stop();
    let (status, said) = world.attempt(&["verify"], STORED);
    assert_eq!(status, Some(0), "{said}");
}
