//! A seeded random model of the engine: random programs, services that fail in every way, crashes, lost stores and
//! operators, in virtual time.
//!
//! `ENGINE_MODEL_SEEDS` says how many seeds are tried (200), `ENGINE_MODEL_FIRST` where they begin (0).

mod check;
mod messages;
mod program;
mod regressions;
mod simulate;
mod workflow;

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn random_programs_keep_every_promise_whatever_fails() {
    let (first, seeds) = (number("ENGINE_MODEL_FIRST", 0), number("ENGINE_MODEL_SEEDS", 200));
    let mut broken = Vec::new();
    for seed in first..first + seeds {
        let problems = simulate::try_seed(seed);
        if !problems.is_empty() {
            broken.push(format!("seed {seed}: {problems:#?}"));
        }
    }
    assert!(broken.is_empty(), "{} of {seeds} seeds broke a promise:\n{}", broken.len(), broken.join("\n"));
}
