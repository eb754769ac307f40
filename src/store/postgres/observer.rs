//! Questions about a writer's transaction. Each is asked on a new connection, because the writer's own connection is busy or its
//! transaction has failed.

use std::time::Duration;

use footprint_event::route::quoted;
use footprint_service::config::Postgres;
use footprint_service::postgres::connect;
use footprint_service::postgres::error::missing_rights;
use footprint_service::postgres::session::Purpose;
use footprint_service::traffic::Standing;
use tokio::time::timeout;
use tokio_postgres::Client;

/// Asks PostgreSQL what a writer cannot ask on its own connection.
pub(super) struct Observer {
    settings: Postgres,
    application_name: String,
    timeout: Duration,
}

impl Observer {
    /// `timeout` bounds the questions for rights and triggers, including the time to connect. The caller bounds [`Self::standing`].
    pub(super) fn new(settings: &Postgres, application_name: &str, timeout: Duration) -> Self {
        Self { settings: settings.clone(), application_name: application_name.to_owned(), timeout }
    }

    async fn connect(&self) -> Option<Client> {
        connect(&self.settings, &self.application_name, Purpose::Check).await.ok()
    }

    /// Whether the server process `backend` works or waits. None: the server does not say.
    pub(super) async fn standing(&self, backend: i32) -> Option<Standing> {
        let client = self.connect().await?;
        let sql = "select state = 'active' and wait_event_type is distinct from 'Client' from pg_stat_activity where pid = $1";
        let row = client.query_opt(sql, &[&backend]).await.ok()??;
        if row.get::<_, Option<bool>>(0) == Some(true) {
            return Some(Standing::AtWork);
        }
        // it waits for more data from us; this says how much has arrived (PostgreSQL 14 and later)
        let sql = "select bytes_processed from pg_stat_progress_copy where pid = $1";
        let row = client.query_opt(sql, &[&backend]).await.ok().flatten();
        Some(Standing::Waits(row.map_or(0, |row| row.get::<_, i64>(0).unsigned_abs())))
    }

    /// What to do when a right on `tables` is missing.
    pub(super) async fn missing_rights(&self, tables: &[(&str, &[&str])]) -> String {
        let asked = async { Some(missing_rights(&self.connect().await?, tables).await) };
        timeout(self.timeout, asked).await.ok().flatten().unwrap_or_else(|| "grant what it names".into())
    }

    /// What may drop rows of a table without an error.
    pub(super) async fn droppers(&self, table: &str) -> String {
        let sql = "select coalesce(string_agg(quote_ident(tgname), ', '), '') from pg_trigger \
                   where tgrelid = to_regclass($1::text) and not tgisinternal and tgenabled <> 'D' \
                   and tgtype & 1 > 0 and tgtype & 2 > 0 and tgtype & 4 > 0";
        let asked = async { self.connect().await?.query_one(sql, &[&quoted(table)]).await.ok() };
        match timeout(self.timeout, asked).await {
            Ok(Some(row)) if !row.get::<_, String>(0).is_empty() => {
                format!("its trigger {} drops rows", row.get::<_, String>(0))
            }
            _ => "a trigger drops rows".into(),
        }
    }
}
