//! Rounds of lost answers: a server does what it was asked, and its answer never arrives. The program must find out by itself what
//! happened.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::member::{Action, Aim, Member, Protocol};
use super::point::Point;
use super::schedule::in_turn;
use super::site::Site;
use super::tally::Tally;
use crate::trial::{self, Dice, Proxy};

/// The round is a miss if the program has not asked for the answer within this time.
const ASKED_LIMIT: Duration = Duration::from_secs(20);
/// Events are sent again if the program has not asked for the answer within this time.
const WAVE_INTERVAL: Duration = Duration::from_millis(700);
/// The time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How long a sink waits for an answer. A round that withholds an answer lasts this long.
const SINK_TIMEOUT_MS: &str = "2000";

/// PostgreSQL's messages after which an answer is due: Execute of the unnamed portal without a limit, and CopyDone with Sync.
const EXECUTE: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";
const COPY_DONE: &[u8] = b"c\0\0\0\x04S\0\0\0\x04";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Postgres,
    ClickHouse,
}

/// When the program asks for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// While events come.
    Running,
    /// At a start.
    Starting,
    /// At a start on a topic that no consumer has read.
    Unknown,
    /// At a start with pending claims whose rows ClickHouse does not hold.
    Replaying,
}

/// An answer that can be lost.
#[derive(Debug)]
pub struct Loss {
    /// Its name on command lines.
    pub name: &'static str,
    server: Server,
    when: When,
    marks: &'static [&'static [u8]],
}

/// Every answer that can be lost, in the order in which a record meets them.
pub const LOSSES: &[Loss] = &[
    loss("keep-definition", Server::Postgres, When::Starting, &[b"insert into footprint_definition", EXECUTE]),
    loss("register", Server::Postgres, When::Starting, &[b"insert into footprint_source", EXECUTE]),
    loss("known", Server::Postgres, When::Starting, &[b"select holder_group, holder_host", EXECUTE]),
    loss("starts", Server::Postgres, When::Unknown, &[b"select commits, ends from", EXECUTE]),
    loss("starts-write", Server::Postgres, When::Unknown, &[b"insert into footprint_first_start", EXECUTE]),
    loss("take-over", Server::Postgres, When::Starting, &[b"insert into footprint_ledger", EXECUTE]),
    loss("drain", Server::ClickHouse, When::Replaying, &[b"replace_running_query=1"]),
    loss("highest", Server::ClickHouse, When::Starting, &[b"select max(assumeNotNull(kafka_offset))"]),
    loss("settle", Server::Postgres, When::Starting, &[b"with settled as", EXECUTE]),
    loss("claim", Server::Postgres, When::Running, &[b"set claimed = g.range_end", EXECUTE]),
    loss("epoch-read", Server::Postgres, When::Running, &[b"select 1 from footprint_ledger l join", EXECUTE]),
    loss("copy", Server::Postgres, When::Running, &[b"user_footprint", COPY_DONE]),
    loss("dead-letters", Server::Postgres, When::Running, &[b"dead_letters (", COPY_DONE]),
    loss("commit", Server::Postgres, When::Running, &[b"from moved; commit"]),
    loss("insert", Server::ClickHouse, When::Running, &[b"insert_deduplication_token="]),
    loss("read-back", Server::ClickHouse, When::Replaying, &[b"select assumeNotNull(kafka_offset)"]),
    loss("repair", Server::ClickHouse, When::Replaying, &[b"insert_deduplication_token="]),
    loss("heartbeat", Server::Postgres, When::Running, &[b"l set clickhouse_next", EXECUTE]),
];

