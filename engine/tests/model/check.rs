//! What must hold once every run rests.

use std::collections::{BTreeMap, BTreeSet};

use engine::journal::decode_entry;
use engine::journal_v1::fact::Kind as Fact;
use engine::journal_v1::{ChildStarted, StepStarted, step_settled};
use engine::store::JournalEntry;
use engine::testing::{Arrival, World};
use engine::view::{StepKind, StepState};
use engine::{Level, Rpc, State};
use futures_util::future::BoxFuture;
use prost::Message;
use uuid::Uuid;

use crate::messages::{Charge, HORIZON, Look, Output, Pay, answer_to};
use crate::simulate::{Run, Simulation, undisturbed};

pub(crate) async fn all(simulation: &mut Simulation, world: &World) {
    let arrivals = world.services().arrivals();
    let mut problems = std::mem::take(&mut simulation.problems);
    if world.engine().in_flight() > 0 {
        problems.push(format!("{} runs are still in memory", world.engine().in_flight()));
    }
    for run in &simulation.runs {
        let mut found = Vec::new();
        rests(world, run, &mut found).await;
        nothing_starts_after_a_cancel(run, &mut found);
        numbers_are_right(&run.journal, &mut found);
        messages_are_received_once(world, run, &mut found).await;
        brought_what_services_said(world, run, simulation, &mut found).await;
        let own: Vec<&Arrival> = arrivals.iter().filter(|arrival| arrival.run == run.id).collect();
        effects(run, &own, &mut found);
        children_are_whole(world, run, &arrivals, &mut found).await;
        problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", run.input.text)));
    }
    one_key_is_one_request(&arrivals, &mut problems);
    simulation.problems = problems;
}

/// Every run ended, or says what it waits for.
async fn rests(world: &World, run: &Run, problems: &mut Vec<String>) {
    let detail = world.detail(run.id).await;
    let (state, reason) = (detail.row.status.state, &detail.row.status.reason);
    match state {
        state if state.is_end() => {
            if detail.output.is_some() == detail.failure.is_some() {
                problems.push(format!("{state} with output {:?}, failure {:?}", detail.output, detail.failure));
            }
            let mut watch = match world.engine().watch(run.id).await {
                Ok(watch) => watch,
                Err(error) => return problems.push(error.to_string()),
            };
            if watch.changed().await {
                problems.push("a watcher of an ended run waits for more".to_owned());
            }
        }
        State::NeedsDecision => {
            let in_doubt = detail.steps.iter().any(|step| {
                step.ended_at.is_none()
                    && matches!(step.level, Some(Level::Unknown | Level::Keyed { .. }))
                    && matches!(step.state, StepState::InFlight | StepState::NeedsDecision | StepState::BackingOff)
            });
            if !in_doubt {
                problems.push(format!("NEEDS_DECISION without an effect in doubt: {:#?}", detail.steps));
            }
        }
        _ if waits_for_an_operator(world, run.id).await => {}
        state => problems.push(format!("stuck as {state} ({reason}), wakes {:?}", detail.row.status.wake_at)),
    }
    if detail.row.owned {
        problems.push(format!("{state}, and still held"));
    }
}

/// Whether the run, or a child that it waits for, can be moved only from outside.
pub(crate) fn waits_for_an_operator(world: &World, run: Uuid) -> BoxFuture<'_, bool> {
    Box::pin(async move {
        let detail = world.detail(run).await;
        if matches!(detail.row.status.state, State::NeedsDecision | State::Blocked) {
            return true;
        }
        for child in detail.steps.iter().filter(|step| step.ended_at.is_none()).filter_map(|step| step.child) {
            if waits_for_an_operator(world, child).await {
                return true;
            }
        }
        false
    })
}

/// Every child that a journal speaks of.
fn children(journal: &[JournalEntry]) -> Vec<Uuid> {
    let facts = journal.iter().flat_map(|entry| decode_entry(entry.sequence, entry.entry.clone())).flatten();
    let started = facts.filter_map(|fact| match fact.kind {
        Some(Fact::ChildStarted(child)) => Some(child.run),
        _ => None,
    });
    started.filter_map(|run| Uuid::try_parse(&run).ok()).collect()
}

/// Children are runs of their own, and end before their parent does.
async fn children_are_whole(world: &World, run: &Run, arrivals: &[Arrival], problems: &mut Vec<String>) {
    let over = world.detail(run.id).await.row.status.state.is_end();
    let children = children(&run.journal);
    let all: BTreeSet<Uuid> = children.iter().copied().collect();
    if all.len() != children.len() {
        problems.push(format!("two children have one id: {children:?}"));
    }
    for child in children {
        let row = world.detail(child).await.row;
        if row.parent != Some(run.id) {
            problems.push(format!("child {child} is one of {:?}", row.parent));
        }
        if over && !row.status.state.is_end() {
            problems.push(format!("child {child} is {} and its parent has ended", row.status.state));
        }
        let own: Vec<&Arrival> = arrivals.iter().filter(|arrival| arrival.run == child).collect();
        effects(run, &own, problems);
    }
}

/// After the acknowledgement of a cancel no new start commits (semantics.md S2).
fn nothing_starts_after_a_cancel(run: &Run, problems: &mut Vec<String>) {
    let Some(acknowledged) = run.cancelled else { return };
    let facts = run.journal.iter().flat_map(|entry| decode_entry(entry.sequence, entry.entry.clone()));
    for (number, fact) in (1..).zip(facts.flatten()) {
        if number > acknowledged
            && let Some(Fact::StepStarted(StepStarted { place, .. }) | Fact::ChildStarted(ChildStarted { place, .. })) =
                fact.kind
        {
            problems.push(format!("fact {number} starts {place:?} after a cancel at {acknowledged}"));
        }
    }
}

