use footprint_model::guard::Guards;
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let t = std::time::Instant::now();
    let w = footprint_model::simulate::walk_many(args[0], args[1], 2, Guards::all());
    println!("{} seeds {} steps {} faults {:?}", w.seeds, w.steps, w.faults, t.elapsed());
    if let Some(f) = w.failure { for s in &f.steps { println!("  {s:?}"); } println!("{} {:?}", f.seed, f.broken); }
}
