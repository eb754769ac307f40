//! Copies chosen rows of a small batch into a route's table, in the caller's transaction. If PostgreSQL refuses a row, the rows are sent
//! one by one, each under a savepoint, and the refused ones are returned.

use bytes::BytesMut;
use footprint_event::route::{IDENTITY_COLUMNS, Route};
use footprint_event::rows::Rows;
use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::Partition;
use footprint_service::postgres::PostgresError;
use footprint_service::postgres::error::{Class, During, class_of, message};
use futures::SinkExt as _;
use tokio_postgres::{Client, Error};

use super::copy;
use crate::limits::COPY_CHUNK_BYTES;

/// A row that the table refuses: its index, and PostgreSQL's words.
pub type RefusedRow = (usize, String);

/// Why no row was copied. The transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum NotCopied {
    /// PostgreSQL refuses, and no single row is the reason.
    #[error("postgresql: copying rows")]
    Refused(#[source] PostgresError),
    /// PostgreSQL dropped rows without an error.
    #[error(
        "postgresql: {copied} of {sent} rows copied into {table}: a trigger or a rule drops rows; let the table take every row"
    )]
    Dropped {
        /// The table.
        table: String,
        /// Rows sent.
        sent: u64,
        /// Rows that PostgreSQL counted.
        copied: u64,
    },
}

impl NotCopied {
    fn of(error: Error) -> Self {
        Self::Refused(PostgresError::without_values(error))
    }
}

/// Copies the rows in `which` (indices into `rows`), and checks deferred constraints at once. Returns those that the table refuses.
///
/// # Errors
/// PostgreSQL refuses, and no row is at fault, or it drops rows.
pub async fn store(
    client: &Client,
    route: &Route,
    (source, partition): (SourceId, Partition),
    rows: &Rows,
    which: &[usize],
) -> Result<Vec<RefusedRow>, NotCopied> {
    let copying = Copying { client, route, source, partition, rows };
    match copying.piece(which).await? {
        None => return Ok(Vec::new()),
        Some(error) if which.len() == 1 => {
            let may_be_a_row = copying.class(&error) == Class::Row;
            return if may_be_a_row { Ok(vec![(which[0], message(&error))]) } else { Err(NotCopied::of(error)) };
        }
        Some(_) => {}
    }
    let (mut refused, mut unclear) = (Vec::new(), None);
    for &row in which {
        if let Some(error) = copying.piece(&[row]).await? {
            refused.push((row, message(&error)));
            if copying.class(&error) == Class::Unclear {
                unclear.get_or_insert(error);
            }
        }
    }
    match unclear {
        // no row was taken, so the code may be about the place
        Some(error) if refused.len() == which.len() => Err(NotCopied::of(error)),
        _ => Ok(refused),
    }
}

struct Copying<'a> {
    client: &'a Client,
    route: &'a Route,
    source: SourceId,
    partition: Partition,
    rows: &'a Rows,
}

impl Copying<'_> {
    /// Copies some rows under a savepoint. Returns the error if they may be at fault. Then none of them is there.
    async fn piece(&self, which: &[usize]) -> Result<Option<Error>, NotCopied> {
        self.client.batch_execute("savepoint piece").await.map_err(NotCopied::of)?;
        let copied = match self.copy(which).await {
            Ok(copied) => {
                let checked = self.client.batch_execute("set constraints all immediate; release savepoint piece").await;
                checked.map(|()| copied)
            }
            Err(error) => Err(error),
        };
        match copied {
            Ok(copied) if copied == which.len() as u64 => Ok(None),
            Ok(copied) => {
                let (table, sent) = (self.route.postgres_table.clone(), which.len() as u64);
                Err(NotCopied::Dropped { table, sent, copied })
            }
            Err(error) if matches!(self.class(&error), Class::Row | Class::Unclear) => {
                self.client.batch_execute("rollback to savepoint piece").await.map_err(NotCopied::of)?;
                Ok(Some(error))
            }
            Err(error) => Err(NotCopied::of(error)),
        }
    }

    async fn copy(&self, which: &[usize]) -> Result<u64, Error> {
        let sink = self.client.copy_in(&copy::rows_statement(self.route)).await?;
        futures::pin_mut!(sink);
        let mut buffer = BytesMut::new();
        copy::header(&mut buffer);
        for &row in which {
            copy::rows_of(self.rows, row..row + 1, self.source, self.partition, &mut buffer, usize::MAX);
            if buffer.len() >= COPY_CHUNK_BYTES {
                sink.send(buffer.split().freeze()).await?;
            }
        }
        copy::trailer(&mut buffer);
        sink.send(buffer.freeze()).await?;
        sink.as_mut().finish().await
    }

    fn class(&self, error: &Error) -> Class {
        let named = self.route.columns.iter().map(|column| column.name.clone());
        let ours: Vec<String> = named.chain(IDENTITY_COLUMNS.map(str::to_owned)).collect();
        class_of(error, During::Rows, &ours)
    }
}
