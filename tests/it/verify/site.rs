//! One test's topic, PostgreSQL database and ClickHouse database, and functions to change them.

use footprint_service::config::Config;
use footprint_stack::{APPLICATION_USER, TEST_USER};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::BaseProducer;

use crate::support::{Calm, calm, stack};

const LEDGER: &str = concat!(
    include_str!("../../../migrations/postgres/V1__ledger.sql"),
    include_str!("../../../migrations/postgres/V2__birth.sql"),
    include_str!("../../../migrations/postgres/V3__first_start.sql"),
    include_str!("../../../migrations/postgres/V5__refused.sql")
);

/// One of the databases.
#[derive(Clone, Copy, Debug)]
pub enum Where {
    Postgres,
    Clickhouse,
}

/// A topic and a database in each server, with a name that no other test has.
pub struct Site {
    pub topic: String,
    database: String,
    _calm: Calm,
}

impl Site {
    pub async fn new(name: &str, partitions: u16) -> Self {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let site = Self { topic: format!("{name}-{unique}"), database: format!("test_{name}_{unique}"), _calm: calm() };
        stack().postgres().unwrap().create_database(&site.database).unwrap();
        stack().clickhouse().unwrap().create_database(&site.database).unwrap();
        site.create_topic(partitions);
        site.postgres(LEDGER).await;
        site.postgres(
            "create table user_footprint (request text, link text, footprint_time timestamptz, kafka_source bigint,
             kafka_partition integer, kafka_offset bigint, received_at timestamptz)",
        )
        .await;
        // verify only reads, and needs no other right
        site.postgres(&format!("alter default privileges grant select on tables to {APPLICATION_USER}")).await;
        site.postgres(&format!("grant select on all tables in schema public to {APPLICATION_USER}")).await;
        site.clickhouse(
            "create table user_footprint (link String, request LowCardinality(String), footprint_time DateTime64(6, 'UTC'),
             kafka_source Nullable(Int64), kafka_partition Nullable(Int32), kafka_offset Nullable(Int64),
             received_at Nullable(DateTime64(6, 'UTC')), index o kafka_offset type minmax)
             engine = MergeTree order by footprint_time partition by toYYYYMM(ifNull(received_at, toDateTime64(0, 6, 'UTC')))",
        )
        .await;
        site
    }

    pub fn config(&self) -> Config {
        let (kafka, postgres) = (stack().kafka().unwrap(), stack().postgres().unwrap());
        let clickhouse = stack().clickhouse().unwrap();
        let flags = [
            ("kafka.bootstrap_servers", kafka.bootstrap().to_owned()),
            ("postgres.host", postgres.host().to_owned()),
            ("postgres.port", postgres.port().to_string()),
            ("postgres.database", self.database.clone()),
            ("postgres.user", APPLICATION_USER.to_owned()),
            ("postgres.password", stack().user_password().to_owned()),
            ("clickhouse.host", clickhouse.host().to_owned()),
            ("clickhouse.port", clickhouse.http_port().to_string()),
            ("clickhouse.database", self.database.clone()),
            ("clickhouse.user", TEST_USER.to_owned()),
            ("clickhouse.password", stack().user_password().to_owned()),
        ];
        let mut config = Config::load(None, &flags).unwrap();
        config.routes[0].topic.clone_from(&self.topic);
        config
    }

    pub async fn postgres(&self, sql: &str) {
        tokio::task::block_in_place(|| stack().postgres().unwrap().execute(&self.database, sql)).unwrap();
    }

    pub async fn clickhouse(&self, sql: &str) {
        let clickhouse = stack().clickhouse().unwrap();
        clickhouse::Client::default()
            .with_url(format!("http://{}:{}", clickhouse.host(), clickhouse.http_port()))
            .with_user(clickhouse.admin_user())
            .with_password(clickhouse.admin_password())
            .with_database(&self.database)
            .query(sql)
            .execute()
            .await
            .unwrap();
    }

    /// Does one thing to the rows where `condition` holds: `delete`, `double`, `double elsewhen` (the copy was received at
    /// another time), `move to N` (another offset), or `update COLUMN = VALUE`.
    pub async fn change(&self, place: Where, what: &str, condition: &str) {
        let all = "request, link, footprint_time, kafka_source, kafka_partition";
        let copy = |offset: &str, received: &str| {
            format!(
                "insert into user_footprint ({all}, kafka_offset, received_at)
                 select {all}, {offset}, {received} from user_footprint where {condition}"
            )
        };
        let delete = |condition: &str| match place {
            Where::Postgres => format!("delete from user_footprint where {condition}"),
            Where::Clickhouse => {
                format!("alter table user_footprint delete where {condition} settings mutations_sync = 2")
            }
        };
        let statements = match what.split_once(' ') {
            _ if what == "delete" => vec![delete(condition)],
            _ if what == "double" => vec![copy("kafka_offset", "received_at")],
            _ if what == "double elsewhen" => vec![copy("kafka_offset", "received_at + interval '3' month")],
            Some(("move", to)) => vec![copy(to.trim_start_matches("to "), "received_at"), delete(condition)],
            // ClickHouse does not update a column in the partition key: the row is written again
            Some(("update", set)) if set.starts_with("received_at") => {
                let value = set.split_once("= ").unwrap().1;
                let value = match place {
                    Where::Postgres => format!("{value}::timestamptz"),
                    Where::Clickhouse => format!("toDateTime64({value}, 6, 'UTC')"),
                };
                let others = format!("{condition} and received_at <> {value}");
                vec![copy("kafka_offset", &value), delete(&others)]
            }
            Some(("update", set)) => vec![match place {
                Where::Postgres => format!("update user_footprint set {set} where {condition}"),
                Where::Clickhouse => {
                    format!("alter table user_footprint update {set} where {condition} settings mutations_sync = 2")
                }
            }],
            _ => panic!("{what}?"),
        };
        for statement in statements {
            match place {
                Where::Postgres => self.postgres(&statement).await,
                Where::Clickhouse => self.clickhouse(&statement).await,
            }
        }
    }

    pub fn producer(&self, properties: &[(&str, &str)]) -> BaseProducer {
        let mut config = client_config();
        config.set("linger.ms", "5");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config.create().unwrap()
    }

    /// The records are a year old, and only a test may remove them.
    fn create_topic(&self, partitions: u16) {
        stack().kafka().unwrap().create_topic(&self.topic, partitions, &[("retention.ms", "-1")]).unwrap();
    }

    /// Deletes the topic and creates another of the same name.
    pub fn recreate_topic(&self, partitions: u16) {
        stack().kafka().unwrap().delete_topic(&self.topic).unwrap();
        self.create_topic(partitions);
    }

    /// Deletes the records below `offset`, as retention does.
    pub fn delete_records(&self, partition: i32, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = client_config().create().unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, rdkafka::Offset::Offset(offset)).unwrap();
        let options = AdminOptions::new();
        let deleted = admin.delete_records(&list, &options);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(deleted)).unwrap();
    }
}

fn client_config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", stack().kafka().unwrap().bootstrap());
    config
}
