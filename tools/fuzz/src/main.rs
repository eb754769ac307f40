//! Gives random bytes to code that reads untrusted bytes: `cargo fuzz decode --seconds 60`. It runs on stable Rust. A target
//! returns an outcome for each input. Inputs with a new outcome are kept and changed further. An input that breaks a rule is
//! written to a file, and `--input FILE` runs it again.

mod mutate;
mod targets;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;

use crate::mutate::Mutator;
use crate::targets::{Name, Target};

/// The clock is read once for this number of inputs.
const INPUTS_A_LOOK: u64 = 64;
/// Inputs that are kept to be changed further, at most.
const CORPUS_MAX: usize = 4_096;

/// Gives random bytes to code that reads untrusted bytes.
#[derive(Parser, Debug)]
struct Args {
    /// The target.
    target: Name,
    /// How long it runs, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of the random numbers. By default it differs each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs the target on this one file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "seed"])]
    input: Option<PathBuf>,
    /// The directory for an input that breaks a rule.
    #[arg(long, value_name = "DIR", default_value = "target/fuzz")]
    failures: PathBuf,
}

/// The target's present input.
static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut target = args.target.open()?;
    if let Some(file) = &args.input {
        let input = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let outcome = target.read(&input);
        println!("{}: no rule is broken, outcome {outcome:016x}", args.target);
        return Ok(());
    }
    let seed = args.seed.unwrap_or_else(rand::random);
    keep_what_fails(&args.failures, format!("{}-{seed}", args.target))?;
    println!("{}: seed {seed}, {} s", args.target, args.seconds);
    let (inputs, outcomes) = run(&mut *target, seed, Duration::from_secs(args.seconds));
    println!("{}: {inputs} inputs, {outcomes} kinds of outcome, no rule is broken", args.target);
    Ok(())
}

/// The number of inputs, and the number of different outcomes.
fn run(target: &mut dyn Target, seed: u64, time: Duration) -> (u64, usize) {
    let mut mutator = Mutator::new(seed, target.seeds(), target.tokens());
    let (mut outcomes, mut inputs) = (HashSet::new(), 0);
    let begin = Instant::now();
    while inputs % INPUTS_A_LOOK != 0 || begin.elapsed() < time {
        let input = mutator.next();
        INPUT.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&input);
        let outcome = target.read(&input);
        inputs += 1;
        if outcomes.len() < CORPUS_MAX && outcomes.insert(outcome) {
            mutator.keep(input);
        }
    }
    (inputs, outcomes.len())
}

/// Before a panic ends the program, writes the input that caused it.
fn keep_what_fails(directory: &Path, name: String) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let file = directory.join(name);
    let previous_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        previous_hook(panic);
        let input = INPUT.lock().unwrap_or_else(PoisonError::into_inner);
        match std::fs::write(&file, &*input) {
            Ok(()) => eprintln!("its input is in {}; run it again with --input", file.display()),
            Err(error) => {
                eprintln!("{}: {error}; its input was {:?}", file.display(), input.escape_ascii().to_string())
            }
        }
    }));
    Ok(())
}
