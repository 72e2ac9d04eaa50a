//! What an operator's retry forgets (semantics.md S4): the end of the failed step, and everything that came of it.
//! What went on beside it, other items of the same fan-outs above all, keeps its results.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::journal::{JournalError, Kind};
use crate::journal_v1 as stored;
use crate::undo;

type Numbered = (u64, stored::Fact);
type Incarnations = BTreeMap<(Arc<str>, u32), u32>;

/// Applies every reset to the facts before it; also says how often each step was reset, counted from 1.
pub(crate) fn apply(facts: Vec<Numbered>) -> Result<(Vec<Numbered>, Incarnations), JournalError> {
    let mut incarnations = BTreeMap::new();
    if !facts.iter().any(|(_, fact)| matches!(fact.kind, Some(Kind::Reset(_)))) {
        return Ok((facts, incarnations));
    }
    let mut kept: Vec<Numbered> = Vec::with_capacity(facts.len());
    for (sequence, fact) in facts {
        if let Some(Kind::Reset(reset)) = &fact.kind {
            forget(&mut kept, reset, sequence, &mut incarnations)?;
        }
        kept.push((sequence, fact));
    }
    Ok((kept, incarnations))
}

fn forget(
    kept: &mut Vec<Numbered>,
    reset: &stored::Reset,
    sequence: u64,
    incarnations: &mut Incarnations,
) -> Result<(), JournalError> {
    if reset.keeps_ending {
        return Ok(());
    }
    kept.retain(|(_, fact)| !matches!(fact.kind, Some(Kind::Ending(_) | Kind::Ended(_))));
    // What was taken back is made anew, and so is all that came of it (semantics.md S4).
    for (branch, position) in take_undos(kept, sequence)? {
        let target = stored::Place { branch, position, name: String::new() };
        forget_from(kept, &target, true, sequence, incarnations)?;
    }
    match reset.place.as_ref().filter(|place| !place.name.is_empty()) {
        Some(target) => forget_from(kept, target, reset.new_incarnation, sequence, incarnations),
        None => Ok(()),
    }
}

/// Takes all undos out of the facts. Gives the places of the steps that they took back, in the order of their starts.
fn take_undos(kept: &mut Vec<Numbered>, sequence: u64) -> Result<Vec<(String, u32)>, JournalError> {
    let mut undos = HashMap::new();
    let mut undone = BTreeSet::new();
    for (number, fact) in kept.iter() {
        match &fact.kind {
            Some(Kind::StepStarted(started)) if started.undoes != 0 => {
                undos.insert(*number, started.undoes);
            }
            Some(Kind::StepSettled(settled)) => {
                let done = settled.undone || matches!(settled.result, Some(stored::step_settled::Result::Response(_)));
                undone.extend(undos.get(&settled.step).filter(|_| done));
            }
            _ => {}
        }
    }
    if undos.is_empty() {
        return Ok(Vec::new());
    }
    let places = Places::of(kept, sequence)?;
    let taken_back = undone.into_iter().filter_map(|step| places.of.get(&step).cloned()).collect();
    kept.retain(|(number, _)| places.get(*number).is_none_or(|(branch, _)| !undo::is_branch(branch)));
    Ok(taken_back)
}

/// Forgets the end of one step, or all of it, and what came of it.
fn forget_from(
    kept: &mut Vec<Numbered>,
    target: &stored::Place,
    new_incarnation: bool,
    sequence: u64,
    incarnations: &mut Incarnations,
) -> Result<(), JournalError> {
    let places = Places::of(kept, sequence)?;
    if !places.steps.contains_key(&(target.branch.clone(), target.position)) {
        // It came of a step that was forgotten before it.
        return Ok(());
    }
    let first = places.first_of_step(&target.branch, target.position);
    let settled = kept
        .iter()
        .filter(|(number, fact)| {
            matches!(&fact.kind, Some(Kind::StepSettled(_)))
                && places
                    .get(*number)
                    .is_some_and(|(branch, position)| *branch == target.branch && position == target.position)
        })
        .map(|(number, _)| *number)
        .next_back()
        .unwrap_or(first);
    kept.retain_mut(|(number, fact)| {
        let Some((branch, position)) = places.get(*number) else { return true };
        if *branch == target.branch && position == target.position {
            if new_incarnation {
                return false;
            }
            // With the same key the start stays, and is sent again from its stored bytes.
            if let Some(Kind::StepSettled(settled)) = &mut fact.kind {
                fact.kind = Some(Kind::AttemptFailed(unsettled(std::mem::take(settled))));
            }
            return true;
        }
        // Steps that went on beside the failed one did not come of it: their results stay.
        let came_after = if *branch == target.branch {
            position > target.position && places.first_of_step(branch, position) > settled
        } else if is_above(branch, &target.branch) {
            places.first_of_step(branch, position) > settled
        } else {
            !is_beside(branch, &target.branch) && places.first_of_branch(outermost(branch, &target.branch)) > settled
        };
        // What came of the failure is another effect now.
        if came_after && matches!(fact.kind, Some(Kind::StepStarted(_) | Kind::ChildStarted(_))) {
            bump(incarnations, branch, position);
        }
        !came_after
    });
    if new_incarnation {
        bump(incarnations, &target.branch, target.position);
    }
    Ok(())
}

