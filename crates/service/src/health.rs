//! The health of a route: which of its components work, since when one does not, why, and what to do. Every part of the program that
//! sees a component reports what it sees, and the pages read the board. Nothing here asks a server, and time is a parameter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::report::Chain;

/// A component that only hesitates is degraded. If that lasts so long, it has failed.
pub const FAILED_AFTER: Duration = Duration::from_secs(3);
/// A loop that has not turned for so long is degraded. Its longest single step is a statement of the ledger.
pub const TURN_LATE: Duration = Duration::from_secs(5);
/// A loop that has not turned for so long hangs, and only a restart helps. Longer than all time limits of one turn together.
pub const TURN_MAX: Duration = Duration::from_secs(120);

/// A part that a route depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The brokers.
    Kafka,
    /// The route's topic and its partitions.
    Topic,
    /// The ledger's tables in PostgreSQL.
    Ledger,
    /// The route's table in PostgreSQL.
    Postgres,
    /// The route's table in ClickHouse.
    ClickHouse,
    /// The thread that reads from Kafka.
    Reader,
    /// The task that claims and commits.
    Coordinator,
}

impl Component {
    /// All of them, in the order in which pages show them.
    pub const ALL: [Self; 7] =
        [Self::Kafka, Self::Topic, Self::Ledger, Self::Postgres, Self::ClickHouse, Self::Reader, Self::Coordinator];

    /// Its name on pages and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Topic => "topic",
            Self::Ledger => "ledger",
            Self::Postgres => "postgres",
            Self::ClickHouse => "clickhouse",
            Self::Reader => "reader",
            Self::Coordinator => "coordinator",
        }
    }
}

/// How a component does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It works.
    Ok,
    /// It waits on purpose, such as a reader whose byte budget is spent.
    Paused,
    /// It hesitates, or only a part of it works.
    Degraded,
    /// It does not work: records cannot be stored.
    Failed,
}

impl State {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Paused, Self::Degraded, Self::Failed];

    /// Its name on pages and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Paused => "paused",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

/// How bad a trouble is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It waits on purpose.
    Paused,
    /// A part of it does not work, however long that lasts.
    Partial,
    /// It may pass by itself. If it lasts for [`FAILED_AFTER`], the component has failed.
    Passing,
    /// It does not pass by itself: the component has failed.
    Lasting,
}

/// What somebody saw of a component.
#[derive(Clone, Debug)]
struct Trouble {
    severity: Severity,
    since: Instant,
    why: String,
    what_to_do: String,
}

impl Trouble {
    fn state(&self, now: Instant) -> State {
        match self.severity {
            Severity::Paused => State::Paused,
            Severity::Partial => State::Degraded,
            Severity::Passing if now < self.since + FAILED_AFTER => State::Degraded,
            Severity::Passing | Severity::Lasting => State::Failed,
        }
    }
}

/// A component as a page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The component.
    pub component: Component,
    /// How it does.
    pub state: State,
    /// Since when it does not work. None while it is ok.
    pub since: Option<Instant>,
    /// Why it does not work. It names no values of rows and no passwords.
    pub why: String,
    /// What a person can do.
    pub what_to_do: String,
}

/// The board of one route.
pub struct Health {
    /// The route's name.
    pub route: String,
    /// The components that the route has. A database that is switched off is not among them.
    components: Vec<Component>,
    /// What each reporter sees, by its number.
    troubles: Mutex<BTreeMap<(Component, u64), Trouble>>,
    reporters: AtomicU64,
    began: Instant,
    /// Milliseconds from `began` to the last turn of the reader and of the coordinator.
    reader_turned: AtomicU64,
    coordinator_turned: AtomicU64,
    joined: AtomicBool,
    draining: AtomicBool,
    ended: AtomicBool,
}

