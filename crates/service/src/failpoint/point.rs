//! The failpoints: every place where a test may stop the program, before and after each step that leaves the process. A name ends
//! in `-sent` if the request is in flight, and in `-answered` if its answer has just come. A name without an ending is right
//! before the request. `cargo kills` uses this list too, so that no point is forgotten.

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A place where a test may stop the program.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// Every point, in the order of the data's way.
            pub const ALL: &'static [Self] = &[$(Self::$point,)+];

            /// Its name on command lines.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// The group's callback has assigned partitions.
    Assigned = "assigned",
    /// Before the broker is asked for the topic's id.
    SourceAsk = "source-ask",
    /// The broker has returned the topic's id.
    SourceAnswered = "source-answered",
    /// Before the ledger's connection is made.
    LedgerConnect = "ledger-connect",
    /// The ledger's connection is made.
    LedgerConnected = "ledger-connected",
    /// Before the route's definition is stored.
    KeepDefinition = "keep-definition",
    /// The route's definition is in flight to the ledger.
    KeepDefinitionSent = "keep-definition-sent",
    /// The route's definition is stored; nothing is claimed under it yet.
    KeepDefinitionAnswered = "keep-definition-answered",
    /// Before the source is registered.
    Register = "register",
    /// The source is registered.
    RegisterAnswered = "register-answered",

    /// Before a take-over asks the broker for the watermarks.
    Watermarks = "watermarks",
    /// The watermarks are known.
    WatermarksAnswered = "watermarks-answered",
    /// Before the ledger is asked whether it knows the partition.
    Known = "known",
    /// The ledger has said whether it knows the partition.
    KnownAnswered = "known-answered",
    /// Before the ledger is asked for the route's first start on the source.
    Starts = "starts",
    /// The ledger has said whether the first start is recorded.
    StartsAnswered = "starts-answered",
    /// Before the first start is recorded.
    StartsWrite = "starts-write",
    /// The first start is in flight to the ledger.
    StartsWriteSent = "starts-write-sent",
    /// The first start is recorded; no row is created yet.
    StartsWriteAnswered = "starts-write-answered",
    /// Before Kafka and ClickHouse are asked where an unknown partition starts.
    FirstStart = "first-start",
    /// The start of an unknown partition is decided.
    FirstStartAnswered = "first-start-answered",
    /// Before the take-over itself.
    TakeOver = "take-over",
    /// The take-over is in flight.
    TakeOverSent = "take-over-sent",
    /// The take-over has committed.
    TakeOverAnswered = "take-over-answered",
    /// Before the older insert of the partition is ended.
    Drain = "drain",
    /// The query that ends the older insert of the partition is in flight.
    DrainSent = "drain-sent",
    /// The older insert of the partition is gone.
    DrainAnswered = "drain-answered",
    /// Before ClickHouse is asked for the highest offset it holds.
    Highest = "highest",
    /// ClickHouse has returned the highest offset that it holds.
    HighestAnswered = "highest-answered",
    /// Before ClickHouse is asked whether rows below its frontier are gone.
    LostRows = "lost-rows",
    /// ClickHouse has said whether rows below its frontier are gone.
    LostRowsAnswered = "lost-rows-answered",
    /// Before the broker is asked again for the topic's id.
    LifeCheck = "life-check",
    /// The topic's id is still the same.
    LifeCheckAnswered = "life-check-answered",
    /// Before the ledger is asked for the definitions that made pending claims.
    Definitions = "definitions",
    /// The ledger has returned the definitions that made pending claims.
    DefinitionsAnswered = "definitions-answered",
    /// Before the decisions of a take-over are written.
    Settle = "settle",
    /// The decisions of a take-over are in flight.
    SettleSent = "settle-sent",
    /// The decisions of a take-over are written.
    SettleAnswered = "settle-answered",
    /// Before the partition is given to Kafka's client to be read.
    Reading = "reading",

    /// Before ranges are claimed.
    Claim = "claim",
    /// The claim is in flight.
    ClaimSent = "claim-sent",
    /// The claim has committed; no writer has a batch yet.
    ClaimAnswered = "claim-answered",
    /// Before the row is read again, because a claim was refused.
    ClaimReread = "claim-reread",
    /// The row of a refused claim was read.
    ClaimRereadAnswered = "claim-reread-answered",

    /// Before PostgreSQL's writer connects.
    WriterConnect = "writer-connect",
    /// PostgreSQL's writer has connected.
    WriterConnected = "writer-connected",
    /// Before PostgreSQL's transaction begins.
    Begin = "begin",
    /// Before epoch and owner are read in the transaction.
    EpochRead = "epoch-read",
    /// Epoch and owner were read.
    EpochReadAnswered = "epoch-read-answered",
    /// Before the rows' COPY.
    Copy = "copy",
    /// Rows are in flight, and their COPY is open.
    CopySent = "copy-sent",
    /// The rows' COPY is answered.
    CopyAnswered = "copy-answered",
    /// Before the dead letters' COPY.
    DeadLetters = "dead-letters",
    /// Dead letters are in flight, and their COPY is open.
    DeadLettersSent = "dead-letters-sent",
    /// The dead letters' COPY is answered.
    DeadLettersAnswered = "dead-letters-answered",
    /// A row was refused: before the transaction is written once more, by halves.
    Halve = "halve",
    /// It is known which rows are refused; all others are in the transaction.
    HalveAnswered = "halve-answered",
    /// Before Kafka is asked for the refused records once more.
    Reread = "reread",
    /// The refused records are in the transaction as dead letters.
    RereadAnswered = "reread-answered",
    /// Before the compare-and-set and its commit.
    Commit = "commit",
    /// The compare-and-set and its commit are in flight.
    CommitSent = "commit-sent",
    /// The transaction has committed; no other part of the program knows it yet.
    CommitAnswered = "commit-answered",
    /// Before the row is read again, because a write's answer was lost or refused.
    Resolve = "resolve",
    /// The outcome of a lost or refused write is known.
    ResolveAnswered = "resolve-answered",
    /// Before PostgreSQL is asked for the stored rows of an unknown decoder.
    StoredRows = "stored-rows",
    /// The stored rows of an unknown decoder have come.
    StoredRowsAnswered = "stored-rows-answered",

    /// Before ClickHouse is asked whether it knows a setting.
    Settings = "settings",
    /// ClickHouse has said whether it knows a setting.
    SettingsAnswered = "settings-answered",
    /// Before a batch's first insert.
    Insert = "insert",
    /// The first bytes of an insert's block are in flight, and the rest is not.
    InsertFirstByte = "insert-first-byte",
    /// The whole block of an insert is in flight.
    InsertSent = "insert-sent",
    /// A first insert is answered.
    InsertAnswered = "insert-answered",
    /// A row was refused: before its dead letter for ClickHouse is written.
    LeaveOut = "leave-out",
    /// The dead letter of a refused row is in flight.
    LeaveOutSent = "leave-out-sent",
    /// The dead letter of a refused row is written; the other rows of its batch are not.
    LeaveOutAnswered = "leave-out-answered",
    /// Before a range is read back.
    ReadBack = "read-back",
    /// A range was read back.
    ReadBackAnswered = "read-back-answered",
    /// Before missing rows are inserted.
    Repair = "repair",
    /// The insert of missing rows is answered.
    RepairAnswered = "repair-answered",
    /// Before the older insert is ended, because rows are missing after an OK.
    WaitOut = "wait-out",
    /// The query that ends the older insert is in flight.
    WaitOutSent = "wait-out-sent",
    /// The older insert is gone.
    WaitOutAnswered = "wait-out-answered",

    /// Before the ledger's heartbeat.
    Heartbeat = "heartbeat",
    /// The heartbeat is in flight.
    HeartbeatSent = "heartbeat-sent",
    /// The heartbeat has committed.
    HeartbeatAnswered = "heartbeat-answered",
    /// Before offsets are committed to Kafka.
    KafkaCommit = "kafka-commit",
    /// The commit to Kafka is in flight.
    KafkaCommitSent = "kafka-commit-sent",
    /// The commit to Kafka is answered.
    KafkaCommitAnswered = "kafka-commit-answered",

    /// The group's callback has revoked partitions.
    Revoked = "revoked",
    /// Before partitions are released.
    Release = "release",
    /// Partitions were released.
    ReleaseAnswered = "release-answered",
    /// The program was asked to stop; nothing is drained yet.
    Stop = "stop",
    /// Everything is drained and committed.
    Drained = "drained",
    /// Before the consumer leaves the group.
    Leave = "leave",
    /// The consumer has left the group.
    LeaveAnswered = "leave-answered",
}
