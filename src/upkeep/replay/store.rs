//! Stores one batch: first ClickHouse, then PostgreSQL together with the end of the dead letters.

use footprint_event::definition::Definition;
use footprint_event::reject::Reason;
use footprint_protocol::ledger::SinkName;
use footprint_service::clock::BootInstant;
use footprint_service::postgres::PostgresError;
use tokio_postgres::Client;

use super::batch::Judged;
use super::{BATCH_TIMEOUT, ReplayError, Replayer, within};
use crate::ledger::proof::PROOF_LIFETIME;
use crate::ledger::statements::letters::{self, Place};
use crate::ledger::statements::replays::{self, Replay};
use crate::store::clickhouse::identities::{RefusedRow, Selected};
use crate::store::postgres::identities;
use crate::store::sink::SinkError;
use crate::store::write_failure::WriteFailure;

impl Replayer {
    /// Stores a batch that has begun, and ends it.
    pub(super) async fn finish(
        &mut self,
        replay: &Replay,
        judged: Judged,
        definition: &Definition,
    ) -> Result<(), ReplayError> {
        let (for_clickhouse, for_postgres) =
            (judged.rows_for(SinkName::ClickHouse), judged.rows_for(SinkName::Postgres));
        let batch = Selected {
            source: replay.source,
            partition: replay.partition,
            number: replay.number,
            rows: &judged.rows,
            which: &for_clickhouse,
        };
        let client = &self.client;
        let refused_by_clickhouse = match for_clickhouse.is_empty() {
            true => Vec::new(),
            false => self.clickhouse.store(definition, batch, async || prove(client).await).await.map_err(failure)?,
        };
        let committing = self.end_in_postgres(replay, &judged, definition, &for_postgres, &refused_by_clickhouse);
        let refused_by_postgres = match tokio::time::timeout(BATCH_TIMEOUT, committing).await {
            Ok(refused) => refused?,
            Err(_) => return Err(ReplayError::Silent { what: "store a batch", waited: BATCH_TIMEOUT }),
        };
        for (place, row) in &judged.good {
            let mut refused = Vec::new();
            for (sink, by) in
                [(SinkName::Postgres, &refused_by_postgres), (SinkName::ClickHouse, &refused_by_clickhouse)]
            {
                if place.sink.is_none_or(|lacks| lacks == sink) && why(by, *row).is_some() {
                    refused.push(sink);
                }
            }
            self.report.count(place.sink, &refused);
        }
        Ok(())
    }

    /// One transaction: the rows, the end of their dead letters, and the end of the batch. Returns the rows that PostgreSQL refuses.
    async fn end_in_postgres(
        &self,
        replay: &Replay,
        judged: &Judged,
        definition: &Definition,
        rows: &[usize],
        refused_by_clickhouse: &[RefusedRow],
    ) -> Result<Vec<RefusedRow>, ReplayError> {
        let client = &self.client;
        within("store a batch", BATCH_TIMEOUT, client.batch_execute("begin")).await?;
        let key = (replay.source, replay.partition);
        let refused = match rows.is_empty() {
            true => Vec::new(),
            false => identities::store(client, definition.route(), key, &judged.rows, rows).await?,
        };
        let mut stored = Vec::new();
        for (place, row) in &judged.good {
            let (by_postgres, by_clickhouse) = (why(&refused, *row), why(refused_by_clickhouse, *row));
            match (place.sink, by_postgres, by_clickhouse) {
                (None, None, None) | (Some(SinkName::Postgres), None, _) | (Some(SinkName::ClickHouse), _, None) => {
                    stored.push(place.clone());
                }
                (Some(_), ..) => {}
                (None, by_postgres, by_clickhouse) => {
                    within("keep a dead letter", BATCH_TIMEOUT, keep(client, place, by_postgres, by_clickhouse))
                        .await?;
                }
            }
        }
        let deleted = within("delete dead letters", BATCH_TIMEOUT, letters::delete(client, &stored)).await?;
        let ended = within("end a batch", BATCH_TIMEOUT, replays::end(client, &self.route.name, replay)).await?;
        if deleted != stored.len() as u64 || ended != 1 {
            within("roll back", BATCH_TIMEOUT, client.batch_execute("rollback")).await?;
            return Err(ReplayError::Changed);
        }
        within("commit a batch", BATCH_TIMEOUT, client.batch_execute("commit")).await?;
        Ok(refused)
    }
}

/// Keeps the dead letter of a record that was one for both databases and that only one of them, or none, takes now.
async fn keep(
    client: &Client,
    place: &Place,
    by_postgres: Option<&str>,
    by_clickhouse: Option<&str>,
) -> Result<(), tokio_postgres::Error> {
    let reason = |sink, why: &str| Reason::Refused { sink, why: why.to_owned(), is_gone: false }.to_string();
    let (postgres, clickhouse) = (SinkName::Postgres, SinkName::ClickHouse);
    match (by_postgres, by_clickhouse) {
        (Some(why), None) => letters::narrow(client, place, postgres, &reason(postgres, why)).await.map(drop),
        (None, Some(why)) => letters::narrow(client, place, clickhouse, &reason(clickhouse, why)).await.map(drop),
        (Some(why), Some(other)) => {
            letters::copy(client, place, clickhouse, &reason(clickhouse, other)).await?;
            letters::narrow(client, place, postgres, &reason(postgres, why)).await.map(drop)
        }
        (None, None) => Ok(()),
    }
}

fn why(refused: &[RefusedRow], row: usize) -> Option<&str> {
    refused.iter().find(|(of, _)| *of == row).map(|(_, why)| why.as_str())
}

/// Asks the session that holds the lock. Its answer is good for [`PROOF_LIFETIME`]: the next replay waits that long.
async fn prove(client: &Client) -> Result<(), SinkError> {
    let before = BootInstant::now();
    let asking = tokio::time::timeout(PROOF_LIFETIME, client.query_one("select 1", &[])).await;
    let no_answer = || WriteFailure::NoAnswer { server: "postgresql", waited: PROOF_LIFETIME };
    let Ok(answer) = asking else { return Err(SinkError::Stop(no_answer())) };
    answer.map_err(|error| SinkError::Stop(WriteFailure::Postgres(PostgresError::from(error).into())))?;
    if BootInstant::now().since(before) < PROOF_LIFETIME { Ok(()) } else { Err(SinkError::Stop(no_answer())) }
}

fn failure(error: SinkError) -> ReplayError {
    match error {
        SinkError::Retry(failure)
        | SinkError::Uncertain(failure)
        | SinkError::Unclear(failure)
        | SinkError::Stop(failure) => failure.into(),
    }
}
