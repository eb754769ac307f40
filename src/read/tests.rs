//! An ownership for the unit tests of reading.

use std::sync::Arc;

use footprint_protocol::ledger::{Frontiers, LedgerId, OwnerId, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::take_over::Plan;
use tokio_util::sync::CancellationToken;

use crate::ledger::ownership::{LeftOut, Ownership};
use crate::ledger::proof::{Proof, Proofs};

/// The ownership of a partition that is read from its start, with a claim up to `claimed`.
pub(crate) fn ownership(partition: Partition, claimed: Offset) -> Arc<Ownership> {
    let proofs = Arc::new(Proofs::default());
    let sighting = proofs.before_sending();
    let frontiers = Frontiers { dead_letters: 0, postgres: Some(0), clickhouse: Some(0) };
    Arc::new(Ownership {
        ledger: LedgerId(1),
        source: SourceId(1),
        partition,
        epoch: 1,
        owner: OwnerId(0),
        plan: Plan {
            start: 0,
            read_from: 0,
            claimed,
            cuts: Vec::new(),
            claims: Vec::new(),
            frontiers,
            uncertain_through: None,
            doubtful_below: None,
            birth: 1,
        },
        earlier: Vec::new(),
        skips: Vec::new(),
        left_out: LeftOut::default(),
        proof: Proof::new(proofs, sighting),
        ended: CancellationToken::new(),
    })
}