/// Facts that name a step by its number name a start, and none is settled twice unless it was made again.
pub(crate) fn numbers_are_right(journal: &[JournalEntry], problems: &mut Vec<String>) {
    let facts = journal.iter().flat_map(|entry| decode_entry(entry.sequence, entry.entry.clone()));
    let mut starts = BTreeSet::new();
    let mut settled = BTreeSet::new();
    for (number, fact) in (1_u64..).zip(facts.flatten()) {
        let step = match fact.kind {
            Some(Fact::StepStarted(_) | Fact::SleepStarted(_) | Fact::SignalAwaited(_) | Fact::ChildStarted(_)) => {
                starts.insert(number);
                continue;
            }
            Some(Fact::AttemptStarted(attempt)) => attempt.step,
            Some(Fact::AttemptFailed(failed)) if failed.step > 0 => failed.step,
            Some(Fact::StepSettled(end)) if end.step > 0 => {
                if !settled.insert(end.step) {
                    problems.push(format!("fact {number} settles step {} again", end.step));
                }
                end.step
            }
            Some(Fact::Raced(raced)) => {
                for step in raced.withdrawn {
                    if !starts.contains(&step) || !settled.insert(step) {
                        problems.push(format!("fact {number} withdraws step {step}, which is no open wait"));
                    }
                }
                continue;
            }
            Some(Fact::Reset(_)) => {
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

/// What was acknowledged was received or is still in the inbox, and nothing was received twice.
async fn messages_are_received_once(world: &World, run: &Run, problems: &mut Vec<String>) {
    let detail = world.detail(run.id).await;
    let received = detail.steps.iter().filter(|step| step.kind == StepKind::Signal);
    let mut seen = BTreeSet::new();
    for message in received.filter_map(|step| step.response.clone()) {
        if !seen.insert(message.clone()) {
            problems.push(format!("{message:?} was received twice"));
        }
    }
    // A retry may have made the run forget a receipt, and end without another.
    let facts = run.journal.iter().flat_map(|entry| decode_entry(entry.sequence, entry.entry.clone()));
    for fact in facts.flatten() {
        if let Some(Fact::StepSettled(settled)) = fact.kind
            && let (1.., Some(step_settled::Result::Response(message))) = (settled.message, settled.result)
        {
            seen.insert(message);
        }
    }
    seen.extend(detail.inbox.into_iter().map(|message| message.payload));
    for message in &run.sent {
        if !seen.contains(&message.encode_to_vec()[..]) {
            problems.push(format!("{message:?} was acknowledged and is lost"));
        }
    }
}

async fn brought_what_services_said(world: &World, run: &Run, simulation: &Simulation, problems: &mut Vec<String>) {
    let detail = world.detail(run.id).await;
    let state = detail.row.status.state;
    let text = detail.output.and_then(|output| Output::decode(output).ok()).unwrap_or_default().text;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["ok", asked, number] = words[..]
            && answer_to(asked).to_string() != number
        {
            problems.push(format!("{asked} was answered {number}"));
        }
        if line == "time ran backwards" {
            problems.push(line.to_owned());
        }
    }
    if simulation.faults || simulation.operators || run.deadline.is_some() || !state.is_end() {
        return;
    }
    // Crashes alone change nothing.
    let calm = undisturbed(&run.input).await;
    let result = match &detail.failure {
        Some(failure) => Err(failure.code()),
        None => Ok(text),
    };
    if calm != result {
        problems.push(format!("ended with {result:?}; without crashes with {calm:?}"));
    }
}

/// Effects of one run (semantics.md P1, E4).
fn effects(run: &Run, arrivals: &[&Arrival], problems: &mut Vec<String>) {
    let mut by_key: BTreeMap<Uuid, Vec<&Arrival>> = BTreeMap::new();
    let mut keys: BTreeMap<(&str, &[u8]), BTreeSet<Uuid>> = BTreeMap::new();
    for arrival in arrivals {
        match arrival.key {
            Some(key) => {
                by_key.entry(key).or_default().push(arrival);
                keys.entry((arrival.method, &arrival.request)).or_default().insert(key);
            }
            None if arrival.method != Look::METHOD.path => problems.push(format!("{arrival:?} has no key")),
            None => {}
        }
    }
    for arrivals in by_key.values() {
        let (first, last) = (arrivals[0], arrivals[arrivals.len() - 1]);
        if first.method == Charge::METHOD.path && arrivals.len() > 1 {
            problems.push(format!("an effect of unknown level arrived {} times: {arrivals:#?}", arrivals.len()));
        }
        // The horizon counts from the start; the last attempt may take its whole time.
        let slack = std::time::Duration::from_secs(31);
        if first.method == Pay::METHOD.path && last.at - first.at > HORIZON + slack {
            problems.push(format!("an effect was repeated {:?} after its first arrival", last.at - first.at));
        }
    }
    for ((method, request), keys) in keys {
        if keys.len() > 1 && !run.retried {
            problems.push(format!("{method} {request:?} arrived under {} keys", keys.len()));
        }
    }
}

/// A key that comes with another request is refused by real services.
fn one_key_is_one_request(arrivals: &[Arrival], problems: &mut Vec<String>) {
    let mut requests: BTreeMap<Uuid, &Arrival> = BTreeMap::new();
    for arrival in arrivals {
        let Some(key) = arrival.key else { continue };
        let known = requests.entry(key).or_insert(arrival);
        if known.request != arrival.request || known.method != arrival.method {
            problems.push(format!("key {key} came with two requests: {known:?} and {arrival:?}"));
        }
    }
}
