use footprint_model::guard::{Guard, Guards};
fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    for &guard in Guard::ALL {
        let w = footprint_model::simulate::walk_many(1, 30_000, 2, Guards::all().without(guard));
        println!("{guard}: {} seeds: {:?}", w.seeds, w.failure.map(|f| (f.seed, f.broken, f.steps.len())));
    }
}
