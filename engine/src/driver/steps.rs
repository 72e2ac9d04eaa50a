//! The open steps of a run, with their timers and what they have in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::call_step::{CallStep, Phase};
use super::in_flight::{Completed, InFlight};
use super::step::LiveStep;
use crate::history::PendingStep;
use crate::step_id::{SlotId, StepId};
use crate::time::Timestamp;

/// Where a step is: its branch, and its position there.
pub(super) type Position = (Arc<str>, u32);

pub(super) fn position(place: &StepId) -> Position {
    (Arc::clone(&place.branch), place.position)
}

#[derive(Default)]
pub(super) struct Steps {
    /// Boxed, because a map makes room for eleven at a time and most runs have one.
    open: BTreeMap<SlotId, Box<LiveStep>>,
    /// Steps that the journal has open and code comes to later than it did before a retry.
    held: BTreeMap<Position, PendingStep>,
    in_flight: FuturesUnordered<InFlight>,
    /// At most one for each open step, which knows its time.
    timers: BTreeSet<(Timestamp, SlotId)>,
    /// Slots that were given to steps which code does not wait for.
    detached: SlotId,
}

impl Steps {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn get(&self, slot: SlotId) -> Option<&LiveStep> {
        self.open.get(&slot).map(AsRef::as_ref)
    }

    pub(super) fn get_mut(&mut self, slot: SlotId) -> Option<&mut LiveStep> {
        self.open.get_mut(&slot).map(AsMut::as_mut)
    }

    pub(super) fn call_mut(&mut self, slot: SlotId) -> Option<&mut CallStep> {
        self.get_mut(slot)?.call_mut()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &LiveStep> + Clone {
        self.open.values().map(AsRef::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SlotId, &LiveStep)> {
        self.open.iter().map(|(slot, step)| (*slot, step.as_ref()))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut LiveStep> {
        self.open.values_mut().map(AsMut::as_mut)
    }

    /// The slots of the steps that are so, the oldest first.
    pub(super) fn slots(&self, is_so: impl Fn(&LiveStep) -> bool) -> Vec<SlotId> {
        self.iter().filter(|(_, step)| is_so(step)).map(|(slot, _)| slot).collect()
    }

    /// A slot for a step that code does not wait for.
    pub(super) fn detached_slot(&mut self) -> SlotId {
        self.detached += 1;
        SlotId::MAX - self.detached
    }

    pub(super) fn insert(&mut self, slot: SlotId, step: LiveStep) {
        self.open.insert(slot, Box::new(step));
    }

    /// Closes a step, with its timer.
    pub(super) fn remove(&mut self, slot: SlotId) -> Option<Box<LiveStep>> {
        let step = self.open.remove(&slot)?;
        if let Some(at) = step.timer {
            self.timers.remove(&(at, slot));
        }
        Some(step)
    }

    /// Closes the steps that are not so.
    pub(super) fn retain(&mut self, is_so: impl Fn(&LiveStep) -> bool) {
        for slot in self.slots(|step| !is_so(step)) {
            self.remove(slot);
        }
    }

    /// Forgets everything: the run is over.
    pub(super) fn clear(&mut self) {
        *self = Self { detached: self.detached, ..Self::default() };
    }

    /// Sets the timer of a step.
    pub(super) fn set_timer(&mut self, slot: SlotId, at: Timestamp) {
        self.clear_timer(slot);
        if let Some(step) = self.open.get_mut(&slot) {
            step.timer = Some(at);
            self.timers.insert((at, slot));
        }
    }

    pub(super) fn clear_timer(&mut self, slot: SlotId) {
        if let Some(at) = self.open.get_mut(&slot).and_then(|step| step.timer.take()) {
            self.timers.remove(&(at, slot));
        }
    }

    pub(super) fn clear_timers(&mut self) {
        self.timers.clear();
        self.values_mut().for_each(|step| step.timer = None);
    }

    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The step whose timer is due, if there is one; its timer is over.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<SlotId> {
        let (_, slot) = self.timers.first().copied().filter(|(at, _)| *at <= now)?;
        self.clear_timer(slot);
        Some(slot)
    }

    pub(super) fn begin_flight(&mut self, flight: InFlight) {
        self.in_flight.push(flight);
    }

    /// The next reservation or outcome; never, if nothing is in flight.
    pub(super) async fn completed(&mut self) -> Completed {
        match self.in_flight.next().await {
            Some(completed) => completed,
            None => std::future::pending().await,
        }
    }

    /// Waits for nothing any more.
    pub(super) fn abandon_in_flight(&mut self) {
        self.in_flight = FuturesUnordered::new();
    }

    /// Waits only for the outcomes of what was sent and is still open.
    pub(super) fn abandon_unsent(&mut self) {
        let in_flight = std::mem::take(&mut self.in_flight);
        let sent = |slot| matches!(self.get(slot).and_then(LiveStep::phase), Some(Phase::Sending));
        self.in_flight = in_flight.into_iter().filter(|flight| sent(flight.slot())).collect();
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &PendingStep> {
        self.held.values()
    }

    pub(super) fn hold(&mut self, held: BTreeMap<Position, PendingStep>) {
        self.held = held;
    }

    pub(super) fn take_held(&mut self, place: &StepId) -> Option<PendingStep> {
        self.held.remove(&position(place))
    }

    pub(super) fn take_all_held(&mut self) -> BTreeMap<Position, PendingStep> {
        std::mem::take(&mut self.held)
    }
}
