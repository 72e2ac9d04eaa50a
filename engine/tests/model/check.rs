//! What must hold once every run rests, and once every run has ended.

use std::collections::BTreeSet;

use engine::State;
use engine::journal_v1::fact::Kind;
use engine::testing::World;
use engine::view::{Detail, StepKind, StepState};
use futures_util::future::BoxFuture;
use prost::Message;
use uuid::Uuid;

use crate::messages::{Output, answer_to};
use crate::operators::{Act, Answer, all_runs};
use crate::simulate::{Run, Simulation, undisturbed};
use journals::Fact;

pub(crate) mod commands;
pub(crate) mod effects;
pub(crate) mod endings;
pub(crate) mod identities;
pub(crate) mod journals;
pub(crate) mod orders;
pub(crate) mod undos;

/// Every run ended or says what it waits for, and no one holds it.
pub(crate) async fn at_rest(simulation: &mut Simulation, world: &World) {
    if world.engine().in_flight() > 0 {
        simulation.problems.push(format!("{} runs are still in memory", world.engine().in_flight()));
    }
    for row in all_runs(world).await {
        let mut found = Vec::new();
        rests(world, &world.detail(row.id).await, &mut found).await;
        simulation.problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", row.id)));
    }
    holds(simulation, world).await;
}

/// The same for runs that have all ended.
pub(crate) async fn at_the_end(simulation: &mut Simulation, world: &World) {
    for run in simulation.runs.clone() {
        brought_what_services_said(world, &run, simulation).await;
    }
    holds(simulation, world).await;
}

/// What holds at any time at which nothing continues.
async fn holds(simulation: &mut Simulation, world: &World) {
    let arrivals = world.services().arrivals();
    let audit = orders::Audit::read(world).await;
    let mut runs = Vec::new();
    for row in all_runs(world).await {
        runs.push((world.detail(row.id).await, journals::of(world, row.id).await));
    }
    let mut problems = Vec::new();
    for (detail, journal) in &runs {
        let mut found = Vec::new();
        journals::numbers_are_right(journal, &mut found);
        undos::are_whole(detail, journal, &simulation.ledger, simulation.wall.hurries, &mut found);
        orders::were_kept(detail, journal, &simulation.orders, &audit, &mut found);
        // Times are compared only if the clock was not set.
        if !simulation.wall.was_set {
            commands::are_heard(detail.row.id, journal, simulation, &mut found);
            commands::reach_children(detail.row.id, &runs, simulation, &mut found);
        }
        endings::leave_nothing_open(detail, journal, &runs, &mut found);
        messages_are_received_once(detail, journal, simulation, &mut found);
        children_are_whole(detail, journal, &runs, &mut found);
        let id = detail.row.id;
        problems.extend(found.into_iter().map(|problem| format!("{id}: {problem}")));
    }
    let journals: Vec<_> = runs.iter().map(|(detail, journal)| (detail.row.id, &journal[..])).collect();
    identities::are_not_doubled(&journals, &simulation.ledger, simulation.wall.hurries, &mut problems);
    effects::hold(&journals, &arrivals, &simulation.ledger, simulation.wall.hides_age, &mut problems);
    orders::were_answered_once(&simulation.orders, &audit, &mut problems);
    simulation.problems.extend(problems);
}

/// What operators, services and journals saw, as lines.
pub(crate) async fn trace(simulation: &Simulation, world: &World, begun: tokio::time::Instant) -> Vec<String> {
    let mut lines: Vec<String> = simulation.orders.iter().map(|order| format!("{order:?}")).collect();
    for arrival in world.services().arrivals() {
        let at = arrival.at - begun;
        lines.push(format!("{at:?} {} {} {:?} {}", arrival.run, arrival.method, arrival.key, arrival.attempt));
    }
    for row in all_runs(world).await {
        for Fact { number, at, kind } in journals::of(world, row.id).await {
            lines.push(format!("{} {number} {at} {kind:?}", row.id));
        }
    }
    lines
}

async fn rests(world: &World, detail: &Detail, problems: &mut Vec<String>) {
    let (state, reason) = (detail.row.status.state, &detail.row.status.reason);
    match state {
        state if state.is_end() => {
            if detail.output.is_some() == detail.failure.is_some() {
                problems.push(format!("{state} with output {:?}, failure {:?}", detail.output, detail.failure));
            }
            let mut watch = match world.engine().watch(detail.row.id).await {
                Ok(watch) => watch,
                Err(error) => return problems.push(error.to_string()),
            };
            if watch.changed().await {
                problems.push("a watcher of an ended run waits for more".to_owned());
            }
        }
        State::NeedsDecision => {
            if !detail.steps.iter().any(|step| step.state == StepState::NeedsDecision) {
                problems.push(format!("NEEDS_DECISION without an effect in doubt: {:#?}", detail.steps));
            }
            if !reason.starts_with("AMBIGUOUS_EFFECT") {
                problems.push(format!("NEEDS_DECISION because {reason:?}"));
            }
        }
        State::Blocked if reason.starts_with("UNDO_FAILED") && !detail.to_undo.is_empty() => {}
        State::Blocked if detail.row.cancel_requested.is_some() && !needs_code(world, detail.row.id).await => {
            problems.push(format!("S5: it was cancelled and is still BLOCKED: {reason}"));
        }
        State::Paused if detail.row.paused.is_some() => {}
        _ if waits_for_an_operator(world, detail.row.id).await => {}
        state => problems.push(format!("stuck as {state} ({reason}), wakes {:?}", detail.row.status.wake_at)),
    }
    if detail.row.owned {
        problems.push(format!("{state}, and still held"));
    }
}

