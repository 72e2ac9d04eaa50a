//! What was acknowledged is known to the replica that drives the run from then on, whatever was on its way (semantics.md S8), and
//! a pause that stops the clock stops it from then on (S3). Told by time: what is in memory has no number yet.

use std::time::Duration;

use engine::Code;
use engine::journal_v1::fact::Kind;
use engine::time::Timestamp;
use engine::view::Detail;
use prost::Message;
use uuid::Uuid;

use super::journals::Fact;
use crate::operators::{Act, Answer, Order};
use crate::simulate::Simulation;

/// The replica that drives the run has this long, beside what points of its replica take, to do what was in its hands.
const SLACK: Duration = Duration::from_millis(500);

/// A cancel reaches children through the store, which may have to be asked more than once.
const REACHED_WITHIN: Duration = Duration::from_secs(300);

pub(crate) fn are_heard(run: Uuid, journal: &[Fact], simulation: &Simulation, problems: &mut Vec<String>) {
    let slack = SLACK + simulation.delay * 20;
    let own: Vec<&Order> = simulation.orders.iter().filter(|order| order.run == run).collect();
    for order in &own {
        let (Answer::Done(_), Some(answered_at)) = (&order.answer, order.answered_at) else { continue };
        let at = answered_at.after(slack);
        match order.act {
            Act::Cancel => {
                // A retry may come after it from the moment on in which it is asked for: its answer may have been lost. What
                // code says in the moment in which the run ends is never made.
                let asked_at = order.asked_at.unwrap_or(answered_at);
                let until = reset_after(journal, asked_at).min(end_after(journal, at));
                nothing_begins(journal, "a cancel", at, until, problems);
            }
            Act::Pause { stops_clock } => {
                let until = end_of_pause(&own, order).unwrap_or(Timestamp::from_micros(i64::MAX));
                nothing_begins(journal, "a pause", at, until.min(end_after(journal, at)), problems);
                if stops_clock {
                    the_deadline_waits(journal, at, until, problems);
                }
            }
            _ => {}
        }
    }
    if !journal.iter().any(|fact| matches!(fact.kind, Kind::Reset(_))) {
        messages_end_waits(journal, &own, slack, problems);
    }
}

/// A cancel reaches the children of the run, and theirs.
pub(crate) fn reach_children(
    run: Uuid,
    runs: &[(Detail, Vec<Fact>)],
    simulation: &Simulation,
    problems: &mut Vec<String>,
) {
    // Where runs wait for room in memory, nothing is soon.
    if simulation.room < 100 {
        return;
    }
    let own: &[Fact] = runs.iter().find(|(detail, _)| detail.row.id == run).map_or(&[], |(_, journal)| journal);
    for order in simulation.orders.iter().filter(|order| order.run == run && order.act == Act::Cancel) {
        let (Answer::Done(_), Some(answered_at)) = (&order.answer, order.answered_at) else { continue };
        let at = answered_at.after(REACHED_WITHIN);
        // A retry takes the run up again, and with it the children that it begins from then on. It may come after a cancel
        // whose first answer was lost.
        let later = at.min(reset_after(own, order.asked_at.unwrap_or(answered_at)));
        for (child, journal) in runs.iter().filter(|(detail, _)| detail.row.parent == Some(run)) {
            let begun_later = journal.first().is_some_and(|fact| fact.at >= later);
            if !begun_later {
                let what = format!("a cancel of the parent of {}", child.row.id);
                nothing_begins(journal, &what, at, reset_after(journal, Timestamp::default()), problems);
            }
        }
    }
}

/// When the run goes to its end after this time: what code says in that moment is never made.
fn end_after(journal: &[Fact], from: Timestamp) -> Timestamp {
    let ends = |fact: &&Fact| fact.at >= from && matches!(fact.kind, Kind::Ending(_) | Kind::Ended(_));
    journal.iter().find(ends).map_or(Timestamp::from_micros(i64::MAX), |fact| fact.at)
}

