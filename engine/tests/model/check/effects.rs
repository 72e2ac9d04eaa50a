//! Effects, counted where they arrive, before services deduplicate them (semantics.md P1, E1, E4).

use std::collections::{BTreeMap, BTreeSet};

use engine::Rpc;
use engine::journal_v1::fact::Kind;
use engine::journal_v1::{Level, Outcome, step_settled};
use engine::testing::Arrival;
use engine::time::Timestamp;
use uuid::Uuid;

use super::journals::{self, Fact};
use crate::ledger::Ledger;
use crate::messages::{HORIZON, Look};

/// What all journals say of one key.
#[derive(Default)]
struct Known {
    /// By run, branch, position and incarnation.
    identities: BTreeSet<(Uuid, String, u32, u32)>,
    requests: BTreeSet<Vec<u8>>,
    first_start: BTreeMap<Uuid, Timestamp>,
    level: i32,
    asked_again: usize,
    /// Whether an operator said what became of it, or let it be made again.
    decided: bool,
    /// Attempts that the service refused, so that they did nothing.
    refused: usize,
    /// An answer of the service was written down.
    answered: bool,
}

/// `hides_age` says that how old a stored start is cannot be known: horizons are not kept then.
pub(crate) fn hold(
    journals: &[(Uuid, &[Fact])],
    arrivals: &[Arrival],
    ledger: &Ledger,
    hides_age: bool,
    problems: &mut Vec<String>,
) {
    let mut known: BTreeMap<Uuid, Known> = BTreeMap::new();
    let mut identities: BTreeMap<_, Uuid> = BTreeMap::new();
    for (run, journal) in journals {
        let mut keys = BTreeMap::new();
        let resets = journal.iter().filter(|fact| matches!(fact.kind, Kind::Reset(_))).count();
        for (number, at, started, key) in journals::starts(journal) {
            let place = started.place.clone().unwrap_or_default();
            let identity = (*run, place.branch, place.position, started.incarnation);
            if *identities.entry(identity.clone()).or_insert(key) != key {
                problems.push(format!("{identity:?} has two keys"));
            }
            if started.incarnation as usize > 1 + resets {
                problems.push(format!("{identity:?} after {resets} retries"));
            }
            let entry = known.entry(key).or_default();
            entry.identities.insert(identity);
            entry.requests.insert(started.request.to_vec());
            entry.first_start.entry(*run).or_insert(at);
            entry.level = started.level;
            keys.insert(number, key);
        }
        let mut decided = false;
        for fact in *journal {
            match &fact.kind {
                Kind::Decided(decision) => {
                    if let Some(entry) = keys.get(&decision.step).and_then(|key| known.get_mut(key)) {
                        entry.asked_again += usize::from(decision.ask_again);
                        entry.decided = true;
                    }
                }
                Kind::AttemptFailed(failed) if failed.outcome() == Outcome::Refused => {
                    if let Some(entry) = keys.get(&failed.step).and_then(|key| known.get_mut(key)) {
                        entry.refused += 1;
                    }
                }
                Kind::StepSettled(settled) => {
                    if let Some(entry) = keys.get(&settled.step).and_then(|key| known.get_mut(key))
                        && settled.outcome() == Outcome::Refused
                    {
                        entry.refused += 1;
                    }
                    if let (Some(key), Some(step_settled::Result::Response(_)), false) =
                        (keys.get(&settled.step), &settled.result, decided)
                        && let Some(entry) = known.get_mut(key)
                    {
                        entry.answered = true;
                    }
                }
                _ => {}
            }
            decided = matches!(&fact.kind, Kind::Decided(decision) if !decision.ask_again);
        }
    }

    let mut by_key: BTreeMap<Uuid, Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        match arrival.key {
            Some(key) => by_key.entry(key).or_default().push(arrival),
            None if arrival.method != Look::METHOD.path => problems.push(format!("{arrival:?} has no key")),
            None => {}
        }
    }
    for (key, entry) in &known {
        let business = entry.requests.iter().any(|request| request.windows(9).any(|part| part == b"business-"));
        if entry.identities.len() > 1 && !business {
            problems.push(format!("key {key} is one of {:?}", entry.identities));
        }
        if entry.requests.len() > 1 {
            problems.push(format!("key {key} has {} requests", entry.requests.len()));
        }
        if entry.answered && ledger.of(*key).acted == 0 {
            problems.push(format!("{:?} succeeded and did not happen", entry.identities));
        }
        let forgotten = hides_age && entry.level == i32::from(Level::Keyed);
        // Beyond the horizon an operator may have it made again, and then it happens again.
        let may_act = if entry.level == i32::from(Level::Keyed) { 1 + entry.asked_again } else { 1 };
        if ledger.of(*key).acted as usize > may_act && !forgotten {
            problems.push(format!("{:?} happened {} times", entry.identities, ledger.of(*key).acted));
        }
    }
    for (key, arrivals) in by_key {
        let (first, last) = (arrivals[0], arrivals[arrivals.len() - 1]);
        let Some(entry) = known.get(&key) else {
            problems.push(format!("{first:?} was never started"));
            continue;
        };
        for arrival in &arrivals {
            if !entry.requests.contains(&arrival.request[..]) {
                problems.push(format!("{arrival:?} is not what was started"));
            }
            if !entry.first_start.contains_key(&arrival.run) {
                problems.push(format!("{arrival:?} came before it was started"));
            }
        }
        if entry.level == i32::from(Level::Unknown) && arrivals.len() > 1 + entry.asked_again + entry.refused {
            problems.push(format!(
                "an effect of unknown level arrived {} times, and was asked for again {} times: {arrivals:#?}",
                arrivals.len(),
                entry.asked_again
            ));
        }
        if entry.level == i32::from(Level::Keyed)
            && !hides_age
            && !entry.decided
            && let Some(acted) = ledger.of(key).first
            && last.at - acted > HORIZON
        {
            let (run, method) = (first.run, first.method);
            problems.push(format!("{run} {method} {key} was repeated {:?} after it acted", last.at - acted));
        }
    }
}