/// Whether an undo of the run is made from a response, which only its code can do.
async fn needs_code(world: &World, run: Uuid) -> bool {
    let journal = journals::of(world, run).await;
    journals::starts(&journal).any(|(_, _, started, _)| started.undo_by_response)
}

/// Whether the run, or a child that it waits for, can be moved only from outside.
pub(crate) fn waits_for_an_operator(world: &World, run: Uuid) -> BoxFuture<'_, bool> {
    Box::pin(async move {
        let detail = world.detail(run).await;
        if matches!(detail.row.status.state, State::NeedsDecision | State::Blocked | State::Paused) {
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

/// Children are runs of their own, and end before their parent does, unless that is ended by force.
fn children_are_whole(detail: &Detail, journal: &[Fact], runs: &[(Detail, Vec<Fact>)], problems: &mut Vec<String>) {
    let state = detail.row.status.state;
    let children = journals::children(journal);
    let all: BTreeSet<Uuid> = children.iter().copied().collect();
    if all.len() != children.len() {
        problems.push(format!("two children have one id: {children:?}"));
    }
    for child in children {
        let Some((child, its)) = runs.iter().find(|(detail, _)| detail.row.id == child) else {
            problems.push(format!("child {child} was started and is not there"));
            continue;
        };
        if child.row.parent != Some(detail.row.id) {
            problems.push(format!("child {} is one of {:?}", child.row.id, child.row.parent));
        }
        // A child that was over may be retried later, whatever became of its parent.
        let retried = its.iter().any(|fact| matches!(fact.kind, Kind::Reset(_)));
        if state.is_end() && state != State::Terminated && !child.row.status.state.is_end() && !retried {
            problems.push(format!("child {} is {} and its parent has ended", child.row.id, child.row.status.state));
        }
    }
}

/// What was acknowledged was received or is still in the inbox, and nothing was received twice.
fn messages_are_received_once(detail: &Detail, journal: &[Fact], simulation: &Simulation, problems: &mut Vec<String>) {
    let received = detail.steps.iter().filter(|step| step.kind == StepKind::Signal);
    let mut seen = BTreeSet::new();
    for message in received.filter_map(|step| step.response.clone()) {
        if !seen.insert(message.clone()) {
            problems.push(format!("{message:?} was received twice"));
        }
    }
    // A retry may have made the run forget a receipt, and end without another.
    seen.extend(journals::received(journal));
    seen.extend(detail.inbox.iter().map(|message| message.payload.clone()));
    for order in simulation.orders.iter().filter(|order| order.run == detail.row.id) {
        if let (Act::Signal { message, .. }, Answer::Done(_)) = (&order.act, &order.answer)
            && !seen.contains(&message.encode_to_vec()[..])
        {
            problems.push(format!("{message:?} was acknowledged and is lost"));
        }
    }
}

async fn brought_what_services_said(world: &World, run: &Run, simulation: &mut Simulation) {
    let detail = world.detail(run.id).await;
    let text = detail.output.and_then(|output| Output::decode(output).ok()).unwrap_or_default().text;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["ok", asked, number] = words[..]
            && answer_to(asked).to_string() != number
        {
            simulation.problems.push(format!("{asked} was answered {number}"));
        }
        if line == "time ran backwards" {
            simulation.problems.push(line.to_owned());
        }
    }
    if simulation.faults || simulation.operators || run.deadline.is_some() || simulation.wall.was_set {
        return;
    }
    // Crashes alone change nothing.
    let calm = undisturbed(&run.input).await;
    let result = match &detail.failure {
        Some(failure) => Err(failure.code()),
        None => Ok(text),
    };
    // An effect of unknown level that a crash cut off was decided by an operator, perhaps to have failed.
    let decides = |act: &Act| matches!(act, Act::Resolve(_) | Act::Cancel | Act::Terminate);
    let decided = simulation.orders.iter().any(|order| decides(&order.act));
    if calm != result && !decided {
        simulation.problems.push(format!("{} ended with {result:?}; without crashes with {calm:?}", run.input.text));
    }
}
