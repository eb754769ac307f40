//! /readyz under every fault: it names the component, the reason and what to do within ten seconds, and it is ready again within ten
//! seconds of the end.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use footprint_stack::Server;
use footprint_trials::trial::Proxy;

use crate::support::consumer::Consumer;
use crate::support::prove::prove;
use crate::support::wait::until_or;
use crate::support::world::World;
use crate::support::{alone, calm, cluster, stack};

/// How long it may take until a fault is named, and until its end is noticed.
const SOON: Duration = Duration::from_secs(10);

/// What a page must say about a fault.
struct Named<'a> {
    component: &'a str,
    why: &'a str,
    what_to_do: &'a str,
}

/// Begins the fault, waits until it is named, ends it, and waits until every component works. Prints the seconds.
fn is_named(
    world: &World,
    consumer: &Consumer,
    what: &str,
    named: &Named<'_>,
    begin: impl FnOnce(),
    end: impl FnOnce(),
) {
    let Named { component, why, what_to_do } = *named;
    // while other partitions are stored, it is only degraded
    let (expected, state) = if why.contains("of 2 partitions") { (200, "degraded") } else { (503, "failed") };
    begin();
    let began = Instant::now();
    let is_named = || {
        let (status, condition) = consumer.condition(component)?;
        let says = condition.why.contains(why) && condition.what_to_do.contains(what_to_do);
        (status == expected && condition.state == state && says).then_some(())
    };
    let seen = || format!("{:?}\n{}", consumer.page("/readyz"), consumer.tail());
    until_or(&format!("{what} is named"), SOON, is_named, seen);
    let to_name = began.elapsed();
    let (exit, out, _) = world.outcome(&["health", "--at", &consumer.address().unwrap()]);
    assert_eq!(exit, i32::from(expected == 503), "{out}");
    assert!(
        out.lines().any(|line| line.contains(component) && line.contains(why) && line.contains(what_to_do)),
        "{out}"
    );
    assert!(consumer.page("/livez").is_some_and(|(status, _)| status == 200), "the loops turn");
    let one_hot = |state: &str| {
        let name = format!(
            "footprint_component_health{{route=\"user_footprint\",component=\"{component}\",state=\"{state}\"}}"
        );
        consumer.metric(&name)
    };
    let hot = ["ok", "paused", "degraded", "failed"].map(|name| Some(f64::from(u8::from(name == state))));
    assert_eq!(["ok", "paused", "degraded", "failed"].map(one_hot), hot);
    end();
    let ended = Instant::now();
    let is_ready =
        || (consumer.page("/readyz")?.0 == 200 && consumer.condition(component)?.1.state == "ok").then_some(());
    until_or(&format!("the end of {what} is noticed"), SOON, is_ready, seen);
    assert_eq!(world.outcome(&["health", "--at", &consumer.address().unwrap()]).0, 0);
    println!(
        "{what}: named after {:.1} s, cleared after {:.1} s",
        to_name.as_secs_f64(),
        ended.elapsed().as_secs_f64()
    );
}

fn ready(consumer: &Consumer) {
    let ready = || (consumer.page("/readyz")?.0 == 200).then_some(());
    until_or("it is ready", Duration::from_secs(30), ready, || {
        format!("{:?}\n{}", consumer.page("/readyz"), consumer.tail())
    });
}

