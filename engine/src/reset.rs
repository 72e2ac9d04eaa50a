//! What an operator's retry forgets (semantics.md S4, S7): the end of the failed step, and everything that came of it.
//! What continued beside it, other items of the same fan-outs above all, keeps its results. An effect in doubt is never
//! forgotten: its start stays, and it is open again under its key.
//!
//! A reset is decided once and says in its fact what it forgets. Those of release 0.1.0 do not: that is derived from their
//! place, whenever the journal is read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use crate::failure::Code;
use crate::journal::{JournalError, Kind};
use crate::journal_v1 as stored;
use crate::undo;

mod branches;
mod places;

use branches::{is_above, is_beside, outermost};
use places::{At, Places};

type Numbered = (u64, stored::Fact);
type Incarnations = BTreeMap<(Arc<str>, u32), u32>;

/// Applies every reset to the facts before it; also says how often each step was reset, counted from 1.
pub(crate) fn apply(facts: Vec<Numbered>) -> Result<(Vec<Numbered>, Incarnations), JournalError> {
    apply_each(facts, |_, _| Ok(()))
}

/// As [`apply`]; each reset that forgets a fact is shown the facts before and after it.
pub(crate) fn apply_each(
    facts: Vec<Numbered>,
    mut forgets: impl FnMut(Vec<Numbered>, &[Numbered]) -> Result<(), JournalError>,
) -> Result<(Vec<Numbered>, Incarnations), JournalError> {
    let mut incarnations = BTreeMap::new();
    if !facts.iter().any(|(_, fact)| matches!(fact.kind, Some(Kind::Reset(_)))) {
        return Ok((facts, incarnations));
    }
    let mut kept: Vec<Numbered> = Vec::with_capacity(facts.len());
    for (sequence, fact) in facts {
        if let Some(Kind::Reset(reset)) = &fact.kind {
            let before = kept.clone();
            match &reset.forgotten {
                Some(forgotten) => take(&mut kept, forgotten, &mut incarnations),
                None => forget(&mut kept, reset, &mut incarnations, &BTreeSet::new())?,
            }
            if kept.len() < before.len() {
                forgets(before, &kept)?;
            }
        }
        kept.push((sequence, fact));
    }
    Ok((kept, incarnations))
}

/// Takes out of the facts what a reset says.
fn take(kept: &mut Vec<Numbered>, forgotten: &stored::Forgotten, incarnations: &mut Incarnations) {
    let reopened: BTreeSet<u64> = forgotten.reopened.iter().copied().collect();
    let mut spans = forgotten.facts.iter().peekable();
    kept.retain_mut(|(number, fact)| {
        while spans.next_if(|span| span.last < *number).is_some() {}
        if spans.peek().is_some_and(|span| span.first <= *number) {
            return false;
        }
        if reopened.contains(number) {
            reopen(fact);
        }
        true
    });
    for stored::Renewed { branch, position, incarnation } in &forgotten.renewed {
        incarnations.insert((branch.as_str().into(), *position), *incarnation);
    }
}

/// What a reset would forget, and what of that could still act.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) forgotten: stored::Forgotten,
    /// Paths of effects in doubt that followed from the step: they are not forgotten, and continue when code comes to them.
    pub(crate) in_doubt: Vec<String>,
    /// Children whose end the journal does not have, by the path of their step.
    pub(crate) children: Vec<(String, Uuid)>,
}

