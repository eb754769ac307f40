//! `--at`: where a running consumer listens for questions.

use anyhow::bail;
use footprint_service::config::Config;

/// The address that was given, or that of the configuration.
///
/// # Errors
/// The configured consumer does not listen.
pub(super) fn address(given: Option<&str>, config: &Config) -> anyhow::Result<String> {
    let address = given.map_or_else(|| reachable(&config.telemetry.listen), str::to_owned);
    if address.is_empty() {
        bail!("telemetry.listen is empty, so no consumer can be asked: set it, or give --at HOST:PORT");
    }
    Ok(address)
}

/// Where a consumer that listens at `listen` can be reached from this machine: nobody can connect to "all addresses" everywhere.
pub(super) fn reachable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_listens_everywhere_is_asked_here() {
        for (listen, at) in
            [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:1", "[::1]:1"), ("10.0.0.7:80", "10.0.0.7:80"), ("", "")]
        {
            assert_eq!(reachable(listen), at);
        }
    }
}
