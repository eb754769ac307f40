//! The failpoints: every place where the program may be stopped for a test, before and after each step that leaves the
//! process. A name ends in `-sent` where the request is on its way, in `-answered` where its answer has just come; without
//! an ending it stands right before the request. `cargo kills` takes this file too, so that none is forgotten.

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
    /// The group's callback has given partitions.
    Assigned = "assigned",
    /// Before the broker is asked for the topic's id.
    SourceAsk = "source-ask",
    /// The broker has told the topic's id.
    SourceAnswered = "source-answered",
    /// Before the ledger's connection is made.
    LedgerConnect = "ledger-connect",
    /// The ledger's connection is made.
    LedgerConnected = "ledger-connected",
    /// Before the route's definition is kept.
    KeepDefinition = "keep-definition",
    /// The route's definition is on its way to the ledger.
    KeepDefinitionSent = "keep-definition-sent",
    /// The route's definition is kept; nothing is claimed under it yet.
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
    /// The ledger has said whether the first start is written down.
    StartsAnswered = "starts-answered",
    /// Before the first start is written down.
    StartsWrite = "starts-write",
    /// The first start is on its way to the ledger.
    StartsWriteSent = "starts-write-sent",
    /// The first start is written down; no row is made yet.
    StartsWriteAnswered = "starts-write-answered",
    /// Before Kafka and ClickHouse are asked where an unknown partition starts.
    FirstStart = "first-start",
    /// Where an unknown partition starts is decided.
    FirstStartAnswered = "first-start-answered",
    /// Before the take-over itself.
    TakeOver = "take-over",
    /// The take-over is on its way.
    TakeOverSent = "take-over-sent",
    /// The take-over has committed.
    TakeOverAnswered = "take-over-answered",
    /// Before the older insert of the partition is ended.
    Drain = "drain",
    /// The question that ends the older insert of the partition is on its way.
    DrainSent = "drain-sent",
    /// The older insert of the partition is gone.
    DrainAnswered = "drain-answered",
    /// Before ClickHouse is asked for the highest offset it holds.
    Highest = "highest",
    /// ClickHouse has told the highest offset it holds.
    HighestAnswered = "highest-answered",
    /// Before ClickHouse is asked whether rows below its frontier are gone.
    LostRows = "lost-rows",
    /// ClickHouse has told whether rows below its frontier are gone.
    LostRowsAnswered = "lost-rows-answered",
    /// Before the broker is asked again for the topic's id.
    LifeCheck = "life-check",
    /// The topic's id is still the same.
    LifeCheckAnswered = "life-check-answered",
    /// Before the ledger is asked for the definitions that made pending claims.
    Definitions = "definitions",
    /// The ledger has told the definitions that made pending claims.
    DefinitionsAnswered = "definitions-answered",
    /// Before the decisions of a take-over are written.
    Settle = "settle",
    /// The decisions of a take-over are on their way.
    SettleSent = "settle-sent",
    /// The decisions of a take-over are written.
    SettleAnswered = "settle-answered",
    /// The partition is handed to Kafka's client to be read.
    Reading = "reading",

    /// Before ranges are claimed.
    Claim = "claim",
    /// The claim is on its way.
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
    /// Rows are on their way, their COPY is open.
    CopySent = "copy-sent",
    /// The rows' COPY is answered.
    CopyAnswered = "copy-answered",
    /// Before the dead letters' COPY.
    DeadLetters = "dead-letters",
    /// Dead letters are on their way, their COPY is open.
    DeadLettersSent = "dead-letters-sent",
    /// The dead letters' COPY is answered.
    DeadLettersAnswered = "dead-letters-answered",
    /// A row was refused: before the transaction is written once more, by halves.
    Halve = "halve",
    /// Which rows are refused is known; all others lie in the transaction.
    HalveAnswered = "halve-answered",
    /// Before Kafka is asked for the refused records once more.
    Reread = "reread",
    /// The refused records lie in the transaction as dead letters.
    RereadAnswered = "reread-answered",
    /// Before the compare-and-set and its commit.
    Commit = "commit",
    /// The compare-and-set and its commit are on their way.
    CommitSent = "commit-sent",
    /// The transaction has committed; nobody was told.
    CommitAnswered = "commit-answered",
    /// Before the row is read again, because a write's answer was lost or refused.
    Resolve = "resolve",
    /// What became of a lost or refused write is known.
    ResolveAnswered = "resolve-answered",
    /// Before PostgreSQL is asked for the rows that a decoder has stored which is not known.
    StoredRows = "stored-rows",
    /// The rows that a decoder has stored which is not known have come.
    StoredRowsAnswered = "stored-rows-answered",

    /// Before ClickHouse is asked whether it knows a setting.
    Settings = "settings",
    /// ClickHouse has told whether it knows a setting.
    SettingsAnswered = "settings-answered",
    /// Before a batch's first insert.
    Insert = "insert",
    /// The first bytes of an insert's block are on their way, the rest is not.
    InsertFirstByte = "insert-first-byte",
    /// An insert's block is on its way whole.
    InsertSent = "insert-sent",
    /// A first insert is answered.
    InsertAnswered = "insert-answered",
    /// A row was refused: before its dead letter for ClickHouse is written.
    LeaveOut = "leave-out",
    /// The dead letter of a refused row is on its way.
    LeaveOutSent = "leave-out-sent",
    /// The dead letter of a refused row is written; all other rows of its batch are not.
    LeaveOutAnswered = "leave-out-answered",
    /// Before a range is read back.
    ReadBack = "read-back",
    /// A range was read back.
    ReadBackAnswered = "read-back-answered",
    /// Before missing rows are inserted.
    Repair = "repair",
    /// The insert of missing rows is answered.
    RepairAnswered = "repair-answered",
    /// Before the older insert is ended, because one that was answered OK has left rows out.
    WaitOut = "wait-out",
    /// The question that ends the older insert is on its way.
    WaitOutSent = "wait-out-sent",
    /// The older insert is gone.
    WaitOutAnswered = "wait-out-answered",

    /// Before the ledger's heartbeat.
    Heartbeat = "heartbeat",
    /// The heartbeat is on its way.
    HeartbeatSent = "heartbeat-sent",
    /// The heartbeat has committed.
    HeartbeatAnswered = "heartbeat-answered",
    /// Before offsets are committed to Kafka.
    KafkaCommit = "kafka-commit",
    /// The commit to Kafka is on its way.
    KafkaCommitSent = "kafka-commit-sent",
    /// The commit to Kafka is answered.
    KafkaCommitAnswered = "kafka-commit-answered",

    /// The group's callback has taken partitions.
    Revoked = "revoked",
    /// Before partitions are let go.
    Release = "release",
    /// Partitions were let go.
    ReleaseAnswered = "release-answered",
    /// The program was told to stop; nothing is drained yet.
    Stop = "stop",
    /// Everything is drained and committed.
    Drained = "drained",
    /// Before the consumer leaves the group.
    Leave = "leave",
    /// The consumer has left the group.
    LeaveAnswered = "leave-answered",
}