/// Decides what a reset forgets. `in_doubt` are the effects that may have happened.
///
/// # Errors
/// If the facts are no journal.
pub(crate) fn plan(facts: Vec<Numbered>, reset: &stored::Reset, in_doubt: &BTreeSet<At>) -> Result<Plan, JournalError> {
    let (before, known) = apply(facts)?;
    let (mut after, mut incarnations) = (before.clone(), known.clone());
    if !reset.keeps_ending && reset.place.as_ref().is_none_or(|place| place.name.is_empty()) {
        reopen_undelivered(&mut after)?;
    }
    forget(&mut after, reset, &mut incarnations, in_doubt)?;
    let places = Places::of(&before)?;
    let mut plan = Plan::default();
    let mut left = after.iter().peekable();
    let mut ended = BTreeSet::new();
    for (number, fact) in &before {
        if let Some(Kind::StepSettled(settled)) = &fact.kind {
            ended.insert(settled.step);
        }
        match left.next_if(|(kept, _)| kept == number) {
            None => match plan.forgotten.facts.last_mut() {
                Some(span) if span.last + 1 == *number => span.last = *number,
                _ => plan.forgotten.facts.push(stored::Span { first: *number, last: *number }),
            },
            Some((_, kept)) if kept.kind != fact.kind => plan.forgotten.reopened.push(*number),
            Some(_) => {}
        }
    }
    let is_forgotten = |number: u64| {
        let spans = &plan.forgotten.facts;
        spans.iter().any(|span| (span.first..=span.last).contains(&number))
    };
    for (_, fact) in before.iter().filter(|(number, _)| is_forgotten(*number) && !ended.contains(number)) {
        if let Some(Kind::ChildStarted(stored::ChildStarted { place: Some(place), run, .. })) = &fact.kind {
            plan.children.extend(Uuid::try_parse(run).ok().map(|run| (path(place), run)));
        }
    }
    let target = reset.place.as_ref().map(|place| (place.branch.clone(), place.position));
    let mut without = before.clone();
    forget(&mut without, reset, &mut BTreeMap::new(), &BTreeSet::new())?;
    let left: BTreeSet<u64> = without.into_iter().map(|(number, _)| number).collect();
    let stays: BTreeSet<u64> = after.iter().map(|(number, _)| *number).collect();
    for (number, fact) in before.iter().filter(|(number, _)| !left.contains(number)) {
        if matches!(fact.kind, Some(Kind::Recorded(_))) && stays.contains(number) {
            plan.forgotten.kept.push(*number);
        }
        let Some(Kind::StepStarted(stored::StepStarted { place: Some(place), .. })) = &fact.kind else { continue };
        let Some(at) = places.of.get(number).filter(|at| in_doubt.contains(*at)) else { continue };
        if stays.contains(number) {
            plan.forgotten.kept.push(*number);
        }
        if Some(at) != target.as_ref() {
            plan.in_doubt.push(path(place));
        }
    }
    plan.forgotten.renewed = incarnations
        .into_iter()
        .filter(|(at, incarnation)| known.get(at) != Some(incarnation))
        .map(|((branch, position), incarnation)| stored::Renewed { branch: branch.to_string(), position, incarnation })
        .collect();
    Ok(plan)
}

fn path(place: &stored::Place) -> String {
    crate::step_id::path(&place.branch, &place.name, place.position)
}

/// Failures that the end of the run made of its steps, or that came while it was ending: code never saw them, and they are
/// no results for a run that continues.
fn reopen_undelivered(kept: &mut [Numbered]) -> Result<(), JournalError> {
    let places = Places::of(kept)?;
    let mut ending = false;
    for (number, fact) in kept {
        let cut_off = match &fact.kind {
            Some(Kind::Ending(_)) => {
                ending = true;
                false
            }
            Some(Kind::StepSettled(settled)) => is_cut_off(settled, ending),
            _ => false,
        };
        if cut_off && places.get(*number).is_some_and(|(branch, _)| !undo::is_branch(branch)) {
            reopen(fact);
        }
    }
    Ok(())
}

fn is_cut_off(settled: &stored::StepSettled, ending: bool) -> bool {
    let Some(stored::step_settled::Result::Failure(failure)) = &settled.result else { return false };
    let by_end = settled.undelivered
        && settled.outcome() == stored::Outcome::NotSent
        && Code::from_i32(failure.code) == Code::Cancelled;
    settled.message == 0 && (ending || by_end)
}

