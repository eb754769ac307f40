//! The statements of one transaction: `begin` and the early check of the fences, COPY of the rows and the dead letters, and the
//! compare-and-set with `commit`.

use std::sync::Arc;

use bytes::BytesMut;
use footprint_event::reject::DeadLetter;
use footprint_protocol::ledger::SinkName;
use footprint_protocol::write::{Resolution, resolve};
use footprint_service::failpoint::{self, Point};
use footprint_service::postgres::asked::DEAD_LETTERS;
use footprint_service::postgres::error::During;
use footprint_service::traffic::Silent;
use futures::SinkExt;
use tokio_postgres::{Client, CopyInSink, Error, ToStatement};

use super::PostgresSink;
use crate::batch::Batch;
use crate::ledger::ownership::Ownership;
use crate::ledger::statements::Fence;
use crate::ledger::statements::advance::{
    PostgresFrontiers, compare_and_set, fence_query, is_refusal, postgres_frontiers,
};
use crate::limits::COPY_CHUNK_BYTES;
use crate::store::postgres::copy;
use crate::store::postgres::halving::Piece;
use crate::store::postgres::shares::{Share, advances};
use crate::store::sink::SinkError;

/// Why a transaction was not committed.
pub(super) enum NotCommitted {
    /// The compare-and-set of some share found another value.
    Fenced,
    /// PostgreSQL refused, or the connection broke.
    Failed { error: Error, during: During },
    /// COPY counted fewer rows than were sent: something drops rows.
    Short { table: String, sent: u64, copied: u64 },
    /// PostgreSQL gave no answer and no sign of life.
    Silent(Silent),
    /// Any other reason.
    Other(Box<SinkError>),
}

impl NotCommitted {
    pub(super) fn statement(error: Error) -> Self {
        Self::Failed { error, during: During::Statement }
    }

    pub(super) fn rows(error: Error) -> Self {
        Self::Failed { error, during: During::Rows }
    }

    pub(super) fn other(error: SinkError) -> Self {
        Self::Other(Box::new(error))
    }
}

