//! Questions to Kafka from new clients. Every start waits for them.

use std::time::{Duration, Instant};

use footprint_service::config::Config;
use footprint_service::kafka::Inquirer;

use crate::support::{calm, stack};

/// The story: every second start waited for a second, because librdkafka slept before it had connected to any broker.
#[test]
fn a_young_client_knows_the_clusters_id_with_the_first_answer() {
    const CLIENTS: usize = 20;
    let _up = calm();
    let mut config = Config::load(None, &[]).unwrap();
    config.kafka.bootstrap_servers = stack().kafka().unwrap().bootstrap().to_owned();
    let took: Vec<Duration> = (0..CLIENTS)
        .map(|_| {
            let started = Instant::now();
            Inquirer::new(&config.kafka).unwrap().cluster_id(Duration::from_secs(10)).unwrap();
            started.elapsed()
        })
        .collect();
    let late = took.iter().filter(|&&took| took > Duration::from_millis(500)).count();
    assert!(late <= CLIENTS / 10, "{late} of {CLIENTS} waited for something else: {took:?}");
}
