//! ClickHouse's connection breaks between a read-back and the insert that repairs the missing rows, as when the server crashes
//! and starts again. The story: the model doubled a row when the client silently opened a new connection for that insert. An
//! insert that was in flight when the old server died could have landed by then, without a token that knows of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use footprint::batch::budget::Permit;
use footprint::batch::under_way::UnderWay;
use footprint::batch::{Batch, CutReason};
use footprint::ledger::ownership::{LeftOut, Ownership};
use footprint::ledger::proof::{Proof, Proofs};
use footprint::store::clickhouse::writer::{ClickHouseSink, StoredRows};
use footprint::store::sink::{Sink, SinkError, Verdict};
use footprint_event::definition::Definition;
use footprint_event::route::{Column, Kind, Presence, Route};
use footprint_event::rows::{ColumnData, Rows, Values};
use footprint_protocol::ledger::{Frontiers, LedgerId, OwnerId, SourceId};
use footprint_protocol::offset::Range;
use footprint_protocol::take_over::Plan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::calm;
use crate::support::databases::{DEADLINE, fresh_database, runtime};

/// What becomes of the answer to an insert, which ClickHouse has executed by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It never comes, and neither does anything else.
    Withheld,
    /// The connection ends without it.
    Dropped,
    /// It comes, and the connection ends with it.
    Last,
}

/// A proxy between the sink and ClickHouse.
#[derive(Default)]
struct Proxy {
    connections: AtomicUsize,
    inserts: AtomicUsize,
    /// The number of read-backs until the one whose connection ends with its answer.
    armed: AtomicUsize,
    /// What becomes of the next insert's answer.
    next_answer: Mutex<Option<Answer>>,
    /// Every connection ends.
    hang_up: tokio::sync::Notify,
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Proxy {
    /// Serves until the runtime ends. Returns the port.
    async fn start(self: &Arc<Self>, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                proxy.connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(Arc::clone(&proxy).relay(client, server));
            }
        });
        address.port()
    }

    async fn relay(self: Arc<Self>, mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
        let (mut question, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let (mut last, mut tail, mut fate) = (false, Vec::new(), None);
        loop {
            tokio::select! {
                () = self.hang_up.notified() => return Ok(()),
                read = client.read(&mut question) => {
                    let bytes = &question[..read?];
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    if holds(bytes, "insert_deduplication_token") {
                        self.inserts.fetch_add(1, Ordering::SeqCst);
                        fate = self.next_answer.lock().unwrap().take();
                        last |= fate == Some(Answer::Last);
                    }
                    if holds(bytes, "assumeNotNull") && self.armed.load(Ordering::SeqCst) > 0 {
                        last = self.armed.fetch_sub(1, Ordering::SeqCst) == 1;
                    }
                    server.write_all(bytes).await?;
                }
                read = server.read(&mut answer) => {
                    let bytes = &answer[..read?];
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    match fate {
                        Some(Answer::Withheld) => continue,
                        Some(Answer::Dropped) => return Ok(()),
                        Some(Answer::Last) | None => {}
                    }
                    if !last {
                        client.write_all(bytes).await?;
                        continue;
                    }
                    // the whole answer, and with it the end of the connection, so that the two cannot race
                    tail.extend_from_slice(bytes);
                    if tail.ends_with(b"\r\n0\r\n\r\n") {
                        let text = String::from_utf8_lossy(&tail).to_lowercase();
                        let at = text.find("connection: keep-alive").expect("a connection that would be kept");
                        tail[at..at + 22].copy_from_slice(b"Connection: close     ");
                        return client.write_all(&tail).await;
                    }
                }
            }
        }
    }
}

pub(super) struct Nothing;

impl StoredRows for Nothing {
    async fn stored(&self, _: &Batch) -> Result<Rows, SinkError> {
        unreachable!("this decoder made the claim")
    }
}

/// What the owner's take-over found for a batch's range.
pub(super) enum Found {
    /// It was claimed, so it is read back first.
    Claimed,
    /// It found nothing, so the first write needs no read-back.
    Nothing,
    /// Nothing, but ClickHouse may remember the token of its first write: that is read back after its OK.
    Doubtful,
}

