//! The guards of the protocol. The model can run without each of them. What breaks then shows what the guard is for.

use std::fmt;

macro_rules! guards {
    ($($name:ident $rule:literal $text:literal),+ $(,)?) => {
        /// A rule of docs/protocol.md that can be taken out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Guard {
            $(#[doc = $text] $name,)+
        }

        impl Guard {
            /// Every guard, in the order of the protocol's text.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The rule's number, or nothing.
            pub fn rule(self) -> &'static str {
                match self { $(Self::$name => $rule,)+ }
            }

            /// What the guard does, one sentence.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

guards! {
    TokenFromRange "R1" "A token is made only of the range and the level, never of the attempt or the owner.",
    RepairDiesWithProof "R2" "A new proof of ownership drops every earlier read-back and level.",
    OldConnection "R3" "An insert uses a connection that is older than its proof and its read-back: a broken or a new connection voids every proof.",
    TakeOverAfterLoss "R4" "After a lost ledger connection ownership is gone, and a full take-over follows.",
    FreshOwner "R5" "An owner is a new random number at every take-over.",
    LostLedger "R6" "A partition without a ledger row that was stored before is read back from the log's start.",
    Doubtful "R7" "After a restore, ranges that start below H are read back even after an OK.",
    CommitFromLedger "R8" "Only an offset that a fenced ledger statement returned is committed to Kafka, never one from memory.",
    IdleHeartbeat "R9" "An idle owner sends heartbeats too.",
    ClaimEpoch "" "A claim compares the epoch.",
    ClaimOwner "" "A claim compares the owner.",
    ClaimStart "" "A claim compares that `claimed` is the range's start.",
    WriteEpoch "" "PostgreSQL's write compares the epoch.",
    WriteOwner "" "PostgreSQL's write compares the owner.",
    CompareAndSet "" "PostgreSQL's write compares and moves its frontier in the transaction of the rows.",
    RefusedWithRows "" "The dead letter of a row that PostgreSQL refuses is in the transaction of the rows.",
    LetterOnce "" "The dead letter of a row that ClickHouse refuses, sent again after a lost answer, is there once.",
    EndIsClaimed "" "PostgreSQL's write checks that the range's end is among the claims.",
    HeartbeatFence "" "A heartbeat compares epoch and owner, and its answer with memory.",
    Claim "" "A range is claimed before it goes to any sink.",
    Token "" "An insert carries a deduplication token.",
    Birth "" "A token carries the birth of the ledger row.",
    SameLevelFirst "" "After an error a repair stays on its level.",
    NextLevel "" "If rows are missing after an OK, the next level replaces the token.",
    ReadBackAtTakeOver "" "A range claimed before a take-over is read back.",
    ReadBackAfterError "" "A write answered with an error is read back.",
    HighestOffset "" "A take-over asks ClickHouse for the highest offset that it holds above the ledger.",
    Drain "" "A take-over ends the older inserts of its partition.",
    OneQueryId "" "Every insert of a partition uses one query id: a second one is refused, and a drain finds it.",
    WaitOutUnknown "" "If older inserts may use unknown ids, a take-over waits for their end.",
    DrainBeforeRepair "" "A repair drains before the read-back that decides what is missing.",
    ProofBeforeInsert "" "Nothing is sent to ClickHouse on an old or void proof.",
    RevokeOrder "" "No commit is sent after the release.",
    TopicId "" "A batch is written only if the topic's id, asked after its last record, is the owner's.",
    TopicIdWhenIdle "" "The topic's id is asked now and then even if nothing is read.",
    ClaimEnds "" "Claimed ranges are cut again exactly at their recorded ends.",
    ByItsDefinition "" "The definition that claimed a range also finishes it.",
    CommitMark "" "Our commits to Kafka carry a mark.",
    FirstStart "" "A route's start on a source is recorded before it takes a partition over.",
    CommitWhenTaken "" "A partition starts at the old consumer's commit as it is when the partition is taken over.",
    NoReset "" "Once a ledger row exists, no reset policy applies.",
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The guards that are in force: all, except those taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Guards {
    removed: u64,
}

impl Guards {
    /// All of them.
    pub fn all() -> Self {
        Self::default()
    }

    /// Takes one out.
    pub fn without(self, guard: Guard) -> Self {
        Self { removed: self.removed | 1 << guard as u64 }
    }

    /// Whether a guard is in force.
    pub fn hold(self, guard: Guard) -> bool {
        self.removed & (1 << guard as u64) == 0
    }
}
