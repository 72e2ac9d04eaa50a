//! Effects counted by what they are, not only by their keys: by the text of a request, which a run never uses twice, and
//! by run, path and incarnation (semantics.md P1, E7).

use std::collections::BTreeMap;

use engine::journal_v1::fact::Kind;
use engine::journal_v1::step_settled;
use uuid::Uuid;

use super::journals::{self, Fact};
use crate::ledger::Ledger;

/// One key that a step had.
struct Had {
    key: Uuid,
    /// Number of its start.
    start: u64,
    path: String,
}

/// `hurries` says that attempts may act after they look as if they were over: their keys are not kept then.
pub(crate) fn are_not_doubled(
    journals: &[(Uuid, &[Fact])],
    ledger: &Ledger,
    hurries: bool,
    problems: &mut Vec<String>,
) {
    let resets = journals.iter().flat_map(|(_, journal)| journal.iter());
    let resets = resets.filter(|fact| matches!(fact.kind, Kind::Reset(_))).count();
    for ((method, text), keys) in ledger.identities() {
        if text.starts_with("business-") && keys.len() > 1 {
            problems.push(format!("P1: {method} of {text:?} acted under {} keys", keys.len()));
        }
        let standing = keys.iter().filter(|key| ledger.of(**key).stands).count();
        if standing > 1 + resets {
            problems.push(format!("P1: {method} of {text:?} stands {standing} times after {resets} resets"));
        }
    }
    for (run, journal) in journals.iter().filter(|_| !hurries) {
        for keys in steps(journal).values() {
            for (before, after) in keys.iter().zip(keys.iter().skip(1)) {
                let effect = ledger.of(before.key);
                let answered = is_answered(journal, before.start, after.start);
                if before.key != after.key && effect.acted > 0 && effect.undone == 0 && !answered {
                    problems.push(format!(
                        "E7: {run} {} acted under the key of fact {}, which has no answer, and fact {} has another key",
                        before.path, before.start, after.start
                    ));
                }
            }
        }
    }
}

/// The keys of every step, in the order in which it had them.
fn steps(journal: &[Fact]) -> BTreeMap<(String, u32), Vec<Had>> {
    let mut steps: BTreeMap<_, Vec<Had>> = BTreeMap::new();
    for (number, _, started, key) in journals::starts(journal) {
        let place = started.place.clone().unwrap_or_default();
        let path = engine::view::path(&place.branch, &place.name, place.position);
        steps.entry((place.branch, place.position)).or_default().push(Had { key, start: number, path });
    }
    steps
}

/// Whether the journal has an answer to this start before that fact; that there is nothing to undo is one.
fn is_answered(journal: &[Fact], start: u64, before: u64) -> bool {
    journal.iter().take_while(|fact| fact.number < before).any(|fact| {
        matches!(&fact.kind, Kind::StepSettled(settled) if settled.step == start
            && (settled.undone || matches!(settled.result, Some(step_settled::Result::Response(_)))))
    })
}
