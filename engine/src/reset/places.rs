//! Which step each fact of a journal speaks of, and where steps and branches begin.

use std::collections::HashMap;

use super::Numbered;
use crate::journal::{JournalError, Kind, Steps};
use crate::journal_v1 as stored;

/// Branch and position of a step.
pub(super) type At = (String, u32);

fn first<K: Eq + std::hash::Hash>(begins: &mut HashMap<K, u64>, key: K, number: u64) {
    begins.entry(key).and_modify(|first| *first = (*first).min(number)).or_insert(number);
}

/// The place that each fact speaks of, and where steps and branches begin.
pub(super) struct Places {
    pub(super) of: HashMap<u64, At>,
    /// The first fact of each step.
    pub(super) begun: HashMap<At, u64>,
    /// The same, or where code came to the step again after a reset kept it.
    pub(super) steps: HashMap<At, u64>,
    branches: HashMap<String, u64>,
}

/// Where a step begins that a reset kept and that code has not come to since: after everything else.
const LATER: u64 = u64::MAX;

impl Places {
    pub(super) fn of(facts: &[Numbered]) -> Result<Self, JournalError> {
        let (steps, branches) = (HashMap::new(), HashMap::new());
        let mut places = Self { of: HashMap::new(), begun: HashMap::new(), steps, branches };
        // Where steps begin that a reset kept in doubt: with the attempt with which code came to them again.
        let mut kept: HashMap<At, u64> = HashMap::new();
        let mut known = Steps::default();
        for (number, fact) in facts {
            let Some(kind) = &fact.kind else { continue };
            if let Kind::Reset(stored::Reset { forgotten: Some(forgotten), .. }) = kind {
                let starts = forgotten.kept.iter().filter_map(|start| places.of.get(start));
                kept.extend(starts.map(|at| (at.clone(), LATER)));
            }
            let Some(step) = known.of(*number, kind)? else { continue };
            if let Kind::BranchStarted(branched) = kind {
                first(&mut places.branches, branched.path.clone(), *number);
            }
            let place = (step.branch.as_ref().to_owned(), step.position);
            if let (Kind::AttemptStarted(_), Some(begins)) = (kind, kept.get_mut(&place)) {
                *begins = (*begins).min(*number);
            }
            places.of.insert(*number, place);
        }
        for (number, place) in &places.of {
            let begins = kept.get(place).copied().unwrap_or(*number);
            first(&mut places.begun, place.clone(), *number);
            first(&mut places.steps, place.clone(), begins);
            for (end, _) in place.0.match_indices('/').chain([(place.0.len(), "")]) {
                first(&mut places.branches, place.0[..end].to_owned(), begins);
            }
        }
        Ok(places)
    }

    pub(super) fn get(&self, number: u64) -> Option<(&String, u32)> {
        self.of.get(&number).map(|(branch, position)| (branch, *position))
    }

    pub(super) fn first_of_step(&self, branch: &str, position: u32) -> u64 {
        self.steps.get(&(branch.to_owned(), position)).copied().unwrap_or(0)
    }

    pub(super) fn first_of_branch(&self, branch: &str) -> u64 {
        self.branches.get(branch).copied().unwrap_or(0)
    }
}
