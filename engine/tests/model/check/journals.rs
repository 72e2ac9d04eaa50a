//! Journals as facts with their numbers, and what holds for any of them.

use std::collections::BTreeSet;

use bytes::Bytes;
use engine::journal::decode_entry;
use engine::journal_v1::fact::Kind;
use engine::journal_v1::{StepStarted, step_settled};
use engine::store::Store as _;
use engine::testing::World;
use engine::time::Timestamp;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    pub(crate) kind: Kind,
}

/// The journal of a run, with what operators made it forget.
pub(crate) async fn of(world: &World, run: Uuid) -> Vec<Fact> {
    let entries = world.store().journal(run, 0, 100_000).await.unwrap_or_default();
    let facts = entries.into_iter().flat_map(|entry| decode_entry(entry.sequence, entry.entry)).flatten();
    let numbered = (1_u64..).zip(facts);
    numbered
        .filter_map(|(number, fact)| {
            Some(Fact { number, at: Timestamp::from_micros(fact.time_micros), kind: fact.kind? })
        })
        .collect()
}

/// Starts of effects, undos too, each with its number and time.
pub(crate) fn starts(journal: &[Fact]) -> impl Iterator<Item = (u64, Timestamp, &StepStarted, Uuid)> {
    journal.iter().filter_map(|fact| match &fact.kind {
        Kind::StepStarted(started) => Some((fact.number, fact.at, started, Uuid::try_parse(&started.key).ok()?)),
        _ => None,
    })
}

/// When the last attempt under this key must have had its answer.
pub(crate) fn last_deadline(journal: &[Fact], key: Uuid) -> Option<Timestamp> {
    let numbers: BTreeSet<u64> =
        starts(journal).filter(|(_, _, _, known)| *known == key).map(|(number, ..)| number).collect();
    let deadlines = journal.iter().filter_map(|fact| match &fact.kind {
        Kind::StepStarted(started) if numbers.contains(&fact.number) => Some(started.attempt_deadline_micros),
        Kind::AttemptStarted(attempt) if numbers.contains(&attempt.step) => Some(attempt.attempt_deadline_micros),
        _ => None,
    });
    deadlines.max().map(Timestamp::from_micros)
}

/// Every child that the journal speaks of.
pub(crate) fn children(journal: &[Fact]) -> Vec<Uuid> {
    let started = journal.iter().filter_map(|fact| match &fact.kind {
        Kind::ChildStarted(child) => Uuid::try_parse(&child.run).ok(),
        _ => None,
    });
    started.collect()
}

/// Every message that the run ever received.
pub(crate) fn received(journal: &[Fact]) -> impl Iterator<Item = Bytes> {
    journal.iter().filter_map(|fact| match &fact.kind {
        Kind::StepSettled(settled) if settled.message > 0 => match &settled.result {
            Some(step_settled::Result::Response(message)) => Some(message.clone()),
            _ => None,
        },
        _ => None,
    })
}

/// Facts that name a step by its number name a start, and none is settled twice unless it was made again.
pub(crate) fn numbers_are_right(journal: &[Fact], problems: &mut Vec<String>) {
    let mut starts = BTreeSet::new();
    let mut settled = BTreeSet::new();
    for Fact { number, kind, .. } in journal {
        let step = match kind {
            Kind::StepStarted(_) | Kind::SleepStarted(_) | Kind::SignalAwaited(_) | Kind::ChildStarted(_) => {
                starts.insert(*number);
                continue;
            }
            Kind::AttemptStarted(attempt) => {
                // What ended in doubt is asked again before it is undone.
                settled.remove(&attempt.step);
                attempt.step
            }
            Kind::AttemptFailed(failed) if failed.step > 0 => failed.step,
            Kind::Decided(decided) => {
                settled.remove(&decided.step);
                decided.step
            }
            Kind::StepSettled(end) if end.step > 0 => {
                if !settled.insert(end.step) {
                    problems.push(format!("fact {number} settles step {} again", end.step));
                }
                end.step
            }
            Kind::RaceDecided(raced) => {
                for step in &raced.withdrawn {
                    if !starts.contains(step) || !settled.insert(*step) {
                        problems.push(format!("fact {number} withdraws step {step}, which is no open wait"));
                    }
                }
                continue;
            }
            Kind::Reset(_) => {
                settled.clear();
                continue;
            }
            _ => continue,
        };
        if !starts.contains(&step) {
            problems.push(format!("fact {number} speaks of step {step}, which is no start"));
        }
    }
}
