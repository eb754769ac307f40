//! Free ports on 127.0.0.1, reserved as long as a server may want to use them again.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};

use crate::cache::{Cache, make_directory, open_lock, try_lock};
use crate::error::StackError;
use crate::secret;

/// Ports are taken from below the range that the kernel uses for outgoing connections (32768 by default). Otherwise a client of
/// another server could get the port of a server that is just being restarted.
const LOW: u16 = 20_000;
const HIGH_DEFAULT: u16 = 32_000;

/// A port that no other stack of this cache will choose while this value lives, even if nothing listens on it.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _lease: File,
}

impl Port {
    /// Finds a free port, starting at a random one.
    pub(crate) fn lease(cache: &Cache) -> Result<Self, StackError> {
        let directory = cache.path("ports");
        make_directory(&directory)?;
        let high = high();
        let count = high - LOW;
        let first = u16::from_le_bytes(secret::random()?) % count;
        for step in 0..count {
            let number = LOW + ((u32::from(first) + u32::from(step)) % u32::from(count)) as u16;
            let path = directory.join(number.to_string());
            let lease = open_lock(&path)?;
            if try_lock(&lease, &path)? && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lease: lease });
            }
        }
        Err(StackError::NoPort { low: LOW, high })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

fn high() -> u16 {
    let ephemeral_low = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_ascii_whitespace().next()?.parse::<u16>().ok());
    // If a machine's outgoing range begins at or below ours, no place is safe, and ours is as good as any.
    ephemeral_low.filter(|low| *low > LOW + 1_000).unwrap_or(HIGH_DEFAULT).min(HIGH_DEFAULT)
}
