//! Asks the two servers as Grafana's back end does, as the read-only user of `grafana/README.md`, and brings both answers into one form.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use chrono::{DateTime, NaiveDateTime};
use footprint_stack::{ClickHouseRights, ClickHouseUser};
use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::files::{Database, grants};
use crate::support::stack;

/// One value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Number(f64),
    Text(String),
    /// UTC microseconds.
    Time(i64),
}

/// An answer as a panel gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

impl Answer {
    /// For `tools/dashboards/render.py`.
    pub fn json(&self) -> Value {
        let cell = |cell: &Cell| match cell {
            Cell::Null => Value::Null,
            Cell::Number(number) => json!(number),
            Cell::Text(text) => json!(text),
            Cell::Time(us) => json!({ "time_us": us }),
        };
        let rows: Vec<Vec<Value>> = self.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        json!({ "columns": self.columns, "rows": rows })
    }
}

const PASSWORD: &str = "a reader's password";

/// The read-only user, with exactly the rights that the README gives.
pub struct Reader {
    runtime: tokio::runtime::Runtime,
    postgres: Client,
    name: String,
    database: String,
}

impl Reader {
    /// Makes the users of both servers. ClickHouse reads its users at its start, so it is restarted, and no other test may run.
    pub fn new(database: &str) -> Self {
        let (postgres, clickhouse) = (stack().postgres().unwrap(), stack().clickhouse().unwrap());
        let name = format!("grafana_{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        // what everybody may do by default must not help
        let nobody = format!(
            "revoke all on database {database} from public; revoke all on schema public from public; \
             revoke all on all tables in schema public from public"
        );
        postgres.execute(database, &nobody).unwrap();
        for statement in grants(Database::PostgreSql) {
            postgres.execute(database, &adapted(&statement, &name, database)).unwrap();
        }
        clickhouse.set_user(clickhouse_reader(&name, database)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut config = tokio_postgres::Config::new();
        config.host(postgres.host()).port(postgres.port()).user(&name).password(PASSWORD).dbname(database);
        let (client, connection) = runtime.block_on(config.connect(NoTls)).unwrap();
        runtime.spawn(connection);
        Self { runtime, postgres: client, name, database: database.to_owned() }
    }

    /// Takes back the session's own protection, as anybody who may send SQL can.
    pub fn write_by_default(&self) {
        self.runtime.block_on(self.postgres.batch_execute("set default_transaction_read_only = off")).unwrap();
    }

    /// Asks one database.
    pub fn ask(&self, database: Database, sql: &str) -> Result<Answer, String> {
        match database {
            Database::PostgreSql => self.ask_postgres(sql),
            Database::ClickHouse => self.ask_clickhouse(sql),
        }
    }

    fn ask_postgres(&self, sql: &str) -> Result<Answer, String> {
        let said = |error: tokio_postgres::Error| format!("{error:?}\n{sql}");
        let statement = self.runtime.block_on(self.postgres.prepare(sql)).map_err(said)?;
        let messages = self.runtime.block_on(self.postgres.simple_query(sql)).map_err(said)?;
        let columns = statement.columns();
        let mut rows = Vec::new();
        for message in messages {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let cells = columns.iter().enumerate().map(|(at, column)| postgres_cell(column.type_(), row.get(at)));
            rows.push(cells.collect());
        }
        Ok(Answer { columns: columns.iter().map(|column| column.name().to_owned()).collect(), rows })
    }

    /// With a setting in the request, as the plugin's client sends one.
    fn ask_clickhouse(&self, sql: &str) -> Result<Answer, String> {
        let server = stack().clickhouse().unwrap();
        let mut stream = TcpStream::connect((server.host(), server.http_port())).map_err(|error| error.to_string())?;
        let head = format!(
            "POST /?database={}&default_format=JSONCompact&max_execution_time=60&wait_end_of_query=1 HTTP/1.0\r\n\
             X-ClickHouse-User: {}\r\nX-ClickHouse-Key: {PASSWORD}\r\nContent-Length: {}\r\n\r\n{sql}",
            self.database,
            self.name,
            sql.len()
        );
        let mut answer = String::new();
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.read_to_string(&mut answer))
            .map_err(|e| e.to_string())?;
        let (status, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        if !status.contains(" 200 ") {
            return Err(format!("{body}\n{sql}"));
        }
        let body: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
        let meta = body["meta"].as_array().expect("columns");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let types: Vec<String> = meta.iter().map(|column| text(&column["type"])).collect();
        let row = |row: &Value| {
            let cells = row.as_array().expect("a row").iter().zip(&types);
            cells.map(|(value, column_type)| clickhouse_cell(column_type, value)).collect()
        };
        let rows = body["data"].as_array().expect("rows").iter().map(row).collect();
        Ok(Answer { columns: meta.iter().map(|column| text(&column["name"])).collect(), rows })
    }
}

/// A statement of the README with the names of this test.
fn adapted(statement: &str, user: &str, database: &str) -> String {
    let words = statement.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_');
    let renamed = words.map(|word| {
        let name = word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_');
        let new = match name {
            "grafana" => user,
            "prd" => database,
            _ => name,
        };
        format!("{new}{}", &word[name.len()..])
    });
    renamed.collect::<String>().replace("choose a password", PASSWORD.replace('\'', "''").as_str())
}

/// What `create user` and `grant` of the README say. The embedded ClickHouse does not take these statements, only their meaning.
fn clickhouse_reader(name: &str, database: &str) -> ClickHouseUser {
    let statements: Vec<String> =
        grants(Database::ClickHouse).iter().map(|statement| adapted(statement, name, database)).collect();
    let made =
        format!("create user {name} identified with sha256_password by '{}' settings ", PASSWORD.replace('\'', "''"));
    let settings = statements[0].strip_prefix(&made).expect("a user with settings");
    let setting = |text: &str| {
        let (name, value) = text.split_once('=').expect("name = value");
        (name.trim().to_owned(), value.trim().to_owned())
    };
    let grant = |text: &String| {
        let grant = text.strip_suffix(&format!(" to {name}")).filter(|grant| grant.starts_with("grant "));
        grant.expect("a grant").to_owned()
    };
    let rights = ClickHouseRights::Exactly {
        grants: statements[1..].iter().map(grant).collect(),
        settings: settings.split(',').map(setting).collect(),
    };
    ClickHouseUser { name: name.to_owned(), password: PASSWORD.to_owned(), rights }
}

fn postgres_cell(column_type: &Type, text: Option<&str>) -> Cell {
    let Some(text) = text else { return Cell::Null };
    match *column_type {
        Type::INT4 | Type::INT8 | Type::FLOAT8 | Type::NUMERIC => Cell::Number(text.parse().expect("a number")),
        Type::TIMESTAMPTZ => {
            let time = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").expect("a time");
            Cell::Time(time.timestamp_micros())
        }
        Type::TEXT | Type::VARCHAR => Cell::Text(text.to_owned()),
        ref other => panic!("a panel has no form for {other}: {text}"),
    }
}

fn clickhouse_cell(column_type: &str, value: &Value) -> Cell {
    let inner = ["Nullable(", "LowCardinality("].into_iter().fold(column_type, |inner, wrapper| {
        inner.strip_prefix(wrapper).and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner)
    });
    match value {
        Value::Null => Cell::Null,
        Value::Number(number) => Cell::Number(number.as_f64().expect("a number")),
        Value::String(text) if inner.starts_with("DateTime") => {
            let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").expect("a time");
            Cell::Time(time.and_utc().timestamp_micros())
        }
        Value::String(text) if inner.contains("Int") => Cell::Number(text.parse().expect("a number")),
        Value::String(text) => Cell::Text(text.clone()),
        other => panic!("a panel has no form for {column_type}: {other}"),
    }
}

/// What the back end makes of an answer for time series. A time that is a number is of seconds, milliseconds or nanoseconds. Rows must
/// be in time order.
pub fn time_series(answer: Answer) -> Result<Answer, String> {
    if answer.columns.first().map(String::as_str) != Some("time") {
        return Err(format!("no time column: {:?}", answer.columns));
    }
    let mut rows = Vec::new();
    for mut row in answer.rows {
        if let Cell::Number(time) = row[0] {
            let us = match time.abs() {
                ..1e11 => time * 1e6,
                1e11..1e15 => time * 1e3,
                _ => time / 1e3,
            };
            row[0] = Cell::Time(us as i64);
        }
        rows.push(row);
    }
    let time = |row: &[Cell]| if let Cell::Time(us) = row[0] { us } else { i64::MIN };
    if rows.windows(2).any(|pair| time(&pair[0]) >= time(&pair[1])) {
        return Err("the rows are not in time order".into());
    }
    Ok(Answer { columns: answer.columns, rows })
}