impl PostgresSink {
    /// Finds out what became of each share after an answer was lost or refused.
    pub(super) async fn resolve(&self, client: &Client, shares: &[Share<'_>]) -> Result<Vec<Resolution>, Error> {
        let mut resolutions = Vec::with_capacity(shares.len());
        failpoint::hit(Point::Resolve);
        for share in shares {
            let found = postgres_frontiers(client, &self.route.name, Fence::from(share.ownership)).await?;
            let of_share =
                |found: PostgresFrontiers| if share.dead_letters { Some(found.dead_letters) } else { found.rows };
            resolutions.push(resolve(found.is_some(), found.and_then(of_share), share.range));
        }
        failpoint::hit(Point::ResolveAnswered);
        Ok(resolutions)
    }

    pub(super) async fn begin(&self, client: &Client, shares: &[Share<'_>]) -> Result<(), NotCommitted> {
        failpoint::hit(Point::Begin);
        client.batch_execute("begin").await.map_err(NotCommitted::statement)?;
        failpoint::hit(Point::EpochRead);
        let ours = client
            .query(&fence_query(&self.route.name, &advances(shares)), &[])
            .await
            .map_err(NotCommitted::statement)?
            .len();
        failpoint::hit(Point::EpochReadAnswered);
        if ours == shares.len() { Ok(()) } else { Err(NotCommitted::Fenced) }
    }

    /// Writes a group in one transaction. None of its shares is stored yet.
    pub(super) async fn store(
        &self,
        client: &Client,
        group: &[&Arc<Batch>],
        shares: &[Share<'_>],
    ) -> Result<(), NotCommitted> {
        self.begin(client, shares).await?;
        if failpoint::compares_first() {
            let compare = compare_and_set(&self.route.name, &advances(shares));
            client.batch_execute(&compare).await.map_err(|error| class_last_error(error, shares, false))?;
        }
        let pieces = pieces(group);
        if !pieces.is_empty() {
            failpoint::hit(Point::Copy);
            self.copy_rows(client, rows_statement(group).as_str(), group, &pieces).await?;
            failpoint::hit(Point::CopyAnswered);
        }
        self.copy_dead_letters(client, group).await?;
        self.end(client, shares, !pieces.is_empty()).await
    }

    pub(super) async fn copy_rows(
        &self,
        client: &Client,
        statement: &(impl ToStatement + ?Sized),
        group: &[&Arc<Batch>],
        pieces: &[Piece],
    ) -> Result<(), NotCommitted> {
        let sink = client.copy_in(statement).await.map_err(NotCommitted::statement)?;
        futures::pin_mut!(sink);
        let mut buffer = BytesMut::with_capacity(COPY_CHUNK_BYTES);
        copy::header(&mut buffer);
        let mut sent = 0;
        for Piece { batch, rows } in pieces {
            let batch = &group[*batch];
            let Ownership { source, partition, .. } = *batch.ownership;
            let mut next = rows.start;
            while next < rows.end {
                next = copy::rows_of(&batch.rows, next..rows.end, source, partition, &mut buffer, COPY_CHUNK_BYTES);
                if buffer.len() >= COPY_CHUNK_BYTES {
                    sink.send(buffer.split().freeze()).await.map_err(NotCommitted::rows)?;
                }
            }
            sent += rows.len() as u64;
        }
        let copied = self.end_copy(&mut sink, buffer, Point::CopySent).await.map_err(NotCommitted::rows)?;
        if copied != sent {
            return Err(NotCommitted::Short { table: self.route.postgres_table.clone(), sent, copied });
        }
        Ok(())
    }

    /// Sends the last bytes of a COPY. Returns the number of rows that PostgreSQL counted.
    async fn end_copy(
        &self,
        sink: &mut std::pin::Pin<&mut CopyInSink<bytes::Bytes>>,
        mut buffer: BytesMut,
        point: Point,
    ) -> Result<u64, Error> {
        if failpoint::is_armed(point) {
            sink.send(buffer.split().freeze()).await?;
            failpoint::hit_soon(point).await;
        }
        copy::trailer(&mut buffer);
        sink.send(buffer.freeze()).await?;
        sink.as_mut().finish().await
    }

    /// Copies the dead letters of a group: records that no database can hold.
    pub(super) async fn copy_dead_letters(&self, client: &Client, group: &[&Arc<Batch>]) -> Result<(), NotCommitted> {
        let wanting = |batch: &&&Arc<Batch>| {
            !batch.dead_letters.is_empty() && batch.ownership.plan.wants_dead_letters(batch.range)
        };
        let parts: Vec<_> =
            group.iter().filter(wanting).map(|batch| (&*batch.ownership, batch.dead_letters.as_slice())).collect();
        if parts.is_empty() {
            return Ok(());
        }
        failpoint::hit(Point::DeadLetters);
        self.send_dead_letters(client, &parts).await?;
        failpoint::hit(Point::DeadLettersAnswered);
        Ok(())
    }

    pub(super) async fn send_dead_letters(
        &self,
        client: &Client,
        parts: &[(&Ownership, &[DeadLetter])],
    ) -> Result<(), NotCommitted> {
        let sink = client.copy_in(copy::dead_letters_statement()).await.map_err(NotCommitted::statement)?;
        futures::pin_mut!(sink);
        let mut buffer = BytesMut::with_capacity(COPY_CHUNK_BYTES);
        copy::header(&mut buffer);
        let mut sent = 0;
        for (ownership, letters) in parts {
            let Ownership { source, partition, .. } = **ownership;
            let mut next = 0;
            while next < letters.len() {
                next = copy::dead_letters(&self.route, letters, next, source, partition, &mut buffer, COPY_CHUNK_BYTES);
                if buffer.len() >= COPY_CHUNK_BYTES {
                    sink.send(buffer.split().freeze()).await.map_err(NotCommitted::statement)?;
                }
            }
            sent += letters.len() as u64;
        }
        let copied = self.end_copy(&mut sink, buffer, Point::DeadLettersSent).await.map_err(NotCommitted::statement)?;
        if copied != sent {
            return Err(NotCommitted::Short { table: DEAD_LETTERS.into(), sent, copied });
        }
        Ok(())
    }

    /// Sends the compare-and-set and `commit` in one message. So a client that is suspended before this message holds no lock on the
    /// ledger's row. `rows`: the transaction has rows, so a deferred constraint may refuse one of them.
    pub(super) async fn end(&self, client: &Client, shares: &[Share<'_>], rows: bool) -> Result<(), NotCommitted> {
        let last = if failpoint::compares_first() {
            "commit".into()
        } else {
            format!("{}; commit", compare_and_set(&self.route.name, &advances(shares)))
        };
        failpoint::hit(Point::Commit);
        let answer = failpoint::sent(Point::CommitSent, client.batch_execute(&last)).await;
        answer.map_err(|error| class_last_error(error, shares, rows))?;
        failpoint::hit(Point::CommitAnswered);
        Ok(())
    }
}

/// The COPY statement of a group. All its batches have one definition.
pub(super) fn rows_statement(group: &[&Arc<Batch>]) -> String {
    copy::rows_statement(group[0].definition.route())
}

/// The rows of a group that PostgreSQL gets: whole batches, except records that are left out.
pub(super) fn pieces(group: &[&Arc<Batch>]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (batch, of) in group.iter().enumerate() {
        if !of.ownership.plan.postgres_wants_rows(of.range) {
            continue;
        }
        let mut start = 0;
        for offset in of.ownership.left_out.of(SinkName::Postgres, of.range) {
            if let Ok(row) = of.rows.offsets.binary_search(&offset) {
                pieces.push(Piece { batch, rows: start..row });
                start = row + 1;
            }
        }
        pieces.push(Piece { batch, rows: start..of.rows.len() });
    }
    pieces.retain(|piece| !piece.rows.is_empty());
    pieces
}

/// Classes an error of the last message: the compare-and-set did not match, or a deferred constraint refused a row.
fn class_last_error(error: Error, shares: &[Share<'_>], rows: bool) -> NotCommitted {
    match rows {
        _ if is_refusal(&error, &advances(shares)) => NotCommitted::Fenced,
        true => NotCommitted::rows(error),
        false => NotCommitted::statement(error),
    }
}