pub(super) fn batch(route: &Arc<Route>, proofs: &Arc<Proofs>, range: Range, found: Found) -> Arc<Batch> {
    let frontiers = Frontiers { dead_letters: range.end, postgres: None, clickhouse: Some(range.start) };
    let plan = Plan {
        start: range.start,
        read_from: range.start,
        claimed: if matches!(found, Found::Claimed) { range.end } else { range.start },
        cuts: Vec::new(),
        claims: Vec::new(),
        frontiers,
        uncertain_through: None,
        doubtful_below: matches!(found, Found::Doubtful).then_some(range.end),
        birth: 1,
    };
    let proof = Proof::new(Arc::clone(proofs), proofs.before_sending());
    let ended = CancellationToken::new();
    let ownership = Ownership {
        ledger: LedgerId(3),
        source: SourceId(7),
        partition: 0,
        epoch: 1,
        owner: OwnerId(0),
        plan,
        earlier: Vec::new(),
        skips: Vec::new(),
        left_out: LeftOut::default(),
        proof,
        ended,
    };
    let offsets: Vec<i64> = (range.start..range.end).collect();
    let times = vec![1_700_000_000_000_000; offsets.len()];
    let column = ColumnData { values: Values::Timestamp(times.clone()), validity: None };
    Arc::new(Batch {
        ownership: Arc::new(ownership),
        range,
        reason: CutReason::Linger,
        definition: Arc::new(Definition::of(route).unwrap()),
        rows: Rows { offsets, received_at_us: times, columns: vec![column] }.into(),
        dead_letters: Vec::new(),
        first_read_at: Instant::now(),
        read_at: Instant::now(),
        brokers: footprint_service::kafka::brokers::Brokers::default(),
        permit: Permit::default(),
        under_way: UnderWay::default().start(0),
    })
}

/// Writes one batch while its owner sends heartbeats, which give a proof to every writer that waits for one. Also returns how
/// many were wanted.
pub(super) async fn write(
    sink: &mut ClickHouseSink<Nothing>,
    proofs: &Proofs,
    batch: &Arc<Batch>,
    uncertain: bool,
) -> (Result<Vec<Verdict>, SinkError>, usize) {
    let mut beats = 0;
    let group = [Arc::clone(batch)];
    let writing = sink.write(&group, uncertain);
    tokio::pin!(writing);
    loop {
        tokio::select! {
            biased;
            written = &mut writing => return (written, beats),
            () = proofs.wanted() => {
                beats += 1;
                batch.ownership.proof.renew(proofs.before_sending());
            }
        }
    }
}

/// `batch` fills one column beside the identity.
fn one_column(route: &mut Route) {
    let (name, field) = ("footprint_time".to_owned(), String::new());
    route.columns =
        vec![Column { name, field, kind: Kind::Timestamp, presence: Presence::Required, low_cardinality: false }];
    *route = route.clone().validated().unwrap();
}

