fn main() {
    use footprint_model::config::{Budget, Config};
    let args: Vec<String> = std::env::args().collect();
    let mut budget = Budget::default();
    let mut config = Config::default();
    let mut max = 3_000_000;
    for arg in &args[1..] {
        let (k, v) = arg.split_once('=').unwrap_or((arg, ""));
        let n: u8 = v.parse().unwrap_or(0);
        match k {
            "crashes" => budget.crashes = n,
            "retakes" => budget.retakes = n,
            "moves" => budget.moves = n,
            "lost" => budget.lost_answers = n,
            "late" => budget.late = n,
            "failures" => budget.failures = n,
            "ages" => budget.ages = n,
            "forgets" => budget.forgets = n,
            "ch" => budget.clickhouse_crashes = n,
            "pg" => budget.postgres_crashes = n,
            "backups" => budget.backups = n,
            "restores" => budget.restores = n,
            "replaces" => budget.replaces = n,
            "switches" => budget.switches = n,
            "consumers" => config.consumers = n.into(),
            "records" => {
                config.records = n.into();
                config.first_end = n.into();
            }
            "first" => config.first_end = n.into(),
            "batch" => config.batch_max = n.into(),
            "queue" => config.queue_max = n.into(),
            "max" => max = v.parse().unwrap(),
            "bad" => config.bad.0 = n.into(),
            "last" => config.token_first = false,
            "slow" => config.slow_commits = true,
            "spg" => config.switch_postgres = true,
            "skip" => config.when_switched_on = footprint::config::WhenSwitchedOn::Skip,
            "no" => {
                let g = *footprint_model::guard::Guard::ALL.iter().find(|g| g.to_string() == v).unwrap();
                config.guards = config.guards.without(g);
            }
            _ => panic!("{k}"),
        }
    }
    config.budget = budget;
    let out = footprint_model::check::check(&config, 2, max);
    println!("{:?} states {} depth {} {:?}", &args[1..], out.states, out.depth, out.took);
    if let Some((broken, steps)) = out.broken {
        let mut world = footprint_model::world::World::new(&config);
        for step in &steps {
            world.apply(&config, step);
            println!("  {step:?}");
        }
        println!("{broken:?}");
        if std::env::var("W").is_ok() {
            println!("{world:?}");
        }
    }
}
