//! Faults that the services inject: errors before or after the effect, and delays.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tonic::{Code, Status};

use crate::shared::Shared;

/// The faults of calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// Chance from 0 to 1 that a call fails.
    pub error_rate: f64,
    /// What it fails with.
    pub code: Code,
    /// Chance from 0 to 1 that a failing call has had its effect.
    pub after_effect_rate: f64,
    /// Every call takes at least this long.
    pub delay: Duration,
    /// And up to this much longer, evenly spread.
    pub jitter: Duration,
}

impl Default for Faults {
    /// None.
    fn default() -> Self {
        Self {
            error_rate: 0.0,
            code: Code::Unavailable,
            after_effect_rate: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
        }
    }
}

/// Decided for one call.
#[derive(Clone, Debug)]
pub(crate) struct Lot {
    pub(crate) delay: Duration,
    pub(crate) failure: Option<(When, Status)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    BeforeEffect,
    AfterEffect,
}

/// Faults by target: a method path, a full service name, or `""` for everything. The narrowest counts. Clones share it.
#[derive(Clone)]
pub struct FaultBook(Shared<Book>);

struct Book {
    start: BTreeMap<String, Faults>,
    now: BTreeMap<String, Faults>,
    dice: StdRng,
}

impl FaultBook {
    pub(crate) fn new(start: BTreeMap<String, Faults>, seed: u64) -> Self {
        Self(Shared::new(Book { now: start.clone(), start, dice: StdRng::seed_from_u64(seed) }))
    }

    /// Replaces the faults of a target.
    pub fn set(&self, target: &str, faults: Faults) {
        self.0.with(|book| book.now.insert(target.to_owned(), faults));
    }

    /// Back to the faults of the start.
    pub fn reset(&self) {
        self.0.with(|book| book.now = book.start.clone());
    }

    pub(crate) fn draw(&self, path: &str) -> Lot {
        self.0.with(|book| {
            let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
            let faults =
                [path, service, ""].iter().find_map(|target| book.now.get(*target)).copied().unwrap_or_default();
            let dice = &mut book.dice;
            let delay = faults.delay + faults.jitter.mul_f64(dice.random::<f64>());
            let failure = (dice.random::<f64>() < faults.error_rate).then(|| {
                let after = dice.random::<f64>() < faults.after_effect_rate;
                let when = if after { When::AfterEffect } else { When::BeforeEffect };
                (when, Status::new(faults.code, "injected fault"))
            });
            Lot { delay, failure }
        })
    }
}

impl std::fmt::Debug for FaultBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.with(|book| f.debug_struct("FaultBook").field("now", &book.now).finish_non_exhaustive())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/a.v1.A/Do";

    fn always(code: Code, after_effect_rate: f64) -> Faults {
        Faults { error_rate: 1.0, code, after_effect_rate, ..Faults::default() }
    }

    fn failure(book: &FaultBook) -> Option<(When, Code)> {
        book.draw(PATH).failure.map(|(when, status)| (when, status.code()))
    }

    #[test]
    fn the_narrowest_target_counts() {
        let book = FaultBook::new(BTreeMap::new(), 1);
        assert_eq!(failure(&book), None);
        book.set("", always(Code::Internal, 0.0));
        assert_eq!(failure(&book), Some((When::BeforeEffect, Code::Internal)));
        book.set("a.v1.A", always(Code::Aborted, 1.0));
        assert_eq!(failure(&book), Some((When::AfterEffect, Code::Aborted)));
        book.set(PATH, Faults::default());
        assert_eq!(failure(&book), None);
    }

    #[test]
    fn a_reset_brings_back_the_faults_of_the_start() {
        let book = FaultBook::new(BTreeMap::from([(String::new(), always(Code::Unavailable, 0.0))]), 1);
        book.set("", Faults::default());
        assert_eq!(failure(&book), None);
        book.reset();
        assert_eq!(failure(&book), Some((When::BeforeEffect, Code::Unavailable)));
    }

    #[test]
    fn the_same_seed_draws_the_same_lots() {
        let lots = |seed| {
            let faults = Faults { error_rate: 0.5, after_effect_rate: 0.5, ..Faults::default() };
            let book = FaultBook::new(BTreeMap::from([(String::new(), faults)]), seed);
            (0..64).map(|_| failure(&book)).collect::<Vec<_>>()
        };
        assert_eq!(lots(7), lots(7));
        assert_ne!(lots(7), lots(8));
    }

    #[test]
    fn a_delay_stays_within_its_jitter() {
        let (delay, jitter) = (Duration::from_millis(20), Duration::from_millis(10));
        let book = FaultBook::new(BTreeMap::from([(String::new(), Faults { delay, jitter, ..Faults::default() })]), 1);
        for _ in 0..100 {
            assert!((delay..=delay + jitter).contains(&book.draw(PATH).delay));
        }
    }
}