const fn loss(name: &'static str, server: Server, when: When, marks: &'static [&'static [u8]]) -> Loss {
    Loss { name, server, when, marks }
}

/// Loses answers, one in each round.
pub struct Losses<'a, 's> {
    site: &'a mut Site<'s>,
    dice: &'a mut Dice,
    tally: &'a mut Tally,
    postgres: Proxy,
    clickhouse: Proxy,
}

impl<'a, 's> Losses<'a, 's> {
    /// Starts the proxies. From now on, every program of the site reaches its databases through them.
    ///
    /// # Errors
    /// No port for a proxy.
    pub fn new(site: &'a mut Site<'s>, dice: &'a mut Dice, tally: &'a mut Tally) -> Result<Self> {
        let postgres = Proxy::start(site.stack.postgres()?.port())?;
        let clickhouse = Proxy::start(site.stack.clickhouse()?.http_port())?;
        site.set("DB_PORT", &postgres.port().to_string());
        site.set("CH_PORT", &clickhouse.port().to_string());
        site.set("FOOTPRINT_PIPELINE__SINK_TIMEOUT_MS", SINK_TIMEOUT_MS);
        Ok(Self { site, dice, tally, postgres, clickhouse })
    }

    /// Loses each of `losses` in turn until `rounds` are done.
    ///
    /// # Errors
    /// A program ended, or the oracle found a fault.
    pub fn run(mut self, losses: &[&Loss], protocols: &[Protocol], rounds: usize) -> Result<()> {
        for round in 0..rounds {
            let Some((loss, protocol)) = in_turn(losses, protocols, round) else { return Ok(()) };
            // only a sink gives up soon enough for a round to wait for it
            let is_sinks = ["epoch-read", "copy", "dead-letters", "commit", "insert", "read-back", "repair"];
            let withhold = is_sinks.contains(&loss.name) && self.dice.chance(0.5);
            let what = format!("lose {} ({}, {})", loss.name, protocol.name(), if withhold { "late" } else { "cut" });
            self.site.program().note(&what)?;
            if self.round(loss, protocol, withhold).with_context(|| what.clone())? {
                self.tally.hit(loss.name, protocol);
            } else {
                eprintln!("missed: {what}");
                self.tally.missed(loss.name, protocol);
            }
        }
        self.site.judge(true)
    }

    fn proxy(&self, server: Server) -> &Proxy {
        match server {
            Server::Postgres => &self.postgres,
            Server::ClickHouse => &self.clickhouse,
        }
    }

    fn round(&mut self, loss: &Loss, protocol: Protocol, withhold: bool) -> Result<bool> {
        let to_lose = trial::Loss { marks: loss.marks, withhold };
        if loss.when == When::Replaying {
            let mut dying = self.start(protocol)?;
            self.site.wait_stored(&mut [&mut dying])?;
            dying.arm(Aim { point: Point::Insert, action: Action::Kill, hit: 1 })?;
            self.site.wave(self.dice)?;
            ensure!(dying.dies_at(Point::Insert, Instant::now() + ASKED_LIMIT)?, "no insert came");
        }
        if loss.when == When::Unknown {
            self.site.judge(false)?;
            self.site.new_topic()?;
        }
        if loss.when != When::Running {
            self.proxy(loss.server).lose(to_lose);
        }
        let mut member = self.start(protocol)?;
        if loss.when == When::Running {
            self.site.wait_stored(&mut [&mut member])?;
            self.proxy(loss.server).lose(to_lose);
        }
        let lost = self.await_loss(loss, &mut member)?;
        self.site.wave(self.dice)?;
        self.site.wait_stored(&mut [&mut member])?;
        self.site.judge(false)?;
        member.end()?;
        self.site.judge(false)?;
        Ok(lost)
    }

    fn start(&mut self, protocol: Protocol) -> Result<Member> {
        let membership = self.site.membership(protocol);
        self.site.start(membership, None)
    }

    fn await_loss(&mut self, loss: &Loss, member: &mut Member) -> Result<bool> {
        let end = Instant::now() + ASKED_LIMIT;
        while Instant::now() < end {
            self.site.wave(self.dice)?;
            let pause = Instant::now() + WAVE_INTERVAL;
            while Instant::now() < pause {
                if self.proxy(loss.server).has_lost() {
                    return Ok(true);
                }
                if let Some(status) = member.ended()? {
                    anyhow::bail!("footprint run ended by itself ({status})");
                }
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
        self.proxy(loss.server).lose_nothing();
        Ok(false)
    }
}
