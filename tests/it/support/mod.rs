//! The fixtures of every scenario: the servers, one test's world in them, consumers as processes, and the oracle that knows
//! what must be stored.

pub mod consumer;
pub mod databases;
pub mod kafka;
pub mod oracle;
pub mod postgres;
pub mod profile;
pub mod prove;
pub mod terminal;
pub mod terminator;
pub mod wait;
pub mod world;

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use footprint_stack::{KafkaCluster, Progress, Stack, StackOptions};
use footprint_trials::trial::Proxy;

/// The servers. The first test that asks starts them, and they end with the process.
pub fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        Stack::start(StackOptions {
            kafka_secured: true,
            small_disks: true,
            progress: Progress::Lines,
            ..StackOptions::default()
        })
        .expect("the stack starts")
    })
}

/// A cluster of three brokers, and the proxy between the controller and the other two. The first test that asks starts them. One
/// test at a time holds the guard.
pub fn cluster() -> (&'static KafkaCluster, &'static Proxy, MutexGuard<'static, ()>) {
    static CLUSTER: OnceLock<(KafkaCluster, Proxy)> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (cluster, proxy) = CLUSTER.get_or_init(|| {
        let mut proxy = None;
        let cluster = KafkaCluster::start(3, &Progress::Lines, |controller| {
            proxy.insert(Proxy::start(controller).expect("a proxy starts")).port()
        });
        (cluster.expect("the cluster starts"), proxy.expect("the cluster asked for the way"))
    });
    (cluster, proxy, turn)
}

/// The tests that use the servers: any number of calm ones, or one that disturbs them.
struct Users {
    calm: usize,
    alone: bool,
    alone_waiting: usize,
}

static USERS: Mutex<Users> = Mutex::new(Users { calm: 0, alone: false, alone_waiting: 0 });
static CHANGED: Condvar = Condvar::new();

fn users() -> MutexGuard<'static, Users> {
    USERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, the servers stay up. Unlike a lock's guard it may move between threads.
#[derive(Debug)]
pub struct Calm(());

/// While it lives, no other test runs.
#[derive(Debug)]
pub struct Alone(());

/// A test that needs the servers to stay up holds this.
pub fn calm() -> Calm {
    let waits = |users: &mut Users| users.alone || users.alone_waiting > 0;
    let mut users = CHANGED.wait_while(users(), waits).unwrap_or_else(PoisonError::into_inner);
    users.calm += 1;
    Calm(())
}

/// A test that kills, pauses or restores a server holds this.
pub fn alone() -> Alone {
    let mut users = users();
    users.alone_waiting += 1;
    let waits = |users: &mut Users| users.alone || users.calm > 0;
    let mut users = CHANGED.wait_while(users, waits).unwrap_or_else(PoisonError::into_inner);
    users.alone_waiting -= 1;
    users.alone = true;
    Alone(())
}

impl Drop for Calm {
    fn drop(&mut self) {
        users().calm -= 1;
        CHANGED.notify_all();
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        users().alone = false;
        CHANGED.notify_all();
    }
}
