fn main() {
    use footprint_model::config::{Budget, Config};
    let b = |f: fn(&mut Budget)| { let mut x = Budget::default(); f(&mut x); x };
    let config = Config { budget: b(|b| { b.crashes = 1; b.moves = 1; }), ..Config::default() };
    let out = footprint_model::check::check(&config, 2, 0);
    println!("{} {} {:?}", out.states, out.depth, out.took);
    if let Some((broken, steps)) = out.broken {
        let mut world = footprint_model::world::World::new(&config);
        for step in &steps { world.apply(&config, step); println!("{step:?}"); }
        println!("{broken:?} {world:#?}");
    }
}
