//! Runs a workflow once for every point at which its replica can be killed, and for every operation of its store that can
//! time out, and looks at what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::faults::Fault;
use super::services::Identity;
use super::{Probe, World};
use crate::authoring::workflow::Workflow;
use crate::engine::EngineError;
use crate::failure::{Code, Failure};
use crate::state::State;

/// What a sweep saw.
#[derive(Debug)]
pub struct Sweep<O> {
    /// The result of a run that is left alone.
    pub result: Result<O, Failure>,
    /// The points at which something was done to it, in the order in which the run passed them.
    pub points: Vec<&'static str>,
    /// What happened otherwise: the number of the point, and how it differed.
    pub differences: Vec<(usize, String)>,
}

impl<O: std::fmt::Debug> Sweep<O> {
    /// Says that the same came of it everywhere: one end, and every effect applied once under one key.
    ///
    /// # Panics
    /// Where one did not; the message names the points.
    pub fn holds(&self) -> &Result<O, Failure> {
        assert!(self.differences.is_empty(), "it came otherwise: {:#?}", self.differences);
        assert!(!self.points.is_empty(), "the run passed no points");
        &self.result
    }
}

/// Runs `W` without a crash and counts the points, then once for every point, killed right there and taken over
/// by a fresh replica on the same store. Then it is run twice for every operation of the store that the run without a
/// crash needed: that operation times out, before and after it took effect, and the replica goes on. `world` makes a new
/// world with its services each time.
///
/// Whoever started the run asks again under the same request id when the answer did not come.
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
        if after != result {
            differences.push((point, format!("{name}: ended as {after:?}")));
        }
        if let Some(difference) = compare(&effects, &seen) {
            differences.push((point, format!("{name}: {difference}")));
        }
    }
    for (operation, name) in operations.iter().enumerate() {
        for fault in [Fault::Before, Fault::After] {
            let failing = world(Probe::timing_out(operation, fault));
            let (after, seen) = finish::<W>(&failing, input.clone(), REQUEST, &act).await;
            let mut differs = |what: String| {
                differences.push((points.len() + operation, format!("{name} timed out ({fault:?}): {what}")));
            };
            if after != result {
                differs(format!("ended as {after:?}"));
            }
            compare(&effects, &seen).into_iter().for_each(differs);
        }
    }
    Sweep { result, points, differences }
}

/// The longest time, in virtual time, after which a run is looked at that has not ended.
const LONGEST_LOOK: Duration = Duration::from_secs(3_600);

/// The request id of the start.
pub(super) const REQUEST: Uuid = Uuid::from_u128(0x5eed);

pub(super) type Effects = BTreeMap<(&'static str, Bytes), Identity>;

pub(super) async fn finish<W: Workflow>(
    world: &World,
    input: W::Input,
    request: Uuid,
    act: &impl AsyncFn(&World, Uuid),
) -> (Result<W::Output, Failure>, Effects)
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
        Err(error) => return (Err(Failure::new(Code::Internal, error.to_string())), Effects::new()),
    };
    let (result, ()) = tokio::join!(end::<W>(world, run), act(world, run));
    (result, world.services().identities())
}

/// The end of a run, or why it stopped before it.
async fn end<W: Workflow>(world: &World, run: Uuid) -> Result<W::Output, Failure> {
    let mut patience = Duration::from_secs(1);
    loop {
        match world.engine().ended(run, patience).await {
            Ok(Some(_)) => return world.result_of::<W>(run).await,
            Ok(None) => patience = (patience * 2).min(LONGEST_LOOK),
            Err(error) => return Err(Failure::new(Code::Internal, error.to_string())),
        }
        let status = world.detail(run).await.row.status;
        if matches!(status.state, State::Blocked | State::NeedsDecision) {
            return Err(Failure::new(Code::FailedPrecondition, format!("{} {}", status.state, status.reason)));
        }
    }
}

/// Every effect of the whole run happened, nothing else did, and each was applied once under one key.
pub(super) fn compare(whole: &Effects, seen: &Effects) -> Option<String> {
    for (effect, identity) in seen {
        let method = effect.0;
        let Some(once) = whole.get(effect) else { return Some(format!("{method} was called with another request")) };
        if identity.keys.len() != once.keys.len() {
            return Some(format!("{method} arrived under {} keys", identity.keys.len()));
        }
        if identity.applied != once.applied {
            return Some(format!("{method} was applied {} times, not {}", identity.applied, once.applied));
        }
    }
    let missing = whole.keys().find(|effect| !seen.contains_key(*effect));
    missing.map(|(method, _)| format!("{method} did not happen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_makes_an_effect_the_same() {
        let effect = ("/s/M", Bytes::from_static(b"request"));
        let once = Identity { keys: vec![Uuid::from_u128(1)], arrivals: 1, applied: 1 };
        let whole = Effects::from([(effect.clone(), once.clone())]);
        let sent_again = Effects::from([(effect.clone(), Identity { arrivals: 2, ..once.clone() })]);
        assert_eq!(compare(&whole, &sent_again), None);
        let doubled = Effects::from([(effect, Identity { applied: 2, ..once })]);
        assert!(compare(&whole, &doubled).is_some());
        assert!(compare(&whole, &Effects::new()).is_some());
    }
}