#[test]
fn an_insert_goes_by_a_connection_older_than_its_proof() {
    let _up = calm();
    let mut databases = fresh_database("reconnected");
    one_column(&mut databases.config.routes[0]);
    let table = &databases.config.routes[0].clickhouse_table;
    let stored =
        || databases.clickhouse_query(&format!("select kafka_offset from {{db}}.{table} order by 1")).join(" ");
    runtime().block_on(async {
        databases.migrate().await;
        let proxy = Arc::new(Proxy::default());
        let mut settings = databases.config.clickhouse.clone();
        "127.0.0.1".clone_into(&mut settings.host);
        settings.port = proxy.start(settings.port).await;
        let counts = || (proxy.connections.load(Ordering::SeqCst), proxy.inserts.load(Ordering::SeqCst));

        let proofs = Arc::new(Proofs::default());
        let route = Arc::new(databases.config.routes[0].clone());
        let mut sink = ClickHouseSink::new(&settings, &route, &proofs, Nothing, DEADLINE, databases.refusals());
        let first = batch(&route, &proofs, Range::new(0, 3), Found::Claimed);
        let (stored_first, beats) = write(&mut sink, &proofs, &first, false).await;
        assert_eq!(stored_first.unwrap(), [Verdict::Stored]);
        assert_eq!(counts(), (1, 1), "asked, read back, inserted and read back on one connection");
        assert_eq!(beats, 1, "a new connection voids the previous proof");

        // the second read-back: the insert follows from that
        proxy.armed.store(2, Ordering::SeqCst);
        let second = batch(&route, &proofs, Range::new(3, 6), Found::Claimed);
        let (refused, _) = write(&mut sink, &proofs, &second, false).await;
        assert_eq!(proxy.armed.load(Ordering::SeqCst), 0, "the connection was not broken: {refused:?}");
        assert!(matches!(&refused, Err(SinkError::Retry(_))), "{refused:?}");
        assert_eq!(counts(), (1, 1), "no connection was made, no insert sent");
        assert_eq!(stored(), "0 1 2");
        assert!(second.ownership.proof.current().is_none(), "every proof is void");

        let (stored_second, _) = write(&mut sink, &proofs, &second, false).await;
        assert_eq!(stored_second.unwrap(), [Verdict::Stored]);
        assert_eq!(counts(), (2, 2), "read back and inserted on a new connection");
        assert_eq!(stored(), "0 1 2 3 4 5");

        // a first write: on the existing connection without another proof, or on a new one with one
        let third = batch(&route, &proofs, Range::new(6, 9), Found::Nothing);
        let (stored_third, beats) = write(&mut sink, &proofs, &third, false).await;
        assert_eq!((stored_third.unwrap(), beats, counts()), (vec![Verdict::Stored], 0, (2, 3)));
        proxy.hang_up.notify_waiters();
        let fourth = batch(&route, &proofs, Range::new(9, 12), Found::Nothing);
        let (refused, _) = write(&mut sink, &proofs, &fourth, false).await;
        assert!(matches!(&refused, Err(SinkError::Retry(_) | SinkError::Uncertain(_))), "{refused:?}");
        assert_eq!(counts(), (2, 3), "no connection was made, no insert sent");
        assert!(fourth.ownership.proof.current().is_none(), "every proof is void");
        let (stored_fourth, beats) = write(&mut sink, &proofs, &fourth, false).await;
        assert_eq!((stored_fourth.unwrap(), counts()), (vec![Verdict::Stored], (3, 4)));
        assert!(beats >= 1, "it was sent on a new proof");
        assert_eq!(stored(), "0 1 2 3 4 5 6 7 8 9 10 11");
    });
}

/// An insert that was stored and whose answer was lost: nothing but a read-back tells. The table remembers no token, which would hide an
/// insert that is sent twice.
#[test]
fn an_insert_whose_answer_is_lost_is_read_back_before_it_is_sent_again() {
    const SILENCE_MAX: Duration = Duration::from_secs(2);
    let _up = calm();
    let mut databases = fresh_database("lost_answer");
    one_column(&mut databases.config.routes[0]);
    let table = databases.config.routes[0].clickhouse_table.clone();
    runtime().block_on(databases.migrate());
    let forget = format!("alter table {{db}}.{table} modify setting non_replicated_deduplication_window = 0");
    databases.clickhouse_query(&forget);
    let count = || databases.clickhouse_query(&format!("select count(), uniqExact(kafka_offset) from {{db}}.{table}"));
    runtime().block_on(async {
        let proxy = Arc::new(Proxy::default());
        let mut settings = databases.config.clickhouse.clone();
        "127.0.0.1".clone_into(&mut settings.host);
        settings.port = proxy.start(settings.port).await;
        let proofs = Arc::new(Proofs::default());
        let route = Arc::new(databases.config.routes[0].clone());
        let mut sink = ClickHouseSink::new(&settings, &route, &proofs, Nothing, SILENCE_MAX, databases.refusals());
        let cases =
            [(Answer::Withheld, Found::Nothing), (Answer::Dropped, Found::Nothing), (Answer::Last, Found::Doubtful)];
        for (number, (answer, found)) in cases.into_iter().enumerate() {
            *proxy.next_answer.lock().unwrap() = Some(answer);
            let start = i64::try_from(number).unwrap() * 3;
            let batch = batch(&route, &proofs, Range::new(start, start + 3), found);
            let (failed, _) = write(&mut sink, &proofs, &batch, false).await;
            assert!(matches!(failed, Err(SinkError::Uncertain(_))), "{answer:?}: the insert was sent: {failed:?}");
            let stored = format!("{0}\t{0}", start + 3);
            assert_eq!(count(), [stored.as_str()], "{answer:?}: it was stored");
            let (written, _) = write(&mut sink, &proofs, &batch, true).await;
            assert_eq!(written.unwrap(), [Verdict::Stored], "{answer:?}");
            assert_eq!(count(), [stored.as_str()], "{answer:?}: and not sent again");
            assert_eq!(proxy.inserts.load(Ordering::SeqCst), number + 1, "{answer:?}");
        }
    });
}
