//! Runs a workflow that loses its memory after every step, and looks at the result.

use uuid::Uuid;

use super::crash::{REQUEST, differing, finish};
use super::sweep::{Difference, Sweep};
use super::{Probe, World};
use crate::authoring::workflow::Workflow;

/// Runs `W` as it is, and then so that its memory is dropped whenever a step has settled or waits: code comes to each
/// step by a replay of all those before it. What code does otherwise then is a difference: its journal does not fit, its
/// result or an effect is another one. `world` makes a new world with its services each time.
pub async fn replay_everywhere<W>(world: impl Fn(Probe) -> World, input: W::Input) -> Sweep<W::Output>
where
    W: Workflow,
    W::Input: Clone,
    W::Output: PartialEq + std::fmt::Debug,
{
    replay_everywhere_while::<W>(world, input, async |_, _| ()).await
}

/// The same while somebody does something with the run, such as sending it signals.
pub async fn replay_everywhere_while<W>(
    world: impl Fn(Probe) -> World,
    input: W::Input,
    act: impl AsyncFn(&World, Uuid),
) -> Sweep<W::Output>
where
    W: Workflow,
    W::Input: Clone,
    W::Output: PartialEq + std::fmt::Debug,
{
    let (result, effects) = finish::<W>(&world(Probe::counting()), input.clone(), REQUEST, &act).await;
    let forgetting = world(Probe::forgetting());
    let (after, seen) = finish::<W>(&forgetting, input, REQUEST, &act).await;
    let points = vec!["memory dropped"; forgetting.probe().forgotten()];
    let point = points.len();
    let differences = differing(&result, &after, &effects, &seen)
        .map(|what| Difference { point, done: "its memory is dropped after every step".to_owned(), what })
        .collect();
    Sweep { result: result.into_result(), points, differences }
}
