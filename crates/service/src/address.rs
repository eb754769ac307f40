//! Where a server is. Turns a host's name or address, with IPv6 in brackets or without, into addresses. If there are several,
//! each is tried in turn with its share of the time, so that an address which accepts and stays silent does not hide the next
//! one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};

/// How long it may take to resolve a name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried, at most. With more, each would have too little time.
const ADDRESSES_MAX: usize = 8;

/// The host without the brackets of an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// `host:port` as in a URL or a message: an IPv6 address in brackets.
pub fn authority(host: &str, port: u16) -> String {
    let host = bare(host);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether the host is this machine.
pub fn is_local(host: &str) -> bool {
    let host = bare(host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The addresses of a host, in the system's order.
///
/// # Errors
/// The name is unknown, or the answer does not come in time.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = bare(host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = timeout(RESOLVE_TIMEOUT, lookup_host((host, port))).await;
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {RESOLVE_TIMEOUT:?}"));
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.map_err(silent)?? {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// What a failed attempt means for the next address.
#[derive(Debug)]
pub(crate) enum Failure<E> {
    /// This address cannot be used. Another may be.
    Here(E),
    /// The server has answered, and refuses.
    Everywhere(E),
}

/// Why no address could be used.
#[derive(Debug)]
pub(crate) enum Unreached<E> {
    /// The last address that was tried failed.
    Failed(E),
    /// The last address that was tried was silent.
    Silent,
}

/// Tries each address with its share of the time left of `total`. An address that fails at once leaves its time to the others.
///
/// # Errors
/// No address could be used.
pub(crate) async fn try_each<T, E, A: Future<Output = Result<T, Failure<E>>>>(
    addresses: &[SocketAddr],
    total: Duration,
    mut attempt: impl FnMut(SocketAddr) -> A,
) -> Result<T, Unreached<E>> {
    let deadline = Instant::now() + total;
    let mut last = Unreached::Silent;
    for (index, &address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - index).unwrap_or(1);
        let share = deadline.saturating_duration_since(Instant::now()) / others;
        match timeout(share, attempt(address)).await {
            Ok(Ok(reached)) => return Ok(reached),
            Ok(Err(Failure::Everywhere(error))) => return Err(Unreached::Failed(error)),
            Ok(Err(Failure::Here(error))) => last = Unreached::Failed(error),
            Err(_) => last = Unreached::Silent,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_taken_off_and_put_on() {
        for (host, text) in [("::1", "[::1]:80"), ("[::1]", "[::1]:80"), ("db", "db:80"), ("10.0.0.1", "10.0.0.1:80")] {
            assert_eq!(authority(host, 80), text);
        }
        assert!(["::1", "[::1]", "127.0.0.1", "localhost"].into_iter().all(is_local) && !is_local("db"));
    }

    #[tokio::test]
    async fn an_address_needs_no_name_server() {
        for host in ["::1", "[::1]"] {
            assert_eq!(resolve(host, 80).await.unwrap(), ["[::1]:80".parse().unwrap()]);
        }
        assert_eq!(resolve("127.0.0.1", 80).await.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn each_address_has_its_share_and_a_refusal_ends_it() {
        let addresses: Vec<SocketAddr> = (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let (total, share) = (Duration::from_secs(3), Duration::from_secs(1));
        let began = Instant::now();
        let reached = try_each(&addresses, total, |address| async move {
            match address.port() {
                1 => std::future::pending().await,
                2 => Err(Failure::Here("refused")),
                port => Ok(port),
            }
        });
        assert!(matches!(reached.await, Ok(3)) && began.elapsed() >= share && began.elapsed() < total);

        let refused = try_each(&addresses[1..], total, |address| async move {
            if address.port() == 2 { Err(Failure::Everywhere("password")) } else { Ok(()) }
        });
        assert!(matches!(refused.await, Err(Unreached::Failed("password"))));

        let began = Instant::now();
        let silent = try_each(&addresses, share, |_| std::future::pending::<Result<(), Failure<()>>>());
        assert!(matches!(silent.await, Err(Unreached::Silent)) && began.elapsed() >= share);
    }
}
