//! Compares the model's ledger (`footprint_model::ledger`) with the program's SQL on a real PostgreSQL. In random histories, each
//! step is done on both sides. The answers, the whole rows, the stored records and the gaps must be the same.
//!
//! Every run draws new histories. `LEDGER_SEED=<n> cargo test --workspace --test ledger` repeats the one that failed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue panics")]
#![allow(unreachable_pub, reason = "nothing else uses it")]

mod history;
mod operation;
mod server;

use std::time::Instant;

use footprint_stack::{Stack, StackOptions};

use crate::history::History;
use crate::server::Server;

/// Histories of a run.
const HISTORIES: u64 = 200;
/// Steps of a history.
const STEPS: usize = 60;
/// Histories that run at once, each on its own connections.
const LANES: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_models_ledger_does_what_the_programs_sql_does() {
    let stack = Stack::start(StackOptions { postgres: true, ..StackOptions::none() }).unwrap();
    let started = Instant::now();
    let seeds: Vec<u64> = match std::env::var("LEDGER_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..HISTORIES).map(|_| rand::random()).collect(),
    };
    let settings = server::prepare(&stack).await;
    let lanes = (0..LANES).map(|lane| {
        let settings = settings.clone();
        let seeds: Vec<u64> = seeds.iter().copied().skip(lane as usize).step_by(LANES as usize).collect();
        tokio::spawn(async move {
            let mut server = Server::connect(&settings).await;
            let mut tally = history::Tally::default();
            for seed in seeds {
                let mut history = History::new(seed, &server).await;
                for step in 0..STEPS {
                    history.step(step, &mut server, &mut tally).await;
                }
                history.compare_tables(&server).await;
            }
            tally
        })
    });
    let mut tally = history::Tally::default();
    for lane in futures::future::join_all(lanes).await {
        tally.add(&lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())));
    }
    println!("{} histories of {STEPS} steps in {:?}: {tally}", seeds.len(), started.elapsed());
    if seeds.len() > 1 {
        tally.assert_both_ways();
    }
}
