//! Proofs of ownership. A fenced statement that was committed proves that the ownership held when the statement was sent. A proof expires
//! by a clock that also counts while the machine is suspended. When a connection breaks, every proof is void at once, because the reason
//! may be a restore.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use footprint_service::clock::BootInstant;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long a proof is valid. Nothing is sent to ClickHouse under an older proof.
pub const PROOF_LIFETIME: Duration = Duration::from_secs(5);

/// Voids all proofs of a pipeline at once, and asks for new ones.
#[derive(Debug, Default)]
pub struct Proofs {
    voided: AtomicU64,
    wanted: Notify,
}

impl Proofs {
    /// Voids all proofs that exist.
    pub fn void(&self) {
        self.voided.fetch_add(1, Ordering::SeqCst);
    }

    /// Asks the coordinator for a heartbeat now.
    pub fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits until a heartbeat is asked for.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Notes the moment before a statement is sent. When the statement is committed, it proves that the ownership held at this moment.
    pub fn before_sending(&self) -> Sighting {
        Sighting { at: BootInstant::now(), voided: self.voided.load(Ordering::SeqCst) }
    }
}

/// A moment at which an ownership was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    at: BootInstant,
    voided: u64,
}

/// The last moment at which one ownership was confirmed.
#[derive(Debug)]
pub struct Proof {
    proofs: Arc<Proofs>,
    latest: Mutex<Sighting>,
    renewed: Notify,
}

impl Proof {
    /// The first proof: the take-over's own commit.
    pub fn new(proofs: Arc<Proofs>, sighting: Sighting) -> Self {
        Self { proofs, latest: Mutex::new(sighting), renewed: Notify::new() }
    }

    /// Notes that a statement was committed under the fence.
    pub fn renew(&self, sighting: Sighting) {
        let mut latest = self.latest.lock();
        if sighting.at > latest.at {
            *latest = sighting;
        }
        drop(latest);
        self.renewed.notify_waiters();
    }

    /// Whether `sighting` is still valid.
    pub fn is_good(&self, sighting: Sighting) -> bool {
        self.is_good_at(sighting, BootInstant::now())
    }

    fn is_good_at(&self, sighting: Sighting, now: BootInstant) -> bool {
        sighting.voided == self.proofs.voided.load(Ordering::SeqCst) && now.since(sighting.at) < PROOF_LIFETIME
    }

    /// The latest sighting, if it is still valid.
    pub fn current(&self) -> Option<Sighting> {
        let latest = *self.latest.lock();
        self.is_good(latest).then_some(latest)
    }

    /// A valid sighting. If the latest one has expired, this waits for the next heartbeat. The wait has no time limit: the caller stops
    /// waiting when the ownership ends.
    pub async fn good(&self) -> Sighting {
        loop {
            let renewed = self.renewed.notified();
            tokio::pin!(renewed);
            renewed.as_mut().enable();
            if let Some(sighting) = self.current() {
                return sighting;
            }
            self.proofs.want();
            renewed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_proof_is_not_good_until_renewed() {
        let proofs = Arc::new(Proofs::default());
        let proof = Proof::new(Arc::clone(&proofs), proofs.before_sending());
        let old = proof.current().unwrap();
        proofs.void();
        assert!(proof.current().is_none() && !proof.is_good(old));
        proof.renew(proofs.before_sending());
        assert!(proof.current().is_some(), "a later statement proves it again");
        assert!(!proof.is_good(old), "the old sighting stays void");
    }

    /// The protocol relies on this bound: a take-over by another process waits for nothing else.
    #[test]
    fn a_proof_lasts_five_seconds_from_before_its_statement_was_sent() {
        let proofs = Arc::new(Proofs::default());
        let sighting = proofs.before_sending();
        let proof = Proof::new(Arc::clone(&proofs), sighting);
        assert!(proof.is_good_at(sighting, sighting.at.later(Duration::from_millis(4_999))));
        assert!(!proof.is_good_at(sighting, sighting.at.later(Duration::from_secs(5))));
        // a later statement counts from when it was sent, and an earlier one changes nothing
        let later = Sighting { at: sighting.at.later(Duration::from_secs(3)), ..sighting };
        proof.renew(later);
        proof.renew(sighting);
        assert_eq!(*proof.latest.lock(), later);
    }

    #[test]
    fn a_statement_sent_before_the_break_proves_nothing() {
        let proofs = Arc::new(Proofs::default());
        let proof = Proof::new(Arc::clone(&proofs), proofs.before_sending());
        let sent_before = proofs.before_sending();
        proofs.void();
        proof.renew(sent_before);
        assert!(proof.current().is_none());
    }
}
