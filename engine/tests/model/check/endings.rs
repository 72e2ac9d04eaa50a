//! No run ends while an effect of it is in flight or in doubt, unless it is ended by force (semantics.md S2), and no retry
//! forgets one (S7).

use std::collections::BTreeMap;

use engine::State;
use engine::journal_v1::Outcome;
use engine::journal_v1::fact::Kind;
use engine::view::Detail;
use uuid::Uuid;

use super::journals::Fact;

/// What a journal knows of a started effect that has not settled.
#[derive(Clone, Copy, Default)]
struct Open {
    in_flight: bool,
    in_doubt: bool,
}

pub(crate) fn leave_nothing_open(
    detail: &Detail,
    journal: &[Fact],
    runs: &[(Detail, Vec<Fact>)],
    problems: &mut Vec<String>,
) {
    let has_ended = |child: &Uuid| {
        let child = runs.iter().find(|(detail, _)| detail.row.id == *child);
        child.is_some_and(|(detail, _)| detail.row.status.state.is_end())
    };
    let mut open: BTreeMap<u64, Open> = BTreeMap::new();
    let mut children: BTreeMap<u64, Uuid> = BTreeMap::new();
    for fact in journal {
        match &fact.kind {
            Kind::StepStarted(_) => {
                open.insert(fact.number, Open { in_flight: true, in_doubt: false });
            }
            Kind::AttemptStarted(attempt) => open.entry(attempt.step).or_default().in_flight = true,
            Kind::AttemptFailed(failed) if failed.step > 0 => {
                let open = open.entry(failed.step).or_default();
                open.in_flight = false;
                open.in_doubt |= failed.outcome() == Outcome::Ambiguous;
            }
            Kind::ChildStarted(child) => {
                children.insert(fact.number, Uuid::try_parse(&child.run).unwrap_or_default());
            }
            // A retry is refused while a child runs that it would forget; one that has ended reports to no step then.
            Kind::Reset(reset) => {
                let spans = reset.forgotten.iter().flat_map(|forgotten| &forgotten.facts);
                for span in spans {
                    children.retain(|start, child| !(span.first..=span.last).contains(start) || !has_ended(child));
                }
            }
            Kind::StepSettled(end) => {
                open.remove(&end.step);
                children.remove(&end.step);
            }
            Kind::Ended(end) if end.state() != engine::journal_v1::EndState::Terminated => {
                for (step, open) in open.iter().filter(|(_, open)| open.in_flight || open.in_doubt) {
                    let how = if open.in_flight { "in flight" } else { "in doubt" };
                    problems.push(format!("S2: the run ends as {:?} with step {step} {how}", end.state()));
                }
                if !children.is_empty() {
                    problems.push(format!("S2: the run ends before its children {children:?}"));
                }
            }
            _ => {}
        }
    }
    let state = detail.row.status.state;
    if state.is_end() && state != State::Terminated && !detail.uncertain.is_empty() {
        problems.push(format!("S2: {state}, and uncertain: {:?}", detail.uncertain));
    }
}
