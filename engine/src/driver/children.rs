//! Child runs: created in their parent's append, over when their end lies in its inbox, asked to end with it.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use uuid::Uuid;

use super::step::{ChildStep, LiveStep, StepKind};
use super::{CANCEL, Driver};
use crate::failure::{Code, Failure};
use crate::identity;
use crate::journal::{Kind, load_failure};
use crate::journal_v1 as stored;
use crate::rules;
use crate::run::{new_run, pending};
use crate::scope::{ChildIntent, Fault};
use crate::state::State;
use crate::step_id::{SlotId, StepId};
use crate::store::{ChildEndNotice, Message, NewRun, Parent, RelatedRuns};
use crate::time::Timestamp;

/// What the run knows of its children.
#[derive(Default)]
pub(super) struct Children {
    /// Steps of those that continue, by run.
    slots: BTreeMap<Uuid, SlotId>,
    /// Ends that came and that no step has received.
    ends: Vec<(u64, stored::ChildEnded)>,
    /// Whether those that continue were asked to end with the run.
    asked: bool,
}

impl Driver {
    /// Begins what code asked for: the next append creates the child.
    pub(super) fn request_child(&mut self, intent: ChildIntent) {
        let Some(workflow) = self.shared.workflows.get(intent.workflow) else {
            let (child, workflow) = (intent.place.to_string(), intent.workflow);
            return self.scope.fail(Fault::UnknownChild { child, workflow });
        };
        let (slot, place) = (intent.slot, intent.place.clone());
        let (rules, now) = (self.shared.workflows.rules(), self.shared.clock.now());
        let violations = rules.check_message(&workflow.input_type, &intent.input, now);
        let kind = StepKind::Child(ChildStep::Requested(Box::new(intent)));
        self.steps.insert(slot, LiveStep::new(place, now, kind));
        if !violations.is_empty() {
            let failure = rules::broken("the input", &violations);
            self.settle(slot, Err(failure), stored::Outcome::NotSent, false);
        }
    }

    /// Continues waiting for the end of a child that was created.
    pub(super) fn wait_for_child(&mut self, slot: SlotId, place: StepId, child: ChildStep) {
        let now = self.shared.clock.now();
        if let ChildStep::Started { run, .. } = child {
            self.children.slots.insert(run, slot);
        }
        self.steps.insert(slot, LiveStep::new(place, now, StepKind::Child(child)));
        self.linger_until(slot, now);
    }

    /// Children may end soon, and together: the run stays in memory for a while.
    fn linger_until(&mut self, slot: SlotId, now: Timestamp) {
        self.steps.set_timer(slot, now.after(self.shared.limits.linger));
    }

    /// Writes the starts of the children that are to be created: their slots, and their runs.
    pub(super) fn start_children(&mut self) -> (Vec<SlotId>, Vec<NewRun>) {
        let (now, latest) = (self.shared.clock.now(), self.work_deadline());
        let requested = self.steps.slots(LiveStep::is_requested_child);
        let mut runs = Vec::with_capacity(requested.len());
        for slot in &requested {
            let sequence = self.next_sequence();
            let Some(step) = self.steps.get_mut(*slot) else { continue };
            let StepKind::Child(child) = &mut step.kind else { continue };
            let ChildStep::Requested(intent) = &*child else { continue };
            let Some(workflow) = self.shared.workflows.get(intent.workflow) else { continue };
            let place = &step.place;
            let id = identity::child_run(self.row.id, &place.branch, place.position, intent.incarnation, now);
            let deadline = now.after(intent.deadline.unwrap_or(workflow.deadline)).min(latest);
            let mut run = new_run(workflow, id, now, deadline, None);
            run.parent = Some(Parent { run: self.row.id, depth: self.scope.depth + 1 });
            pending(&mut run, workflow, intent.input.clone());
            runs.push(run);
            let fact = stored::ChildStarted {
                place: Some(place.stored()),
                incarnation: intent.incarnation,
                run: id.to_string(),
                workflow: intent.workflow.to_owned(),
                input_hash: Bytes::copy_from_slice(&intent.hash),
                output_type: intent.output_type.clone(),
            };
            child.enter_starting(sequence, id);
            self.writes.push(now, Kind::ChildStarted(fact));
        }
        (requested, runs)
    }

    /// Children that are not created yet are not created at all.
    pub(super) fn drop_unstarted_children(&mut self) {
        self.steps.retain(|step| !step.is_requested_child());
    }

