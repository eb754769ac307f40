//! `footprint health`: asks a running consumer whether it is ready, for containers and scripts.

use footprint_service::config::Config;
use footprint_service::console::Output;
use footprint_service::pages::{ReadyRoute, ready_at};

use super::{Exit, at};

/// Ask a running consumer whether it can store records.
///
/// Prints one line for each route, and one for each component that does not work, with what to do. Exit status 0 if it is ready,
/// else 1.
#[derive(clap::Args, Debug)]
pub struct HealthArgs {
    /// Where it listens, HOST:PORT [default: telemetry.listen].
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Nobody listens there, or the answer is not a consumer's.
pub async fn run(args: &HealthArgs, config: &Config, output: &mut Output) -> anyhow::Result<Exit> {
    let address = at::address(args.at.as_deref(), config)?;
    let page = ready_at(&address).await?;
    for route in &page.routes {
        output.line(line(route));
        for found in route.components.iter().filter(|component| component.state != "ok") {
            let what_to_do =
                if found.what_to_do.is_empty() { String::new() } else { format!("; {}", found.what_to_do) };
            let since = found.since.as_deref().unwrap_or("the start");
            output.line(format_args!("  {} {} since {since}: {}{what_to_do}", found.component, found.state, found.why));
        }
    }
    Ok(if page.ready { Exit::Done } else { Exit::Failed })
}

fn line(route: &ReadyRoute) -> String {
    let state = match route {
        ReadyRoute { ready: true, .. } => "ready",
        ReadyRoute { ended: true, .. } => "ended",
        ReadyRoute { draining: true, .. } => "draining",
        ReadyRoute { joined: false, .. } => "has not joined its consumer group",
        _ => "not ready",
    };
    let partitions = if route.partitions == 1 { "partition" } else { "partitions" };
    format!("route {}: {state}, {} {partitions}", route.route, route.partitions)
}
