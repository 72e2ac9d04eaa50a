//! Undone or done: what a run that failed or was cancelled did is taken back, once, after it was settled, the last
//! first; what a run that succeeded did stands (semantics.md U1 to U3).

use std::collections::BTreeMap;

use engine::State;
use engine::journal_v1::fact::Kind;
use engine::view::{Detail, StepState};
use uuid::Uuid;

use super::journals::{self, Fact};
use crate::ledger::Ledger;

pub(crate) fn are_whole(detail: &Detail, journal: &[Fact], ledger: &Ledger, problems: &mut Vec<String>) {
    let state = detail.row.status.state;
    for (number, _, started, key) in journals::starts(journal) {
        let effect = ledger.of(key);
        let place = started.place.clone().unwrap_or_default();
        let path = engine::view::path(&place.branch, &place.name, place.position);
        if effect.undone > 1 {
            problems.push(format!("{path} (fact {number}) was taken back {} times", effect.undone));
        }
        let has_undo = started.undo.is_some() || started.undo_by_response;
        if !has_undo || !effect.stands {
            continue;
        }
        match state {
            State::Failed | State::Cancelled => {
                problems.push(format!("{path} (fact {number}) stands after the run is {state}"));
            }
            State::Terminated if !detail.to_undo.contains(&path) && !detail.uncertain.contains(&path) => {
                problems.push(format!("{path} (fact {number}) stands and is not listed: {:?}", detail.to_undo));
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