impl Health {
    /// The board of a route with these components. Nobody has reported anything yet.
    pub fn new(route: &str, components: Vec<Component>, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            route: route.to_owned(),
            components,
            troubles: Mutex::default(),
            reporters: AtomicU64::new(0),
            began: now,
            reader_turned: AtomicU64::new(0),
            coordinator_turned: AtomicU64::new(0),
            joined: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    /// A new reporter of one component. What it has reported last counts until it is dropped.
    pub fn reporter(self: &Arc<Self>, component: Component) -> Reporter {
        let number = self.reporters.fetch_add(1, Ordering::Relaxed);
        Reporter { health: Arc::clone(self), component, number }
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// The reader's loop has turned.
    pub fn reader_turned(&self, now: Instant) {
        self.reader_turned.store(self.milliseconds(now), Ordering::Relaxed);
    }

    /// The coordinator's loop has turned.
    pub fn coordinator_turned(&self, now: Instant) {
        self.coordinator_turned.store(self.milliseconds(now), Ordering::Relaxed);
    }

    /// The consumer group has assigned partitions, or said that there are none for this process.
    pub fn has_joined(&self) {
        self.joined.store(true, Ordering::Relaxed);
    }

    /// The route's pipeline begins, so its consumer is in no group.
    pub fn has_left(&self) {
        self.joined.store(false, Ordering::Relaxed);
    }

    /// Whether the consumer has joined its group.
    pub fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// The program was asked to stop.
    pub fn drains(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The route's pipeline has ended.
    pub fn has_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// The route's pipeline has ended for good, and this is why.
    pub fn has_failed(&self, component: Component, error: &(dyn std::error::Error + 'static), now: Instant) {
        let (why, what_to_do) = Chain(error).parts();
        let trouble = Trouble { severity: Severity::Lasting, since: now, why, what_to_do };
        self.troubles.lock().insert((component, u64::MAX), trouble);
        self.has_ended();
    }

    /// Whether the route's pipeline has ended.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether the route drains, or has ended.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.ended.load(Ordering::Relaxed)
    }

    /// The times since the last turn of the reader and of the coordinator.
    pub fn turn_ages(&self, now: Instant) -> [(Component, Duration); 2] {
        let age = |turned: &AtomicU64| {
            let last = self.began + Duration::from_millis(turned.load(Ordering::Relaxed));
            now.saturating_duration_since(last)
        };
        [(Component::Reader, age(&self.reader_turned)), (Component::Coordinator, age(&self.coordinator_turned))]
    }

    /// Whether both loops turn. After the end of the pipeline none has to.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.ended.load(Ordering::Relaxed) || self.turn_ages(now).iter().all(|&(_, age)| age < TURN_MAX)
    }

    /// Every component of the route, with the worst that anybody sees of it.
    pub fn conditions(&self, now: Instant) -> Vec<Condition> {
        let troubles = self.troubles.lock().clone();
        let ages = self.turn_ages(now);
        self.components
            .iter()
            .map(|&component| {
                let seen = troubles.iter().filter(|((of, _), _)| *of == component).map(|(_, trouble)| trouble);
                let late = ages.iter().find(|&&(of, age)| of == component && age >= TURN_LATE && !self.is_draining());
                let late = late.map(|&(_, age)| late_turn(age, now));
                // of two that are equally bad, one that says what to do, and then the older one
                let worst = seen.chain(late.as_ref()).max_by_key(|trouble| {
                    (trouble.state(now), !trouble.what_to_do.is_empty(), std::cmp::Reverse(trouble.since))
                });
                match worst {
                    None => Condition {
                        component,
                        state: State::Ok,
                        since: None,
                        why: String::new(),
                        what_to_do: String::new(),
                    },
                    Some(trouble) => Condition {
                        component,
                        state: trouble.state(now),
                        since: Some(trouble.since),
                        why: trouble.why.clone(),
                        what_to_do: trouble.what_to_do.clone(),
                    },
                }
            })
            .collect()
    }

    /// Whether records can be stored: the group is joined, nothing has failed, and the route does not drain.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.is_joined()
            && !self.is_draining()
            && self.conditions(now).iter().all(|condition| condition.state != State::Failed)
    }
}

fn late_turn(age: Duration, now: Instant) -> Trouble {
    Trouble {
        severity: if age >= TURN_MAX { Severity::Lasting } else { Severity::Partial },
        since: now.checked_sub(age).unwrap_or(now),
        why: format!("its loop has not turned for {} s", age.as_secs()),
        what_to_do: "if no other component is in trouble, restart footprint and report it".into(),
    }
}

/// Reports what one part of the program sees of one component.
pub struct Reporter {
    health: Arc<Health>,
    component: Component,
    number: u64,
}

impl Reporter {
    /// The component works.
    pub fn good(&self) {
        self.health.troubles.lock().remove(&(self.component, self.number));
    }

