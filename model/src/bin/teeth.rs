use footprint_model::guard::Guard;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let max: usize = args.get(1).and_then(|a| a.parse().ok()).unwrap_or(1_500_000);
    std::panic::set_hook(Box::new(|_| {}));
    for &guard in Guard::ALL {
        if args.len() > 2 && !args[2..].iter().any(|a| *a == guard.to_string()) {
            continue;
        }
        let mut found = Vec::new();
        for scenario in footprint_model::scenario::all() {
            let mut config = scenario.config.clone();
            config.guards = config.guards.without(guard);
            let out = footprint_model::check::check(&config, 2, max);
            if let Some((broken, steps)) = out.broken {
                found.push(format!(
                    "{} {:?} in {} ({} states, {:?})",
                    scenario.name,
                    broken,
                    steps.len(),
                    out.states,
                    out.took
                ));
                if args.len() < 3 {
                    break;
                }
            }
        }
        println!("{guard}: {found:#?}");
    }
}
