//! The old system's tables, with three columns and some rows, are adopted under load. No old row is lost, and every new row is
//! there exactly once.

use crate::support::calm;
use crate::support::prove::prove;
use crate::support::stack;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};

const OLD_ROWS: i64 = 1_000;

#[test]
fn old_tables_are_adopted_and_written() {
    let _calm = calm();
    let mut world = World::without_tables("adopted", 2, 0.005);
    world.set("clickhouse.user", &format!("{:?}", footprint_stack::TEST_ADOPTER));
    let (postgres, clickhouse) = (stack().postgres().unwrap(), stack().clickhouse().unwrap());
    let user = footprint_stack::APPLICATION_USER;
    let old = format!(
        "set role {user};
         create table user_footprint (request varchar(10), link varchar(255), footprint_time timestamptz);
         insert into user_footprint select 'GET', '/old/' || n, to_timestamp(1700000000 + n) from generate_series(1, {OLD_ROWS}) n"
    );
    postgres.execute(&world.database, &old).unwrap();
    let table = format!("{}.user_footprint", world.database);
    clickhouse
        .query(&format!(
            "create table {table} (request String, link String, footprint_time DateTime64(6, 'UTC')) engine = MergeTree
             order by footprint_time"
        ))
        .unwrap();
    clickhouse
        .query(&format!(
            "insert into {table} select 'GET', '/old/' || toString(number + 1), toDateTime64(1700000001 + number, 6, 'UTC')
             from numbers({OLD_ROWS})"
        ))
        .unwrap();

    let source = world.send(50_000);
    let mut consumer = world.consumer_with(&["--migrate"]);
    let made = "select 1 where to_regclass('footprint_ledger') is not null";
    let eye = &mut world.eye;
    until_or("the ledger is made", STORED, || eye.query(made).pop(), || consumer.tail());
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();

    let old = world.eye.query(
        "select count(*), count(distinct link), sum(extract(epoch from footprint_time))::bigint from user_footprint
         where kafka_source is null and request = 'GET' and link like '/old/%' and received_at is null",
    );
    let sum = OLD_ROWS * 1_700_000_000 + OLD_ROWS * (OLD_ROWS + 1) / 2;
    assert_eq!((old[0].get(0), old[0].get(1), old[0].get(2)), (OLD_ROWS, OLD_ROWS, sum));
    let old = clickhouse
        .query(&format!(
            "select count(), uniqExact(link), sum(toUnixTimestamp(footprint_time)) from {table}
             where isNull(kafka_source) and request = 'GET' and link like '/old/%' and isNull(received_at)"
        ))
        .unwrap();
    assert_eq!(old.trim(), format!("{OLD_ROWS}\t{OLD_ROWS}\t{sum}"));
}