/// When an operator takes the run up again after this time.
fn reset_after(journal: &[Fact], from: Timestamp) -> Timestamp {
    let reset = journal.iter().find(|fact| fact.at >= from && matches!(fact.kind, Kind::Reset(_)));
    reset.map_or(Timestamp::from_micros(i64::MAX), |fact| fact.at)
}

/// When the first order after this pause may have ended it.
fn end_of_pause(orders: &[&Order], pause: &Order) -> Option<Timestamp> {
    let ends = |act: &Act| !matches!(act, Act::Pause { .. } | Act::Signal { .. } | Act::Resolve(_));
    let later = orders.iter().filter(|order| ends(&order.act)).filter_map(|order| {
        // One that got no answer may be done at any time after it was asked for.
        let done_before = order.answered_at.is_some_and(|at| pause.asked_at.is_some_and(|asked| at < asked));
        order.asked_at.filter(|_| !done_before)
    });
    later.min()
}

/// No step, attempt or wait is begun by code in this time.
fn nothing_begins(journal: &[Fact], what: &str, from: Timestamp, until: Timestamp, problems: &mut Vec<String>) {
    for Fact { number, at, kind } in journal {
        let begun = match kind {
            Kind::StepStarted(started) if started.undoes == 0 => *at,
            Kind::ChildStarted(_) | Kind::SleepStarted(_) | Kind::SignalAwaited(_) => *at,
            Kind::StepSettled(read) if read.step == 0 => Timestamp::from_micros(read.begun_micros),
            _ => continue,
        };
        if from < begun && begun < until {
            problems.push(format!(
                "S8: fact {number} is of a step that began at {begun}; {what} was acknowledged before {from}"
            ));
        }
    }
}

fn the_deadline_waits(journal: &[Fact], from: Timestamp, until: Timestamp, problems: &mut Vec<String>) {
    let mut ending = false;
    for Fact { number, at, kind } in journal {
        let failure = match kind {
            Kind::Ending(end) => end.failure.as_ref(),
            Kind::Ended(end) if !ending => match &end.result {
                Some(engine::journal_v1::ended::Result::Failure(failure)) => Some(failure),
                _ => None,
            },
            _ => continue,
        };
        ending = true;
        if from < *at && *at < until && failure.is_some_and(|failure| failure.code == Code::DeadlineExceeded as i32) {
            problems.push(format!(
                "S3: fact {number} ends the run at its deadline at {at}; its clock is stopped since {from}"
            ));
        }
    }
}

/// A wait does not run out of time while a message that it takes is in the inbox.
fn messages_end_waits(journal: &[Fact], orders: &[&Order], slack: Duration, problems: &mut Vec<String>) {
    for order in orders {
        let (Act::Signal { name, message }, Answer::Done(_), Some(at)) = (&order.act, &order.answer, order.answered_at)
        else {
            continue;
        };
        let encoded = message.encode_to_vec();
        let received = journal.iter().find(|fact| match &fact.kind {
            Kind::StepSettled(end) if end.message > 0 => matches!(
                &end.result,
                Some(engine::journal_v1::step_settled::Result::Response(response)) if response[..] == encoded[..]
            ),
            _ => false,
        });
        let received = received.map_or(u64::MAX, |fact| fact.number);
        for Fact { number, kind, .. } in journal {
            let Kind::SignalAwaited(wait) = kind else { continue };
            let wanted = wait.place.as_ref().is_some_and(|place| place.name == *name);
            let until = Timestamp::from_micros(wait.until_micros);
            let over = journal.iter().find(
                |fact| matches!(&fact.kind, Kind::StepSettled(end) if end.step == *number && end.result.is_none()),
            );
            let Some(over) = over else { continue };
            if wanted && wait.until_micros > 0 && at.after(slack) < until && over.number < received {
                problems.push(format!(
                    "S8: fact {} ends a wait at {until}; {message:?} was acknowledged at {at}",
                    over.number
                ));
            }
        }
    }
}
