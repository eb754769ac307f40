//! What jemalloc, the program's allocator, counts.

use tikv_jemalloc_ctl::{epoch, stats};

/// Bytes by kind. Empty if the program runs with another allocator.
pub(crate) fn bytes() -> Vec<(&'static str, usize)> {
    // without this, jemalloc gives the numbers of the last time
    if epoch::advance().is_err() {
        return Vec::new();
    }
    let kinds = [
        ("allocated", stats::allocated::read()),
        ("resident", stats::resident::read()),
        ("retained", stats::retained::read()),
    ];
    kinds.into_iter().filter_map(|(kind, bytes)| Some((kind, bytes.ok()?))).collect()
}