    /// The append that creates these is durable.
    pub(super) fn children_created(&mut self, slots: &[SlotId]) {
        let now = self.shared.clock.now();
        for slot in slots {
            let Some(StepKind::Child(child)) = self.steps.get_mut(*slot).map(|step| &mut step.kind) else { continue };
            let Some(run) = child.enter_started() else { continue };
            self.children.slots.insert(run, *slot);
            self.linger_until(*slot, now);
        }
        if !slots.is_empty() {
            self.shared.due.notify_one();
        }
    }

    /// The append that would have created these was refused.
    pub(super) fn children_refused(&mut self, slots: &[SlotId]) {
        for slot in slots {
            if let Some(StepKind::Child(child)) = self.steps.get_mut(*slot).map(|step| &mut step.kind) {
                child.leave_starting();
            }
        }
        self.children.asked = false;
    }

    /// What the next append does with children and with the parent.
    pub(super) fn related_runs(&mut self, children: Vec<NewRun>, ended: bool) -> Option<Box<RelatedRuns>> {
        let cancels = self.unasked();
        self.children.asked |= !cancels.is_empty();
        let report = if ended { self.report() } else { None };
        if children.is_empty() && cancels.is_empty() && report.is_none() {
            return None;
        }
        Some(Box::new(RelatedRuns { children, cancels, report }))
    }

    /// Children that are to be asked to end with the run: all that continue, if it does not end well, or was cancelled while
    /// it waited for them.
    pub(super) fn unasked(&self) -> Vec<Uuid> {
        match self.mode.end() {
            Some(end) if (end.state != State::Succeeded || self.is_cancelled()) && !self.children.asked => {
                self.children.slots.keys().copied().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Children that code has not come to again since a retry end with the run like all others.
    pub(super) fn adopt_held_children(&mut self) {
        let held: Vec<Uuid> = self.steps.held().filter_map(|open| open.kind.child()).collect();
        for child in held {
            let slot = self.steps.detached_slot();
            self.children.slots.insert(child, slot);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.mailbox.has(CANCEL) || self.row.cancel_requested.is_some()
    }

    /// An operator cancels a run that ends: what it decided stands, and its children are asked to end.
    pub(super) fn cancel_children(&mut self) {
        if self.steps.values().any(LiveStep::is_requested_child) {
            self.drop_unstarted_children();
            self.conclude();
        }
    }

    /// Why a run that ends is not over.
    pub(super) fn children_left(&self) -> String {
        match self.children.slots.len() {
            0 => String::new(),
            1 => "CHILDREN: 1 of its child runs continues".to_owned(),
            many => format!("CHILDREN: {many} of its child runs continue"),
        }
    }

    /// What the parent is told of the end.
    fn report(&self) -> Option<ChildEndNotice> {
        let (parent, end) = (self.row.parent?, self.mode.end()?);
        let ended = stored::ChildEnded { run: self.row.id.to_string(), ended: Some(end.stored()) };
        Some(ChildEndNotice { parent, payload: ended.encode_to_vec().into() })
    }

    /// Keeps the end of a child until its step receives it. Gives back what is no such message.
    pub(super) fn keep_end(&mut self, message: Message) -> Option<Message> {
        if message.name != Message::CHILD_ENDED {
            return Some(message);
        }
        match stored::ChildEnded::decode(message.payload) {
            Ok(end) => self.children.ends.push((message.number, end)),
            // It is left where it is; the step waits visibly.
            Err(error) => {
                tracing::error!(run = %self.row.id, %error, "the message about the end of a child cannot be read")
            }
        }
        None
    }

    /// Brings the end of one child to its step. False where there is none to bring.
    pub(super) fn receive_end(&mut self) -> bool {
        let slot_of = |end: &stored::ChildEnded| self.children.slots.get(&Uuid::try_parse(&end.run).ok()?).copied();
        let found = self.children.ends.iter().enumerate().find_map(|(at, (_, end))| Some((at, slot_of(end)?)));
        let Some((at, slot)) = found else { return false };
        let (number, end) = self.children.ends.remove(at);
        self.children.slots.retain(|_, known| *known != slot);
        let result = match end.ended.and_then(|ended| ended.result) {
            Some(stored::ended::Result::Output(output)) => Ok(output),
            Some(stored::ended::Result::Failure(failure)) => Err(load_failure(failure)),
            None => Err(Failure::new(Code::Unknown, "the child run ended without a result")),
        };
        // The step that a child failed at is one of its own.
        let result = result.map_err(|failure| {
            let message = format!("child run {}: {}", end.run, failure.message());
            Failure::new(failure.code(), message).with_details(failure.details().to_vec())
        });
        self.ended_child(slot, number, result);
        true
    }
}
