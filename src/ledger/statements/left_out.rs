//! Records that one database never gets. Their dead letters are written under the fence, and a take-over reads the list of these records.

use footprint_event::reject::DeadLetter;
use footprint_protocol::ledger::{OwnerId, SinkName, SourceId};
use footprint_protocol::offset::{Offset, Partition};

use super::{Fence, Ledger, LedgerError};
use crate::ledger::identity::uuid_of;

impl Ledger {
    /// Writes a dead letter for one database, if the partition is ours and that database has not stored the record. After a lost answer it
    /// may be sent again: the second time changes nothing. False: fenced.
    ///
    /// # Errors
    /// No answer: it may have been written.
    pub async fn leave_out(&self, fence: Fence, sink: SinkName, letter: &DeadLetter) -> Result<bool, LedgerError> {
        let headers = (!letter.headers.is_empty()).then(|| String::from_utf8_lossy(&letter.headers).into_owned());
        let rows = self
            .query_named(
                "with ours as (select 1 from footprint_ledger where route = :route and source = :source \
                 and partition = :partition and epoch = :epoch and owner = :owner and :offset::bigint >= \
                 case :sink::text when 'postgres' then postgres_next else clickhouse_next end for update), \
                 kept as (insert into dead_letters (route, kafka_source, kafka_partition, kafka_offset, sink, key, payload, \
                 headers, reason, received_at) \
                 select :route, :source, :partition, :offset, :sink, :key::bytea, :payload::bytea, :headers::text::jsonb, \
                 :reason::text, timestamptz 'epoch' + :received_at_us::bigint * interval '1 microsecond' \
                 from ours on conflict do nothing) \
                 select 1 from ours",
                &[
                    ("route", &self.route),
                    ("source", &fence.source.0),
                    ("partition", &fence.partition),
                    ("epoch", &fence.epoch),
                    ("owner", &uuid_of(fence.owner)),
                    ("offset", &letter.offset),
                    ("sink", &sink.as_str()),
                    ("key", &letter.key),
                    ("payload", &letter.payload),
                    ("headers", &headers),
                    ("reason", &letter.reason.to_string()),
                    ("received_at_us", &letter.received_at_us),
                ],
            )
            .await?;
        Ok(!rows.is_empty())
    }

    /// The records of a partition at or above `from` that one database never gets.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn left_out(
        &self,
        source: SourceId,
        partition: Partition,
        from: Offset,
    ) -> Result<Vec<(SinkName, Offset)>, LedgerError> {
        let rows = self
            .query(
                "select sink = 'clickhouse', kafka_offset from dead_letters where route = $1 and kafka_source = $2 \
                 and kafka_partition = $3 and kafka_offset >= $4 and sink <> 'both'",
                &[&self.route, &source.0, &partition, &from],
            )
            .await?;
        let sink = |is_clickhouse| if is_clickhouse { SinkName::ClickHouse } else { SinkName::Postgres };
        Ok(rows.iter().map(|row| (sink(row.get(0)), row.get(1))).collect())
    }

    /// Ends the present ownership of the partition and gives it to `owner`. Returns the fence and the frontiers of PostgreSQL and of
    /// ClickHouse. None: the ledger has no row of the partition.
    ///
    /// # Errors
    /// PostgreSQL refuses or does not answer.
    pub async fn interrupt(
        &self,
        source: SourceId,
        partition: Partition,
        owner: OwnerId,
    ) -> Result<Option<(Fence, Option<Offset>, Option<Offset>)>, LedgerError> {
        let rows = self
            .query(
                "update footprint_ledger set epoch = epoch + 1, owner = $4, updated_at = clock_timestamp() \
                 where route = $1 and source = $2 and partition = $3 returning epoch, postgres_next, clickhouse_next",
                &[&self.route, &source.0, &partition, &uuid_of(owner)],
            )
            .await?;
        let fence = |epoch| Fence { source, partition, epoch, owner };
        Ok(rows.first().map(|row| (fence(row.get(0)), row.get(1), row.get(2))))
    }
}
