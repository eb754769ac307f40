//! The first user's site as it was set up: `create user test` with exactly its rights in ClickHouse, tables of three columns with
//! rows, a topic of one partition that a console producer has filled, the old consumer's commit in the group, and a `.env` with
//! only the old environment names. The rights that `migrate` asks for are granted while it adopts the tables. Before and after
//! that, the user has only its own rights.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use footprint_stack::{ADOPTION_RIGHTS, APPLICATION_DATABASE, APPLICATION_USER, ClickHouseRights, ClickHouseUser};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};

use crate::support::kafka::client_config;
use crate::support::{alone, stack};

const TOPIC: &str = "web-logs-topic";
const GROUP: &str = "web-logs";
const USER: &str = "test";
const PASSWORD: &str = "password";
const OLD_ROWS: usize = 1_000;
const EVENTS: usize = 50_000;
/// The events that the old consumer has stored, as its own rows, and committed.
const COMMITTED: usize = 20_000;

/// One of the events: its link and its second within the hour follow from its number.
fn event(n: usize) -> String {
    let (second, minute) = (n % 60, n / 60 % 60);
    format!(
        r#"{{"link":"/page/{}","method":"GET","footprint_time":"2026-01-02T03:{minute:02}:{second:02}+09:00"}}"#,
        n % 97
    )
}

/// The user with its rights, and `also`. ClickHouse is restarted, because it reads its users only at the start.
fn set_user(also: &'static str) {
    let user = ClickHouseUser {
        name: USER.to_owned(),
        password: PASSWORD.to_owned(),
        rights: ClickHouseRights::Site { databases: APPLICATION_DATABASE.to_owned(), also },
    };
    stack().clickhouse().unwrap().set_user(user).unwrap();
}

/// Tables as the old consumer created them, with its rows.
fn old_tables() {
    let (postgres, clickhouse) = (stack().postgres().unwrap(), stack().clickhouse().unwrap());
    postgres.create_database(APPLICATION_DATABASE).unwrap();
    postgres.give_database(APPLICATION_DATABASE, APPLICATION_USER).unwrap();
    let old = format!(
        "set role {APPLICATION_USER};
         create table user_footprint (request varchar(10), link varchar(255), footprint_time timestamptz);
         insert into user_footprint select 'GET', '/old/' || n, to_timestamp(1700000000 + n) from generate_series(1, {OLD_ROWS}) n"
    );
    postgres.execute(APPLICATION_DATABASE, &old).unwrap();
    clickhouse
        .query(&format!(
            "create table {APPLICATION_DATABASE}.user_footprint (request String, link String, footprint_time DateTime64(6, 'UTC'))
             engine = MergeTree order by footprint_time"
        ))
        .unwrap();
    clickhouse
        .query(&format!(
            "insert into {APPLICATION_DATABASE}.user_footprint
             select 'GET', '/old/' || toString(number + 1), toDateTime64(1700000001 + number, 6, 'UTC') from numbers({OLD_ROWS})"
        ))
        .unwrap();
}

/// The topic, written by Kafka's own console producer, with the old consumer's commit.
fn old_log() {
    let kafka = stack().kafka().unwrap();
    kafka.create_topic(TOPIC, 1, &[]).unwrap();
    let lines: Vec<String> = (0..EVENTS).map(event).collect();
    kafka.console_producer(TOPIC, &lines.join("\n")).unwrap();
    let consumer: BaseConsumer = client_config().set("group.id", GROUP).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, rdkafka::Offset::Offset(i64::try_from(COMMITTED).unwrap())).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

