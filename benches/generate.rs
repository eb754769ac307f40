//! The cost of a generated page move, which `footprint generate` and the set-up of the other benches pay.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use footprint_event::generate::{GenerateOptions, Generator};

fn generate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generate");
    group.throughput(Throughput::Elements(1));
    let mut generator = Generator::new(1, GenerateOptions::default());
    group.bench_function("one bad in a thousand", |bencher| {
        bencher.iter(|| generator.generate().payload.map(<[u8]>::len));
    });
}

criterion_group! { name = benches; config = support::criterion(); targets = generate }
criterion_main!(benches);
