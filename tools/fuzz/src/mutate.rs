//! Makes new inputs from old ones. Pure: the same seed and the same calls give the same inputs.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Bytes of an input, at most.
const INPUT_BYTES_MAX: usize = 4_096;
/// Changes of one input, at most.
const CHANGES_MAX: usize = 6;
/// Bytes at the ends of ranges, and bytes with a meaning in many formats.
const BYTES: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'{', b'}', b'-', b'0', b' '];

/// Makes changed copies of inputs.
pub(crate) struct Mutator {
    random: SmallRng,
    corpus: Vec<Vec<u8>>,
    tokens: Vec<Vec<u8>>,
}

impl Mutator {
    /// Starts with the inputs of `corpus`, and inserts pieces of `tokens`.
    pub(crate) fn new(seed: u64, corpus: Vec<Vec<u8>>, tokens: Vec<Vec<u8>>) -> Self {
        assert!(!corpus.is_empty() && !tokens.is_empty(), "there is nothing to start with");
        Self { random: SmallRng::seed_from_u64(seed), corpus, tokens }
    }

    /// Keeps an input to be changed further.
    pub(crate) fn keep(&mut self, input: Vec<u8>) {
        self.corpus.push(input);
    }

    /// The next input.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let at = self.random.random_range(0..self.corpus.len());
        let mut input = self.corpus[at].clone();
        for _ in 0..self.random.random_range(1..=CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.random_range(0..=input.len());
        let range = at..(at + self.random.random_range(0..16)).min(input.len());
        match self.random.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << self.random.random_range(0..8),
            1 if at < input.len() => input[at] = BYTES[self.random.random_range(0..BYTES.len())],
            2 => drop(input.drain(range)),
            3 => {
                let again = input[range].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                let other = &self.corpus[self.random.random_range(0..self.corpus.len())];
                let from = self.random.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            5 => {
                let random: Vec<u8> = (0..self.random.random_range(1..8)).map(|_| self.random.random()).collect();
                input.splice(at..at, random);
            }
            6 => input.truncate(at),
            _ => {
                let token = self.tokens[self.random.random_range(0..self.tokens.len())].clone();
                input.splice(at..at, token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_and_they_are_bounded() {
        let run = |seed| {
            let mut mutator = Mutator::new(seed, vec![b"seed".to_vec()], vec![vec![b'x'; INPUT_BYTES_MAX]]);
            let inputs: Vec<_> = (0..100).map(|_| mutator.next()).collect();
            inputs
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(1).iter().all(|input| input.len() <= INPUT_BYTES_MAX));
    }
}
