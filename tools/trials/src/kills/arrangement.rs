//! How a program is brought to each point. The match names every point, so a new point does not compile without its arrangement.

use super::point::Point;

/// What must be done so that a program arrives at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// A running program gets events. The point is armed before they are sent. Any arrival up to `hits_max` will do.
    Running {
        /// The last arrival that one wave of events surely brings.
        hits_max: u32,
    },
    /// A running program gets events, and is armed afterwards. This is for points that it reaches when it records stored events.
    Recording,
    /// A program starts.
    Starting {
        /// The last arrival that a start surely brings.
        hits_max: u32,
    },
    /// A program starts and finds claims whose rows ClickHouse does not hold.
    Replaying {
        /// The last arrival that such a start surely brings.
        hits_max: u32,
    },
    /// A program starts and finds a claim that ClickHouse has acknowledged, but whose rows are no longer there.
    RowsDeleted,
    /// A program starts and finds claims of another definition, stored in PostgreSQL alone.
    Redefined {
        /// Whether the ledger has kept the definition.
        kept: bool,
    },
    /// A program starts on a topic that no consumer has read.
    Unknown {
        /// The last arrival that such a start may bring.
        hits_max: u32,
    },
    /// A running program stops at `at`. Its ledger rows get another owner, and it continues.
    OwnerChanged {
        /// Where it stops.
        at: Point,
    },
    /// A running program stops at `at`, in a transaction. Its connection is ended, and it continues.
    Disconnected {
        /// Where it stops.
        at: Point,
    },
    /// A running program gets events, and PostgreSQL's table refuses some of them.
    Refused,
    /// The same as `Refused`, but ClickHouse's table refuses the events.
    RefusedByClickHouse,
    /// Another program joins the group.
    Joined,
    /// A running program is asked to stop.
    Terminated,
}

/// Partitions of every topic. A point that is passed for each partition is reached this many times.
pub(super) const PARTITIONS: u16 = 4;
const EACH: u32 = PARTITIONS as u32;

impl Arrangement {
    /// The arrangement of a point.
    pub(super) fn of(point: Point) -> Self {
        use Point as P;
        match point {
            P::Assigned
            | P::LedgerConnect
            | P::LedgerConnected
            | P::KeepDefinition
            | P::KeepDefinitionSent
            | P::KeepDefinitionAnswered
            | P::WriterConnect
            | P::WriterConnected
            | P::Settings
            | P::SettingsAnswered => Self::Starting { hits_max: 1 },
            P::Register
            | P::RegisterAnswered
            | P::Watermarks
            | P::WatermarksAnswered
            | P::Known
            | P::KnownAnswered
            | P::TakeOver
            | P::TakeOverSent
            | P::TakeOverAnswered
            | P::Highest
            | P::HighestAnswered
            | P::LostRows
            | P::LostRowsAnswered
            | P::LifeCheck
            | P::LifeCheckAnswered
            | P::Settle
            | P::SettleSent
            | P::SettleAnswered
            | P::Reading => Self::Starting { hits_max: EACH },
            P::Starts | P::StartsAnswered | P::FirstStart | P::FirstStartAnswered => Self::Unknown { hits_max: 2 },
            // only once, because a later program reads what was written
            P::StartsWrite | P::StartsWriteSent | P::StartsWriteAnswered => Self::Unknown { hits_max: 1 },
            // only one partition is sure to have pending claims; each range is read back before and after its repair
            P::Drain | P::DrainSent | P::DrainAnswered | P::Repair | P::RepairAnswered => {
                Self::Replaying { hits_max: 1 }
            }
            P::ReadBack | P::ReadBackAnswered => Self::Replaying { hits_max: 2 },
            P::WaitOut | P::WaitOutSent | P::WaitOutAnswered => Self::RowsDeleted,
            P::StoredRows | P::StoredRowsAnswered => Self::Redefined { kept: false },
            P::Definitions | P::DefinitionsAnswered => Self::Redefined { kept: true },
            P::ClaimReread | P::ClaimRereadAnswered => Self::OwnerChanged { at: P::Claim },
            P::Halve | P::HalveAnswered | P::Reread | P::RereadAnswered => Self::Refused,
            P::LeaveOut | P::LeaveOutSent | P::LeaveOutAnswered => Self::RefusedByClickHouse,
            P::Resolve | P::ResolveAnswered => Self::Disconnected { at: P::Commit },
            P::Insert | P::InsertFirstByte | P::InsertSent | P::InsertAnswered => Self::Running { hits_max: EACH },
            P::Claim | P::ClaimSent | P::ClaimAnswered => Self::Running { hits_max: 2 },
            P::SourceAsk
            | P::SourceAnswered
            | P::Begin
            | P::EpochRead
            | P::EpochReadAnswered
            | P::Copy
            | P::CopySent
            | P::CopyAnswered
            | P::DeadLetters
            | P::DeadLettersSent
            | P::DeadLettersAnswered
            | P::Commit
            | P::CommitSent
            | P::CommitAnswered => Self::Running { hits_max: 1 },
            P::Heartbeat
            | P::HeartbeatSent
            | P::HeartbeatAnswered
            | P::KafkaCommit
            | P::KafkaCommitSent
            | P::KafkaCommitAnswered => Self::Recording,
            P::Revoked | P::Release | P::ReleaseAnswered => Self::Joined,
            P::Stop | P::Drained | P::Leave | P::LeaveAnswered => Self::Terminated,
        }
    }

    /// Whether it begins with the start of a program, after the death of another.
    pub(super) fn begins_with_a_start(self) -> bool {
        matches!(
            self,
            Self::Starting { .. }
                | Self::Replaying { .. }
                | Self::RowsDeleted
                | Self::Redefined { .. }
                | Self::Unknown { .. }
        )
    }
}