    /// The component does not work, as of `since`. While it is in trouble without a break, the first time counts.
    pub fn bad(&self, severity: Severity, error: &(dyn std::error::Error + 'static), since: Instant) {
        let (why, what_to_do) = Chain(error).parts();
        self.put(Trouble { severity, since, why, what_to_do });
    }

    /// The same. `otherwise` is what to do if the error does not say it.
    pub fn bad_or(
        &self,
        severity: Severity,
        error: &(dyn std::error::Error + 'static),
        otherwise: &str,
        since: Instant,
    ) {
        let (why, what_to_do) = Chain(error).parts();
        let what_to_do = if what_to_do.is_empty() { otherwise.to_owned() } else { what_to_do };
        self.put(Trouble { severity, since, why, what_to_do });
    }

    /// The same, in words.
    pub fn says(&self, severity: Severity, why: impl Into<String>, what_to_do: impl Into<String>, since: Instant) {
        self.put(Trouble { severity, since, why: why.into(), what_to_do: what_to_do.into() });
    }

    fn put(&self, mut trouble: Trouble) {
        let mut troubles = self.health.troubles.lock();
        let key = (self.component, self.number);
        if let Some(before) = troubles.get(&key) {
            trouble.since = before.since;
        }
        troubles.insert(key, trouble);
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.good();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn board() -> (Arc<Health>, Instant) {
        let now = Instant::now();
        let health = Health::new("visits", Component::ALL.to_vec(), now);
        assert!(!health.is_ready(now), "it has not joined its group");
        health.has_joined();
        (health, now)
    }

    fn of(health: &Health, component: Component, now: Instant) -> Condition {
        health.conditions(now).into_iter().find(|condition| condition.component == component).unwrap()
    }

    #[test]
    fn what_hesitates_is_degraded_and_what_lasts_has_failed() {
        let (health, now) = board();
        let probe = health.reporter(Component::ClickHouse);
        assert!(health.is_ready(now));
        probe.says(Severity::Passing, "no answer", "is it up?", now);
        assert_eq!(of(&health, Component::ClickHouse, now).state, State::Degraded);
        assert!(health.is_ready(now));
        // the first time counts
        probe.says(Severity::Passing, "still no answer", "is it up?", now + SECOND);
        let failed = of(&health, Component::ClickHouse, now + FAILED_AFTER);
        assert_eq!((failed.state, failed.since, failed.why.as_str()), (State::Failed, Some(now), "still no answer"));
        assert!(!health.is_ready(now + FAILED_AFTER));
        probe.good();
        assert!(health.is_ready(now + FAILED_AFTER));
        probe.says(Severity::Passing, "no answer", "is it up?", now + 9 * SECOND);
        assert_eq!(of(&health, Component::ClickHouse, now + 10 * SECOND).state, State::Degraded, "a new trouble");
    }

    #[test]
    fn the_worst_of_what_the_reporters_see_counts_and_a_good_word_of_one_clears_only_its_own() {
        let (health, now) = board();
        let (probe, writer) = (health.reporter(Component::Postgres), health.reporter(Component::Postgres));
        probe.says(Severity::Partial, "slow", "", now);
        writer.says(Severity::Lasting, "disk full", "make room", now + SECOND);
        let condition = of(&health, Component::Postgres, now + SECOND);
        assert_eq!((condition.state, condition.what_to_do.as_str()), (State::Failed, "make room"));
        probe.good();
        assert_eq!(of(&health, Component::Postgres, now + SECOND).state, State::Failed);
        drop(writer);
        assert_eq!(of(&health, Component::Postgres, now + SECOND).state, State::Ok);
    }

    /// The story: while ClickHouse was down under load, the writer's bare error hid the probe's advice.
    #[test]
    fn of_two_that_are_equally_bad_the_one_that_says_what_to_do_is_shown() {
        let (health, now) = board();
        let (writer, probe) = (health.reporter(Component::ClickHouse), health.reporter(Component::ClickHouse));
        writer.says(Severity::Passing, "connection refused", "", now);
        probe.says(Severity::Passing, "no answer", "start it", now + SECOND);
        let condition = of(&health, Component::ClickHouse, now + 2 * FAILED_AFTER);
        assert_eq!((condition.why.as_str(), condition.what_to_do.as_str()), ("no answer", "start it"));
    }

    #[test]
    fn a_loop_that_does_not_turn_is_told_and_ends_liveness() {
        let (health, now) = board();
        assert!(health.is_alive(now + TURN_MAX - SECOND));
        assert_eq!(of(&health, Component::Reader, now + TURN_LATE).state, State::Degraded);
        assert_eq!(of(&health, Component::Reader, now + TURN_MAX).state, State::Failed);
        health.reader_turned(now + TURN_MAX);
        assert!(!health.is_alive(now + TURN_MAX), "the coordinator hangs");
        health.coordinator_turned(now + TURN_MAX);
        assert!(health.is_alive(now + TURN_MAX));
        health.has_ended();
        assert!(health.is_alive(now + 9 * TURN_MAX) && !health.is_ready(now + TURN_MAX));
    }

    #[test]
    fn a_route_that_drains_is_not_ready() {
        let (health, now) = board();
        health.drains();
        assert!(!health.is_ready(now) && health.is_alive(now));
    }

    #[test]
    fn a_database_that_is_switched_off_is_not_shown() {
        let now = Instant::now();
        let health = Health::new("visits", vec![Component::Kafka, Component::Postgres], now);
        let reporter = health.reporter(Component::ClickHouse);
        reporter.says(Severity::Lasting, "nobody asked", "", now);
        health.has_joined();
        assert!(health.is_ready(now) && health.conditions(now).len() == 2);
    }
}
