//! Writes a transaction again by halves, after PostgreSQL refused a row. Each refused row becomes a dead letter for PostgreSQL in the
//! same transaction, and all other rows are stored.

use std::sync::Arc;

use footprint_protocol::ledger::SinkName;
use footprint_service::failpoint::{self, Point};
use footprint_service::postgres::error::{During, class_of, message};
use footprint_service::report::Remedy;
use tokio_postgres::{Client, Statement};
use tracing::warn;

use super::transaction::{NotCommitted, pieces, rows_statement};
use super::{PostgresSink, columns};
use crate::batch::Batch;
use crate::limits::{COPY_CHUNK_BYTES, DEAD_LETTER_OVERHEAD_BYTES};
use crate::store::postgres::halving::{Halving, Piece, Refused, SearchFailed};
use crate::store::postgres::shares::Share;
use crate::store::refused_records::RefusedRecords;
use crate::store::sink::SinkError;
use crate::store::write_failure::{REFUSED_ROWS_REMEDY, WriteFailure};

impl PostgresSink {
    /// Writes the group again by halves. A row that PostgreSQL refuses alone becomes a dead letter for PostgreSQL.
    pub(super) async fn store_by_halves(
        &self,
        client: &Client,
        group: &[&Arc<Batch>],
        shares: &[Share<'_>],
    ) -> Result<(), NotCommitted> {
        failpoint::hit(Point::Halve);
        self.within(async { client.batch_execute("rollback").await.map_err(NotCommitted::statement) }).await?;
        self.within(self.begin(client, shares)).await?;
        let rows = group.iter().map(|batch| batch.rows.len()).collect();
        let mut halving = Halving::new(pieces(group), rows, self.refusals.share_max);
        let prepare = async {
            let statement = client.prepare(&rows_statement(group)).await?;
            client.batch_execute("savepoint piece").await.map(|()| statement)
        };
        let statement = self.within(async { prepare.await.map_err(NotCommitted::statement) }).await?;
        let columns = columns(group[0]);
        while let Some(piece) = halving.next() {
            if group.iter().any(|batch| batch.ownership.has_ended()) {
                return Err(NotCommitted::other(SinkError::Retry(WriteFailure::OwnershipEnded)));
            }
            match self.within(self.try_piece(client, &statement, group, &piece)).await {
                Ok(()) => halving.note_accepted(&piece),
                Err(NotCommitted::Failed { error, during: During::Rows }) if self.may_be_a_row(&error, &columns) => {
                    let back = client.batch_execute("rollback to savepoint piece");
                    self.within(async { back.await.map_err(NotCommitted::statement) }).await?;
                    let class = class_of(&error, During::Rows, &columns);
                    halving
                        .note_refused(piece, class, &message(&error))
                        .map_err(|failed| self.search_failed(group, failed))?;
                }
                Err(other) => return Err(other),
            }
        }
        let refused = halving.finish().map_err(|failed| self.search_failed(group, failed))?;
        failpoint::hit(Point::HalveAnswered);
        self.within(self.copy_dead_letters(client, group)).await?;
        self.copy_refused(client, group, &refused).await?;
        self.within(self.end(client, shares, true)).await?;
        self.refusals.meters.refused(SinkName::Postgres, refused.len());
        log_refused(group, &refused);
        Ok(())
    }

    /// Writes one piece and sets a savepoint after it. Deferred constraints are checked here, not at the end of the transaction.
    async fn try_piece(
        &self,
        client: &Client,
        statement: &Statement,
        group: &[&Arc<Batch>],
        piece: &Piece,
    ) -> Result<(), NotCommitted> {
        self.copy_rows(client, statement, group, std::slice::from_ref(piece)).await?;
        let behind = "set constraints all immediate; release savepoint piece; savepoint piece";
        client.batch_execute(behind).await.map_err(NotCommitted::rows)
    }

    /// Writes the refused rows as dead letters. Their records are read from Kafka again, a few at a time.
    async fn copy_refused(
        &self,
        client: &Client,
        group: &[&Arc<Batch>],
        refused: &[Refused],
    ) -> Result<(), NotCommitted> {
        if refused.is_empty() {
            return Ok(());
        }
        failpoint::hit(Point::Reread);
        let mut records = RefusedRecords::open(&self.refusals.kafka, &self.route, self.silence_max)
            .await
            .map_err(NotCommitted::other)?;
        for of_batch in refused.chunk_by(|one, other| one.batch == other.batch) {
            let batch = group[of_batch[0].batch];
            let (mut taken, mut bytes) = (Vec::new(), 0);
            for refused in of_batch {
                let place = (batch.rows.offsets[refused.row], batch.rows.received_at_us[refused.row]);
                let partition = batch.ownership.partition;
                let letter = records.dead_letter(partition, place, SinkName::Postgres, &refused.why).await;
                let letter = letter.map_err(NotCommitted::other)?;
                bytes += DEAD_LETTER_OVERHEAD_BYTES + letter.byte_len();
                taken.push(letter);
                if bytes >= COPY_CHUNK_BYTES {
                    self.within(self.send_dead_letters(client, &[(&*batch.ownership, &taken)])).await?;
                    taken.clear();
                    bytes = 0;
                }
            }
            if !taken.is_empty() {
                self.within(self.send_dead_letters(client, &[(&*batch.ownership, &taken)])).await?;
            }
            records.check_topic(&batch.ownership).await.map_err(NotCommitted::other)?;
        }
        failpoint::hit(Point::RereadAnswered);
        Ok(())
    }

    /// The error of a search that cannot continue. It names the first refused row.
    fn search_failed(&self, group: &[&Arc<Batch>], failed: SearchFailed) -> NotCommitted {
        let (SearchFailed::TooMany(first, _) | SearchFailed::Unclear(first)) = &failed;
        let batch = group[first.batch];
        let (partition, offset, range) = (batch.ownership.partition, batch.rows.offsets[first.row], batch.range);
        let why = first.why.clone();
        NotCommitted::other(SinkError::Stop(match failed {
            SearchFailed::TooMany(_, count) => WriteFailure::TooManyRefused {
                server: "postgresql",
                count,
                rows: batch.rows.len(),
                partition,
                range,
                offset,
                source: Remedy::new(REFUSED_ROWS_REMEDY, why),
            },
            SearchFailed::Unclear(_) => {
                let what_to_do = format!(
                    "set right what the message names; if it is this record alone, leave it out: footprint dead-letters add \
                     --route {} --partition {partition} --offset {offset} --database postgres",
                    self.route.name
                );
                WriteFailure::NoRowTaken { partition, range, offset, source: Remedy::new(what_to_do, why) }
            }
        }))
    }
}

/// Logs one line for each batch with refused rows. The values of a row are in its dead letter, and never in a log.
fn log_refused(group: &[&Arc<Batch>], refused: &[Refused]) {
    for of_batch in refused.chunk_by(|one, other| one.batch == other.batch) {
        let batch = group[of_batch[0].batch];
        warn!(
            partition = batch.ownership.partition,
            range = %batch.range,
            rows = of_batch.len(),
            first_offset = batch.rows.offsets[of_batch[0].row],
            "postgresql refused rows: they are dead letters for postgres, clickhouse keeps them: {}", of_batch[0].why
        );
    }
}
