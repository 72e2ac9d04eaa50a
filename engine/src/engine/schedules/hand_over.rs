//! Hands the run that a tick starts to this replica in the transaction of the tick, so that no claim has to find it.

use std::sync::Arc;

use uuid::Uuid;

use crate::driver::DriverStart;
use crate::engine::Engine;
use crate::engine::resident::Place;
use crate::store::{StoreError, Tick, TickOutcome, Ticked};

impl Engine {
    /// Has the store decide about a tick. If a run starts and there is room, it begins in memory; otherwise it is due.
    pub(super) async fn tick(&self, mut tick: Tick) -> Result<Ticked, StoreError> {
        let mut reserved = None;
        if let Some(start) = &mut tick.start {
            // Before the store has it: who looks for runs of this replica that are not in memory does not find this one.
            let place = self.reserve(start.run.id);
            start.run.claimed = place.is_some();
            reserved = place.map(|place| (place, start.run.entry.clone()));
        }
        // If no answer comes, the store may have the run all the same. Then a place that is given up says so.
        let mut ticked = self.shared.store.tick(tick).await.inspect_err(|_| self.shared.due.notify_one())?;
        let mut held = None;
        if let Ticked::Done(done) = &mut ticked {
            held = done.held.take();
            if held.is_none() && done.outcome == Some(TickOutcome::Started) {
                self.shared.due.notify_one();
            }
        }
        match (reserved, held) {
            (Some((place, journal)), Some(row)) => {
                if let Some(workflow) = self.shared.workflows.get(&row.workflow) {
                    let beginning = DriverStart::Claimed { row, journal: Some(journal) };
                    self.spawn(place, Arc::clone(workflow), beginning);
                }
            }
            (Some((place, _)), None) => place.leave_unused(),
            (None, _) => {}
        }
        Ok(ticked)
    }

    fn reserve(&self, run: Uuid) -> Option<Place> {
        let place = self.admit(run);
        if place.is_none() {
            self.loops.claim_pacing.request_room();
        }
        place
    }
}