#[test]
fn a_server_that_is_away_or_silent_is_named_soon() {
    let _alone = alone();
    let mut world = World::new("status_servers", 2, 0.0);
    let mut consumer = world.consumer();
    ready(&consumer);
    let (kafka, postgres, clickhouse) =
        (stack().kafka().unwrap(), stack().postgres().unwrap(), stack().clickhouse().unwrap());
    let servers: [(&str, &Server, &str); 4] = [
        ("ledger", postgres, "DB_HOST"),
        ("postgres", postgres, "DB_HOST"),
        ("clickhouse", clickhouse, "CH_HOST"),
        ("kafka", kafka, "kafka.bootstrap_servers"),
    ];
    for (component, server, what_to_do) in servers {
        let named = Named { component, why: "", what_to_do };
        let what = format!("{}, killed, for {component}", server.name());
        is_named(&world, &consumer, &what, &named, || server.kill().unwrap(), || server.restart().unwrap());
        let what = format!("{}, suspended, for {component}", server.name());
        is_named(&world, &consumer, &what, &named, || server.pause().unwrap(), || server.resume().unwrap());
    }
    world.send(1_000);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// Connections stay open, and nothing comes back.
#[test]
fn a_network_that_swallows_everything_is_named_soon() {
    let _calm = calm();
    let mut world = World::new("status_hole", 2, 0.0);
    let postgres = Proxy::start(stack().postgres().unwrap().port()).unwrap();
    let clickhouse = Proxy::start(stack().clickhouse().unwrap().http_port()).unwrap();
    world.set("postgres.port", &postgres.port().to_string());
    world.set("clickhouse.port", &clickhouse.port().to_string());
    let mut consumer = world.consumer();
    ready(&consumer);
    for (component, proxy, what_to_do) in [("ledger", &postgres, "DB_HOST"), ("clickhouse", &clickhouse, "CH_HOST")] {
        let named = Named { component, why: "no answer", what_to_do };
        is_named(
            &world,
            &consumer,
            &format!("a black hole before {component}"),
            &named,
            || proxy.hold(),
            || proxy.release(),
        );
    }
    world.send(1_000);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn a_topic_or_a_leader_that_is_gone_is_named_soon() {
    let (cluster, _proxy, _turn) = cluster();
    let _calm = calm();
    let mut world = World::at(&cluster.bootstrap(), "status_topic", 2, 0.0);
    world.command(&["migrate"]);
    let topic = world.topic.clone();
    let create = || cluster.create_topic_at(1, &topic, &[vec![1], vec![3]]).unwrap();
    create();
    let mut consumer = world.consumer();
    ready(&consumer);
    let named =
        Named { component: "topic", why: "1 of 2 partitions have no leader: 1", what_to_do: "start the brokers" };
    let broker = cluster.broker(3);
    is_named(&world, &consumer, "a leader, gone", &named, || broker.stop().unwrap(), || broker.restart().unwrap());
    let named = Named { component: "topic", why: "does not exist", what_to_do: "create it" };
    is_named(&world, &consumer, "a topic, gone", &named, || cluster.delete_topic_at(1, &topic).unwrap(), create);
    world.send(1_000);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn what_a_person_must_mend_is_named_with_the_remedy() {
    let _calm = calm();
    let mut world = World::without_tables("status_person", 1, 0.0);
    let postgres = stack().postgres().unwrap();
    let role = world.database.clone();
    postgres.create_role(&role, stack().user_password()).unwrap();
    postgres.give_database(&world.database, &role).unwrap();
    world.set_text("postgres.user", &role);
    world.command(&["migrate"]);
    let mut consumer = world.consumer();
    ready(&consumer);
    let database = world.database.clone();
    for (what, component, why, what_to_do, begin, end) in [
        (
            "a right on the route's table, revoked",
            "postgres",
            "lacks the right to insert on user_footprint",
            "grant insert on user_footprint",
            format!("revoke insert on user_footprint from {role}"),
            format!("grant insert on user_footprint to {role}"),
        ),
        (
            "a right on the ledger, revoked",
            "ledger",
            "lacks the right to select, update on footprint_ledger",
            "grant select, update on footprint_ledger",
            format!("revoke select, update on footprint_ledger from {role}"),
            format!("grant select, update on footprint_ledger to {role}"),
        ),
        (
            "the route's table, renamed",
            "postgres",
            "user_footprint is not there",
            "footprint migrate",
            "alter table user_footprint rename to elsewhere".to_owned(),
            "alter table elsewhere rename to user_footprint".to_owned(),
        ),
        (
            "a database that is read-only",
            "ledger",
            "read-only",
            "",
            format!("alter database {database} set default_transaction_read_only = on"),
            format!("alter database {database} reset default_transaction_read_only"),
        ),
        (
            "a login that is refused",
            "ledger",
            "password authentication failed",
            "DB_PASSWORD",
            format!("alter role {role} password 'another'"),
            format!("alter role {role} password '{}'", stack().user_password()),
        ),
    ] {
        // a database that is read-only cannot be changed from within
        let is_of_the_cluster =
            |statement: &str| ["alter database", "alter role"].iter().any(|verb| statement.starts_with(verb));
        let run = |statement: &str| {
            postgres.execute(if is_of_the_cluster(statement) { "postgres" } else { &database }, statement).unwrap();
        };
        is_named(&world, &consumer, what, &Named { component, why, what_to_do }, || run(&begin), || run(&end));
    }
    let clickhouse = stack().clickhouse().unwrap();
    let rename = |from: &str, to: &str| {
        clickhouse.query(&format!("rename table {database}.{from} to {database}.{to}")).unwrap();
    };
    is_named(
        &world,
        &consumer,
        "ClickHouse's table, renamed",
        &Named { component: "clickhouse", why: "is not there", what_to_do: "footprint migrate" },
        || rename("user_footprint", "elsewhere"),
        || rename("elsewhere", "user_footprint"),
    );
    world.send(1_000);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// A file that takes all the room of a small disk. Its drop gives the room back.
struct Filler(PathBuf);

impl Filler {
    fn fill(disk: &Path) -> Self {
        let path = disk.join("filler");
        let mut file = File::create(&path).unwrap();
        let block = vec![0; 1 << 16];
        // the last write takes the rest that is smaller than a block
        while file.write(&block).is_ok_and(|written| written > 0) {}
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn a_full_disk_is_named_soon() {
    let _calm = calm();
    let mut world = World::new("status_disk", 2, 0.0);
    let database = world.database.clone();
    let (postgres, clickhouse) = (stack().postgres().unwrap(), stack().clickhouse().unwrap());
    // the route's tables are on small disks
    let (place, of_postgres) = postgres.small_disk().unwrap();
    postgres.execute("postgres", &format!("create tablespace {database} location '{}'", place.display())).unwrap();
    postgres.execute(&database, &format!("alter table user_footprint set tablespace {database}")).unwrap();
    let (place, of_clickhouse) = clickhouse.small_disk().unwrap();
    let made = format!(
        "select create_table_query from system.tables where database = '{database}' and name = 'user_footprint'"
    );
    let made = clickhouse.query(&format!("{made} format TSVRaw")).unwrap();
    let on_disk = format!("SETTINGS disk = disk(type = local, path = '{}/{database}/'), ", place.display());
    let small = made.replace(".user_footprint", ".small").replace("SETTINGS ", &on_disk);
    assert!(small.contains("disk(") && small.contains(".small"), "{small}");
    clickhouse.query(&small).unwrap();
    clickhouse.query(&format!("exchange tables {database}.small and {database}.user_footprint")).unwrap();

    let mut consumer = world.consumer();
    ready(&consumer);
    for (component, disk, why) in
        [("postgres", of_postgres, "No space left on device"), ("clickhouse", of_clickhouse, "space")]
    {
        let filler = Filler::fill(&disk);
        world.send(1_000);
        let named = Named { component, why, what_to_do: "the space on its disk" };
        is_named(&world, &consumer, &format!("a full disk of {component}"), &named, || {}, || drop(filler));
    }
    world.send(1_000);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
    // the disks are empty after a restart of the servers
    clickhouse.query(&format!("drop table {database}.user_footprint sync")).unwrap();
    postgres.execute(&database, "alter table user_footprint set tablespace pg_default").unwrap();
    postgres.execute("postgres", &format!("drop tablespace {database}")).unwrap();
    postgres.execute("postgres", "checkpoint").unwrap();
}