/// With the same key the start of a step stays, and is sent again from its stored bytes.
fn reopen(fact: &mut stored::Fact) {
    if let Some(Kind::StepSettled(settled)) = &mut fact.kind {
        fact.kind = Some(Kind::AttemptFailed(unsettled(std::mem::take(settled))));
    }
}

fn forget(
    kept: &mut Vec<Numbered>,
    reset: &stored::Reset,
    incarnations: &mut Incarnations,
    in_doubt: &BTreeSet<At>,
) -> Result<(), JournalError> {
    if reset.keeps_ending {
        return Ok(());
    }
    kept.retain(|(_, fact)| !matches!(fact.kind, Some(Kind::Ending(_) | Kind::Ended(_))));
    // What was taken back is made again as another effect, and so is all that came of it (semantics.md S4).
    for (branch, position) in take_undos(kept)? {
        let target = stored::Place { branch, position, name: String::new() };
        forget_from(kept, &target, true, incarnations, in_doubt)?;
    }
    match reset.place.as_ref().filter(|place| !place.name.is_empty()) {
        Some(target) => forget_from(kept, target, reset.new_incarnation, incarnations, in_doubt),
        None => Ok(()),
    }
}

/// Takes all undos out of the facts. Gives the places of the steps that they took back, in the order of their starts.
fn take_undos(kept: &mut Vec<Numbered>) -> Result<Vec<(String, u32)>, JournalError> {
    let mut undos = HashMap::new();
    let mut undone = BTreeSet::new();
    for (number, fact) in kept.iter() {
        match &fact.kind {
            Some(Kind::StepStarted(started)) if started.undoes != 0 => {
                undos.insert(*number, started.undoes);
            }
            Some(Kind::StepSettled(settled)) => {
                undone.extend(undos.get(&settled.step).filter(|_| undo::takes_back(settled)));
            }
            _ => {}
        }
    }
    if undos.is_empty() {
        return Ok(Vec::new());
    }
    let places = Places::of(kept)?;
    let taken_back = undone.into_iter().filter_map(|step| places.of.get(&step).cloned()).collect();
    kept.retain(|(number, _)| places.get(*number).is_none_or(|(branch, _)| !undo::is_branch(branch)));
    Ok(taken_back)
}

/// Forgets the end of one step, or all of it, and what came of it.
fn forget_from(
    kept: &mut Vec<Numbered>,
    target: &stored::Place,
    new_incarnation: bool,
    incarnations: &mut Incarnations,
    in_doubt: &BTreeSet<At>,
) -> Result<(), JournalError> {
    let places = Places::of(kept)?;
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
    // Steps that continued beside the failed one did not come of it: their results stay.
    let came_after = |branch: &str, position: u32| {
        if branch == target.branch {
            position > target.position && places.first_of_step(branch, position) > settled
        } else if is_above(branch, &target.branch) {
            places.first_of_step(branch, position) > settled
        } else {
            !is_beside(branch, &target.branch) && places.first_of_branch(outermost(branch, &target.branch)) > settled
        }
    };
    // The request of an effect in doubt is sent as it is, so the values stay that it may have been made of.
    let doubtful = in_doubt.iter().filter(|(branch, position)| came_after(branch, *position));
    let last_doubtful = doubtful.filter_map(|at| places.begun.get(at)).max().copied().unwrap_or(0);
    kept.retain_mut(|(number, fact)| {
        let Some((branch, position)) = places.get(*number) else { return true };
        if *branch == target.branch && position == target.position {
            if !new_incarnation {
                reopen(fact);
            }
            return !new_incarnation;
        }
        let came_after = came_after(branch, position);
        if came_after && in_doubt.contains(&(branch.clone(), position)) {
            reopen(fact);
            return true;
        }
        if *number < last_doubtful && matches!(fact.kind, Some(Kind::Recorded(_))) {
            return true;
        }
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
        not_counted: false,
    }
}

fn bump(incarnations: &mut Incarnations, branch: &str, position: u32) {
    *incarnations.entry((branch.into(), position)).or_insert(1) += 1;
}
