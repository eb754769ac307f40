//! Shows what each guard is for: without it, or without it and the guards behind it, something breaks in the named scenario. If
//! nothing breaks without one guard alone, the table says so, and takes it out again together with the guard that covers for it.

use crate::check::{Outcome, check};
use crate::guard::Guard::{
    self, Birth, ByItsDefinition, Claim, ClaimEnds, ClaimEpoch, ClaimOwner, ClaimStart, CommitFromLedger, CommitMark,
    CommitWhenTaken, CompareAndSet, Doubtful, Drain, DrainBeforeRepair, EndIsClaimed, FirstStart, FreshOwner,
    HeartbeatFence, HighestOffset, IdleHeartbeat, LetterOnce, LostLedger, NextLevel, NoReset, OldConnection,
    OneQueryId, ProofBeforeInsert, ReadBackAfterError, ReadBackAtTakeOver, RefusedWithRows, RepairDiesWithProof,
    RevokeOrder, SameLevelFirst, TakeOverAfterLoss, Token, TokenFromRange, TopicId, TopicIdWhenIdle, WaitOutUnknown,
    WriteEpoch, WriteOwner,
};
use crate::scenario;

/// Guards taken out of a scenario, and whether something breaks.
#[derive(Clone, Debug)]
pub struct Tooth {
    /// The guards taken out.
    pub removed: &'static [Guard],
    /// The scenario.
    pub scenario: &'static str,
    /// Something breaks.
    pub breaks: bool,
}

impl Tooth {
    /// Checks the scenario without the guards.
    ///
    /// # Panics
    /// There is no such scenario.
    pub fn bite(&self, threads: usize) -> Outcome {
        let Some(scenario) = scenario::named(self.scenario) else { panic!("no scenario {}", self.scenario) };
        let mut config = scenario.config;
        config.guards = self.removed.iter().fold(config.guards, |guards, &guard| guards.without(guard));
        check(&config, threads, 0)
    }
}

/// An outcome in one line.
pub fn tell(outcome: &Outcome) -> String {
    match &outcome.broken {
        Some((broken, steps)) => format!("{broken:?} after {} steps ({} states)", steps.len(), outcome.states),
        None => format!("nothing breaks ({} states)", outcome.states),
    }
}

/// Every removal that is tested.
pub fn all() -> Vec<Tooth> {
    let breaks = |removed, scenario| Tooth { removed, scenario, breaks: true };
    let holds = |removed, scenario| Tooth { removed, scenario, breaks: false };
    vec![
        breaks(&[TokenFromRange], "crashes"),
        breaks(&[RepairDiesWithProof], "errors"),
        breaks(&[OldConnection], "moved-part-first"),
        breaks(&[TakeOverAfterLoss], "restored"),
        breaks(&[FreshOwner], "moved-restored"),
        breaks(&[LostLedger], "restored"),
        breaks(&[Doubtful], "restored-token"),
        // while R3 holds, no previous owner's insert can receive an OK as a duplicate
        holds(&[CommitFromLedger], "moved-told"),
        breaks(&[CommitFromLedger, OldConnection], "moved-told"),
        breaks(&[IdleHeartbeat], "restored"),
        // epoch and owner cover for each other as long as no restore sets epochs back
        holds(&[ClaimEpoch], "moved"),
        holds(&[ClaimOwner], "moved"),
        breaks(&[ClaimEpoch, ClaimOwner], "moved"),
        holds(&[WriteEpoch], "moved"),
        breaks(&[WriteOwner], "moved-restored"),
        breaks(&[WriteEpoch, WriteOwner], "moved"),
        // a program that sent a claim again after a lost answer, instead of a take-over, would need the comparison
        holds(&[ClaimStart], "moved"),
        holds(&[TakeOverAfterLoss], "moved-stale"),
        breaks(&[TakeOverAfterLoss, ClaimStart], "moved-stale"),
        holds(&[EndIsClaimed], "moved"),
        breaks(&[CompareAndSet], "crashes"),
        breaks(&[RefusedWithRows], "refused"),
        breaks(&[LetterOnce], "refused"),
        breaks(&[HeartbeatFence], "moved-forgotten"),
        breaks(&[Claim, EndIsClaimed], "crashes"),
        breaks(&[Token], "crashes"),
        breaks(&[Birth], "restored-token"),
        breaks(&[SameLevelFirst], "errors"),
        breaks(&[NextLevel], "token-first"),
        breaks(&[ReadBackAtTakeOver], "errors"),
        breaks(&[ReadBackAfterError], "errors"),
        breaks(&[HighestOffset], "restored"),
        breaks(&[Drain], "restored"),
        breaks(&[OneQueryId], "restored"),
        breaks(&[WaitOutUnknown], "restored"),
        // without tokens, which hide the effect of these two guards
        breaks(&[OneQueryId], "fenced"),
        breaks(&[DrainBeforeRepair], "fenced"),
        breaks(&[ProofBeforeInsert], "errors"),
        // only the ledger says where to continue; Kafka's offset only goes back for a while
        holds(&[RevokeOrder], "moved"),
        breaks(&[TopicId], "replaced"),
        breaks(&[TopicIdWhenIdle], "replaced"),
        breaks(&[ClaimEnds], "crashes"),
        breaks(&[ByItsDefinition], "redefined"),
        breaks(&[ByItsDefinition], "moved-redefined"),
        breaks(&[CommitMark], "restored-bad"),
        breaks(&[FirstStart], "started-at-end"),
        breaks(&[CommitWhenTaken], "started"),
        breaks(&[NoReset], "crashes"),
    ]
}
