//! Reads records of one topic again, a few at a time. Its questions block, so each runs in a thread.

use std::time::Duration;

use footprint_event::route::Route;
use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::config::Kafka;
use footprint_service::kafka::AskError;
use footprint_service::kafka::reread::{Parts, Rereader};
use tokio::task::spawn_blocking;

use crate::upkeep::repair::error::RepairError;

/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of records that are in memory, at most, and one record more.
const BYTES_MAX: usize = 8 << 20;

/// Reads the records of one route.
pub(super) struct Records {
    topic: String,
    /// None while a thread has it, and after an error.
    reader: Option<Rereader>,
}

impl Records {
    /// Opens a reader. Asks nothing yet.
    pub(super) async fn open(kafka: &Kafka, route: &Route) -> Result<Self, RepairError> {
        let (kafka, owned) = (kafka.clone(), route.clone());
        let reader = spawn_blocking(move || Rereader::new(&kafka, &owned)).await.map_err(RepairError::Thread)??;
        Ok(Self { topic: route.topic.clone(), reader: Some(reader) })
    }

    /// The records at the first of `offsets`, as many as memory allows, at least one. None: the log no longer holds it. Afterwards the
    /// topic is still the one of `source`.
    pub(super) async fn read(
        &mut self,
        (source, partition): (i64, Partition),
        offsets: &[Offset],
    ) -> Result<Vec<Option<Parts>>, RepairError> {
        let Some(mut reader) = self.reader.take() else {
            return Err(AskError::refused("a record read again", "an earlier question was given up").into());
        };
        let offsets = offsets.to_vec();
        let asked = spawn_blocking(move || {
            let mut found = Vec::new();
            let mut bytes = 0;
            for offset in offsets {
                let parts = reader.read(partition, offset, ASK_TIMEOUT)?;
                bytes += parts.as_ref().map_or(0, byte_len);
                found.push(parts);
                if bytes >= BYTES_MAX {
                    break;
                }
            }
            let seen = reader.source(ASK_TIMEOUT)?;
            Ok::<_, AskError>((reader, found, seen))
        });
        let (reader, found, seen) = asked.await.map_err(RepairError::Thread)??;
        self.reader = Some(reader);
        if seen == SourceId(source) { Ok(found) } else { Err(RepairError::Replaced(self.topic.clone())) }
    }
}

fn byte_len(parts: &Parts) -> usize {
    let part = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    part(&parts.key) + part(&parts.payload) + parts.headers.len()
}

impl Drop for Records {
    /// Dropping a consumer may wait for its threads, so another thread does it.
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            drop(spawn_blocking(move || drop(reader)));
        }
    }
}
