//! Where the engine's random numbers come from: the system, or a seed, so that what a test saw can be seen again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::RngExt;

/// A source of random numbers. Clones of a seeded one continue with the same sequence.
#[derive(Clone, Debug, Default)]
pub struct RandomSource(Option<Arc<AtomicU64>>);

impl RandomSource {
    /// Numbers that no one can guess.
    pub fn system() -> Self {
        Self(None)
    }

    /// The same numbers for the same seed. For tests: ids of runs repeat as well.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(seed))))
    }

    fn next(&self) -> u64 {
        let Some(state) = &self.0 else { return rand::rng().random() };
        // SplitMix64.
        let mut z = state.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to 1.
    pub(crate) fn share(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double has")]
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }

    pub(crate) fn bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes()[..2]);
        bytes
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_the_system_does_not() {
        let drawn = |random: RandomSource| (0..4).map(|_| random.bytes()).collect::<Vec<_>>();
        assert_eq!(drawn(RandomSource::seeded(7)), drawn(RandomSource::seeded(7)));
        assert_ne!(drawn(RandomSource::seeded(7)), drawn(RandomSource::seeded(8)));
        assert_ne!(drawn(RandomSource::system()), drawn(RandomSource::system()));
    }

    #[test]
    fn shares_lie_between_0_and_1_and_spread() {
        for random in [RandomSource::system(), RandomSource::seeded(1)] {
            let shares: Vec<f64> = (0..1_000).map(|_| random.share()).collect();
            assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
            assert!(shares.iter().any(|share| *share < 0.1) && shares.iter().any(|share| *share > 0.9));
        }
    }
}