/// A directory with the old consumer's `.env`.
fn site() -> PathBuf {
    let (kafka, postgres, clickhouse) =
        (stack().kafka().unwrap(), stack().postgres().unwrap(), stack().clickhouse().unwrap());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("first-site");
    std::fs::create_dir_all(&directory).unwrap();
    let env = format!(
        "# the old consumer's\n\
         BOOTSTRAP_SERVER={}\nGROUP_ID={GROUP}\nTOPIC={TOPIC}\nOFFSET_RESET_CONFIG=earliest\n\
         DB_HOST={}\nDB_PORT={}\nDB_NAME={APPLICATION_DATABASE}\nDB_USER={APPLICATION_USER}\nDB_PASSWORD='{}'\n\
         CH_HOST={}\nCH_PORT={}\nCH_USER={USER}\nCH_PASSWORD={PASSWORD}\nLOG_DIR=logs\n",
        kafka.bootstrap(),
        postgres.host(),
        postgres.port(),
        stack().user_password(),
        clickhouse.host(),
        clickhouse.http_port(),
    );
    std::fs::write(directory.join(".env"), env).unwrap();
    directory
}

/// Runs a command there, without the caller's environment. Returns its status and all its output.
fn footprint(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_footprint"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        // the only addition: nothing else may listen on the default port
        .env("FOOTPRINT_TELEMETRY__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

/// Rows, distinct identities, the least offset and the sum of the times' seconds, of old and of new rows, in each database.
fn rows() -> [Vec<String>; 2] {
    let in_postgres = "select count(*)::text, count(distinct kafka_offset)::text, \
         coalesce(min(kafka_offset), -1)::text, sum(extract(epoch from footprint_time))::bigint::text \
         from user_footprint group by kafka_source is null order by kafka_source is null";
    let postgres = stack().postgres().unwrap().query(APPLICATION_DATABASE, in_postgres).unwrap();
    let in_clickhouse = format!(
        "select count(), uniqExact(kafka_offset), \
         ifNull(min(kafka_offset), -1), sum(toUnixTimestamp(footprint_time)) \
         from {APPLICATION_DATABASE}.user_footprint group by isNull(kafka_source) order by isNull(kafka_source)"
    );
    let clickhouse = stack().clickhouse().unwrap().query(&in_clickhouse).unwrap();
    [
        postgres.iter().map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join("\t")).collect(),
        clickhouse.lines().map(str::to_owned).collect(),
    ]
}

#[test]
fn the_first_users_site_works_with_nothing_granted_beyond_it() {
    let _alone = alone();
    set_user("");
    old_tables();
    old_log();
    let directory = site();

    let (status, said) = footprint(&directory, &["migrate"]);
    let wanted = format!("GRANT {ADOPTION_RIGHTS} ON {APPLICATION_DATABASE}.user_footprint TO {USER}");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.lines().any(|line| line.ends_with(&wanted)), "{said}");
    set_user(ADOPTION_RIGHTS);
    let (status, said) = footprint(&directory, &["migrate"]);
    assert_eq!(status, Some(0), "{said}");
    set_user("");

    let (status, said) = footprint(&directory, &["check"]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = footprint(&directory, &["run", "--until-caught-up"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("caught up: 30000 records"), "{said}");

    let old_sum = OLD_ROWS as u64 * 1_700_000_000 + (OLD_ROWS * (OLD_ROWS + 1) / 2) as u64;
    // 2026-01-02T03:00:00+09:00, plus the seconds of each event's number
    let new_sum: u64 = (COMMITTED..EVENTS).map(|n| 1_767_290_400 + (n % 3_600) as u64).sum();
    let expected =
        [format!("{0}\t{0}\t{COMMITTED}\t{new_sum}", EVENTS - COMMITTED), format!("{OLD_ROWS}\t0\t-1\t{old_sum}")];
    for found in rows() {
        assert_eq!(found, expected);
    }
    let (status, said) = footprint(&directory, &["verify"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(&format!("starts at {COMMITTED}")), "{said}");
    // a second run: nothing is stored twice
    let (status, said) = footprint(&directory, &["run", "--until-caught-up"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(rows(), [expected.to_vec(), expected.to_vec()]);
    let log = std::fs::read_to_string(directory.join("logs/consumer.log")).unwrap();
    assert!(log.contains("caught up") && !log.contains(PASSWORD), "{log}");
}
