//! Undone or done: what a run that failed or was cancelled did is taken back, once, after it was settled, the last
//! first; what a run that succeeded did stands (semantics.md U1 to U3).

use std::collections::{BTreeMap, BTreeSet};

use engine::State;
use engine::journal_v1::fact::Kind;
use engine::journal_v1::step_settled;
use engine::view::{Detail, StepState};
use uuid::Uuid;

use super::journals::{self, Fact};
use crate::ledger::Ledger;

/// `hurries` says that attempts may act after they look as if they were over: what acts then stands.
pub(crate) fn are_whole(detail: &Detail, journal: &[Fact], ledger: &Ledger, hurries: bool, problems: &mut Vec<String>) {
    let state = detail.row.status.state;
    for (number, _, started, key) in journals::starts(journal) {
        let effect = ledger.of(key);
        let place = started.place.clone().unwrap_or_default();
        let path = engine::view::path(&place.branch, &place.name, place.position);
        if effect.undone > 1 {
            problems.push(format!("{path} (fact {number}) was taken back {} times", effect.undone));
        }
        let has_undo = started.undo.is_some() || started.undo_by_response;
        if !has_undo || !effect.stands || hurries {
            continue;
        }
        match state {
            State::Failed | State::Cancelled => {
                let again = made_again(journal, number);
                problems.push(format!("{path} (fact {number}{again}) stands after the run is {state}"));
            }
            State::Terminated if !detail.to_undo.contains(&path) && !detail.uncertain.contains(&path) => {
                let again = made_again(journal, number);
                problems.push(format!("{path} (fact {number}{again}) stands, not listed in {:?}", detail.to_undo));
            }
            _ => {}
        }
    }
    if state == State::Succeeded {
        for step in detail.steps.iter().filter(|step| step.state == StepState::Succeeded) {
            let key = step.key.as_deref().and_then(|key| Uuid::try_parse(key).ok());
            if step.undone || key.is_some_and(|key| ledger.of(key).undone > 0) {
                problems.push(format!("the run succeeded and {} was taken back", step.path()));
            }
        }
    }
    if matches!(state, State::Failed | State::Cancelled | State::Succeeded) && !detail.to_undo.is_empty() {
        problems.push(format!("{state}, and left to undo: {:?}", detail.to_undo));
    }
    in_order(journal, problems);
    what_did_not_happen_is_left_alone(journal, problems);
}

/// Says whether a retry made the run forget this start, and make the step again.
fn made_again(journal: &[Fact], start: u64) -> &'static str {
    let place = |started: &engine::journal_v1::StepStarted| started.place.clone();
    let mut starts = journals::starts(journal).skip_while(|(number, ..)| *number < start);
    let Some((_, _, first, _)) = starts.next() else { return "" };
    if starts.any(|(_, _, later, _)| place(later) == place(first)) { ", made again after it" } else { "" }
}

/// What an operator says did not happen is not undone (semantics.md U2).
fn what_did_not_happen_is_left_alone(journal: &[Fact], problems: &mut Vec<String>) {
    let mut denied = BTreeSet::new();
    for (before, fact) in journal.iter().zip(journal.iter().skip(1)) {
        match (&before.kind, &fact.kind) {
            (Kind::Decided(decided), Kind::StepSettled(end)) if !decided.ask_again && decided.step == end.step => {
                if matches!(end.result, Some(step_settled::Result::Failure(_))) {
                    denied.insert(end.step);
                }
            }
            // After a retry it is made again, and may happen.
            (_, Kind::AttemptStarted(again)) => {
                denied.remove(&again.step);
            }
            (_, Kind::StepStarted(undo)) if denied.contains(&undo.undoes) => {
                problems.push(format!("U2: fact {} undoes step {}, which did not happen", fact.number, undo.undoes));
            }
            _ => {}
        }
    }
}

/// Nothing is undone before it is settled, and the last is undone first.
fn in_order(journal: &[Fact], problems: &mut Vec<String>) {
    let mut settled: BTreeMap<u64, bool> = BTreeMap::new();
    let mut last = u64::MAX;
    for Fact { number, kind, .. } in journal {
        match kind {
            Kind::StepStarted(started) if started.undoes > 0 => {
                if !settled.get(&started.undoes).copied().unwrap_or(false) {
                    problems.push(format!("fact {number} undoes step {}, which has not settled", started.undoes));
                }
                if started.undoes > last {
                    problems.push(format!("fact {number} undoes step {} after step {last}", started.undoes));
                }
                last = started.undoes;
            }
            Kind::StepStarted(_) => drop(settled.insert(*number, false)),
            Kind::AttemptStarted(attempt) => drop(settled.insert(attempt.step, false)),
            Kind::StepSettled(end) => drop(settled.insert(end.step, true)),
            Kind::Reset(reset) if !reset.keeps_ending => last = u64::MAX,
            _ => {}
        }
    }
}