/// What stays of the end of a step that is made again: how its last attempt went.
fn unsettled(settled: stored::StepSettled) -> stored::AttemptFailed {
    let outcome = match settled.outcome() {
        // It was done, only the answer was of no use.
        stored::Outcome::Unspecified => stored::Outcome::Ambiguous,
        known => known,
    };
    let failure = match settled.result {
        Some(stored::step_settled::Result::Failure(failure)) => Some(failure),
        _ => None,
    };
    stored::AttemptFailed {
        step: settled.step,
        place: settled.place,
        attempt: settled.attempts,
        outcome: outcome.into(),
        failure,
        retry_at_micros: 0,
        given_back: false,
    }
}

fn bump(incarnations: &mut Incarnations, branch: &str, position: u32) {
    *incarnations.entry((branch.into(), position)).or_insert(1) += 1;
}

/// Whether a branch contains another.
fn is_above(branch: &str, inner: &str) -> bool {
    branch != inner && (branch.is_empty() || inner.strip_prefix(branch).is_some_and(|rest| rest.starts_with('/')))
}

/// The outermost branch around this one that is not around the other as well.
fn outermost<'b>(branch: &'b str, other: &str) -> &'b str {
    let ends = branch.match_indices('/').map(|(at, _)| at).chain([branch.len()]);
    let mut around = ends.map(|end| &branch[..end]);
    around.find(|outer| *outer != other && !is_above(outer, other)).unwrap_or(branch)
}

/// Whether two branches belong to one fan-out, or stand below two branches that do.
fn is_beside(branch: &str, other: &str) -> bool {
    let differing = branch.split('/').zip(other.split('/')).find(|(left, right)| left != right);
    let name = |component: &str| component.split('[').next().unwrap_or_default().to_owned();
    differing.is_some_and(|(left, right)| !left.is_empty() && name(left) == name(right))
}

/// The place that each fact speaks of, and where steps and branches begin.
struct Places {
    of: HashMap<u64, (String, u32)>,
    steps: HashMap<(String, u32), u64>,
    branches: HashMap<String, u64>,
}

impl Places {
    fn of(facts: &[Numbered], reset: u64) -> Result<Self, JournalError> {
        let mut places = Self { of: HashMap::new(), steps: HashMap::new(), branches: HashMap::new() };
        for (number, fact) in facts {
            let (step, place) = match &fact.kind {
                Some(Kind::StepStarted(started)) => (0, started.place.as_ref()),
                Some(Kind::SleepStarted(sleep)) => (0, sleep.place.as_ref()),
                Some(Kind::Recorded(recorded)) => (0, recorded.place.as_ref()),
                Some(Kind::ChildStarted(child)) => (0, child.place.as_ref()),
                Some(Kind::SignalAwaited(wait)) => (0, wait.place.as_ref()),
                Some(Kind::FannedOut(fanned)) => (0, fanned.place.as_ref()),
                Some(Kind::Branched(branched)) => {
                    places.branches.entry(branched.path.clone()).or_insert(*number);
                    (0, branched.place.as_ref())
                }
                Some(Kind::Raced(raced)) => (0, raced.place.as_ref()),
                Some(Kind::AttemptStarted(attempt)) => (attempt.step, None),
                Some(Kind::AttemptFailed(failed)) => (failed.step, failed.place.as_ref()),
                Some(Kind::StepSettled(settled)) => (settled.step, settled.place.as_ref()),
                Some(Kind::Decided(decided)) => (decided.step, None),
                Some(Kind::BackOffSkipped(skipped)) => (skipped.step, skipped.place.as_ref()),
                _ => continue,
            };
            let place = match (step, place) {
                (0, place) => place.map(|place| (place.branch.clone(), place.position)).unwrap_or_default(),
                (step, _) => {
                    places.of.get(&step).cloned().ok_or(JournalError::UnknownStep { sequence: reset, step })?
                }
            };
            places.steps.entry(place.clone()).or_insert(*number);
            for (end, _) in place.0.match_indices('/').chain([(place.0.len(), "")]) {
                places.branches.entry(place.0[..end].to_owned()).or_insert(*number);
            }
            places.of.insert(*number, place);
        }
        Ok(places)
    }

    fn get(&self, number: u64) -> Option<(&String, u32)> {
        self.of.get(&number).map(|(branch, position)| (branch, *position))
    }

    fn first_of_step(&self, branch: &str, position: u32) -> u64 {
        self.steps.get(&(branch.to_owned(), position)).copied().unwrap_or(0)
    }

    fn first_of_branch(&self, branch: &str) -> u64 {
        self.branches.get(branch).copied().unwrap_or(0)
    }
}
