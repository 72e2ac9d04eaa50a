//! Runs a workflow once for every point at which its replica can be killed, and for every operation of its store that can
//! time out, and looks at the result (semantics.md P2).

use std::time::Duration;

use uuid::Uuid;

use super::effects::{Effects, compare};
use super::probe::Fault;
use super::sweep::{Came, Difference, Sweep};
use super::{Probe, World};
use crate::authoring::workflow::Workflow;
use crate::engine::EngineError;
use crate::rpc::Level;
use crate::state::State;
use crate::store::Status;
use crate::view::{Detail, StepState};

/// Runs `W` without a crash and counts the points, then once for every point, killed right there and taken over
/// by a fresh replica on the same store. Then it is run twice for every operation of the store that the run without a
/// crash needed: that operation times out, before and after it took effect, and the replica continues. `world` makes a new
/// world with its services each time.
///
/// The caller that started the run asks again under the same request id when the answer did not come.
pub async fn crash_everywhere<W>(world: impl Fn(Probe) -> World, input: W::Input) -> Sweep<W::Output>
where
    W: Workflow,
    W::Input: Clone,
    W::Output: PartialEq + std::fmt::Debug,
{
    crash_everywhere_while::<W>(world, input, async |_, _| ()).await
}

/// The same while somebody does something with the run, such as sending it signals: from the start again where the
/// replica is killed meanwhile, so under request ids.
pub async fn crash_everywhere_while<W>(
    world: impl Fn(Probe) -> World,
    input: W::Input,
    act: impl AsyncFn(&World, Uuid),
) -> Sweep<W::Output>
where
    W: Workflow,
    W::Input: Clone,
    W::Output: PartialEq + std::fmt::Debug,
{
    let whole = world(Probe::counting());
    let (result, effects) = finish::<W>(&whole, input.clone(), REQUEST, &act).await;
    let (points, operations) = (whole.probe().points(), whole.probe().operations());
    drop(whole);

    let mut differences = Vec::new();
    for (point, name) in points.iter().enumerate() {
        let probe = Probe::killing_at(point);
        let first = world(probe.clone());
        tokio::select! {
            () = probe.death() => {}
            _ = finish::<W>(&first, input.clone(), REQUEST, &act) => {}
        }
        let second = first.crash(Probe::counting());
        let (after, seen) = finish::<W>(&second, input.clone(), REQUEST, &act).await;
        let done = format!("the replica is killed at `{name}`");
        differences.extend(differing(&result, &after, &effects, &seen).map(|what| Difference {
            point,
            done: done.clone(),
            what,
        }));
    }
    for (operation, name) in operations.iter().enumerate() {
        for fault in [Fault::Before, Fault::After] {
            let failing = world(Probe::timing_out(operation, fault));
            let (after, seen) = finish::<W>(&failing, input.clone(), REQUEST, &act).await;
            let when = match fault {
                Fault::Before => "before",
                Fault::After => "after",
            };
            let done = format!("the store operation {name} times out {when} it took effect");
            differences.extend(differing(&result, &after, &effects, &seen).map(|what| Difference {
                point: points.len() + operation,
                done: done.clone(),
                what,
            }));
        }
    }
    Sweep { result: result.into_result(), points, differences }
}

/// What one run did otherwise than the one that was left alone.
pub(super) fn differing<O: PartialEq + std::fmt::Debug>(
    result: &Came<O>,
    after: &Came<O>,
    effects: &Effects,
    seen: &Effects,
) -> impl Iterator<Item = String> {
    let end = (after != result).then(|| after.told());
    end.into_iter().chain(compare(effects, seen, matches!(after, Came::Ended(_))))
}

/// The longest time, in virtual time, after which a run is looked at that has not ended.
const LONGEST_LOOK: Duration = Duration::from_secs(3_600);

/// The request id of the start.
pub(super) const REQUEST: Uuid = Uuid::from_u128(0x5eed);

pub(super) async fn finish<W: Workflow>(
    world: &World,
    input: W::Input,
    request: Uuid,
    act: &impl AsyncFn(&World, Uuid),
) -> (Came<W::Output>, Effects)
where
    W::Input: Clone,
{
    let started = match world.start_once::<W>(input.clone(), Some(request)).await {
        // Whether it was done is not known: the same request again.
        Err(EngineError::Store(_)) => world.start_once::<W>(input, Some(request)).await,
        started => started,
    };
    let run = match started {
        Ok(run) => run,
        Err(error) => return (Came::Stopped(format!("the run does not start: {error}")), Effects::new()),
    };
    let (result, ()) = tokio::join!(end::<W>(world, run), act(world, run));
    (result, world.services().identities())
}

/// The end of a run, or why it stopped before it.
async fn end<W: Workflow>(world: &World, run: Uuid) -> Came<W::Output> {
    let mut patience = Duration::from_secs(1);
    loop {
        match world.engine().ended(run, patience).await {
            Ok(Some(_)) => return Came::Ended(world.result_of::<W>(run).await),
            Ok(None) => patience = (patience * 2).min(LONGEST_LOOK),
            Err(error) => return Came::Stopped(format!("the run cannot be looked at: {error}")),
        }
        let detail = world.detail(run).await;
        if matches!(detail.row.status.state, State::Blocked | State::NeedsDecision) {
            return Came::Stopped(why_stopped(&detail));
        }
    }
}

/// Why a run did not end.
fn why_stopped(detail: &Detail) -> String {
    let Status { state, reason, .. } = &detail.row.status;
    let open = detail.steps.iter().find(|step| step.state == StepState::NeedsDecision);
    match open.filter(|_| *state == State::NeedsDecision).map(|step| (step.path(), step.level)) {
        Some((step, Some(Level::Unknown))) => {
            format!("{step} states no level, so a lost answer asks for a decision")
        }
        Some((step, _)) => format!("{step} is in doubt longer than its service remembers keys: {reason}"),
        None => format!("the run stays {state}: {reason}"),
    }
}
