//! How a run that fails or is cancelled takes its steps back, one after the other, the last one first (semantics.md U1 to
//! U3). What is left to undo is read from the journal, never from memory: a run that begins to undo is loaded again.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Driver;
use super::call_step::{CallStep, NewCall};
use super::code::{Finished, replay_into};
use super::mode::Stop;
use super::step::{LiveStep, StepKind};
use super::steps::{Position, position};
use crate::doubt::Doubt;
use crate::failure::Failure;
use crate::history::{PendingKind, PendingStep, Replay};
use crate::journal_v1 as stored;
use crate::panics::Panicked;
use crate::rpc::MARGIN;
use crate::rules;
use crate::scope::{CallOptions, Fault, Intent};
use crate::state::State;
use crate::step_id::StepId;
use crate::time::Timestamp;
use crate::undo::{self, Make, Policy, StepFate, Undo, UndoSource, Undoable};

/// How many steps that are left to undo a reason names.
const NAMED: usize = 8;

/// What a run knows of its undos.
#[derive(Default)]
pub(super) struct Undoing {
    /// Whether the journal has, or may have, steps with an undo.
    pub(super) any: bool,
    /// Steps that are left to undo, the next one last; none before they are read from the journal.
    pub(super) plan: Option<Vec<Undoable>>,
    /// Undos that were begun since the run was loaded.
    pub(super) begun: u32,
    /// Undos that are made from a response which may still come, as code said them.
    said: BTreeMap<Position, Box<Undo>>,
}

impl Driver {
    /// Whether the end that the run goes to takes its steps back.
    pub(super) fn must_undo(&self) -> bool {
        let undoes = |state| matches!(state, State::Failed | State::Cancelled);
        self.undoing.any && self.mode.end().is_some_and(|end| undoes(end.state))
    }

    /// How an open step of a run that ends is tried: code is not there to say it.
    pub(super) fn ending_options(&self, open: &PendingStep) -> Option<CallOptions> {
        let PendingKind::Effect { sequence, .. } = open.kind else { return None };
        let of = open.undoes.unwrap_or(sequence);
        let undoable = self.undoing.plan.as_ref()?.iter().find(|undoable| undoable.step == of)?;
        Some(options(undoable.policy))
    }

    /// Begins what comes next, where nothing of it is under way; says whether nothing is left.
    pub(super) fn all_undone(&mut self) -> bool {
        let Some(plan) = &mut self.undoing.plan else {
            self.mode.set_stopped(Stop::Reload { state: State::Ending });
            self.writes.request();
            return false;
        };
        while plan.last().is_some_and(|undoable| !undoable.is_left()) {
            plan.pop();
        }
        let Some(next) = plan.last().cloned() else { return true };
        // A step in doubt was opened when the journal was read: what is in doubt here has been asked again since.
        let may_repeat = next.level.may_repeat(Some(next.started_at), self.shared.clock.now());
        match (next.fate, next.undo.clone()) {
            _ if next.failed.is_some() => self.undo_failed(&next, next.failed.as_deref().unwrap_or_default()),
            (StepFate::Doubtful, _) if may_repeat => {
                self.undo_failed(&next, "whether it happened is not known, and its service gives no answer");
            }
            (StepFate::Open | StepFate::Doubtful, _) => self.settle_again(&next),
            (_, Some(undo)) => match self.undo_refused(&next, &undo) {
                Some(refused) => self.undo_failed(&next, refused.message()),
                None => self.undo(&next, undo),
            },
            (_, None) => self.undo_failed(&next, "its undo is made from its response, which is not known"),
        }
        false
    }

    /// Asks again under the same key what became of a step, so that it can be undone; if its contract does not allow that,
    /// an operator is asked.
    fn settle_again(&mut self, step: &Undoable) {
        let now = self.shared.clock.now();
        let mut doubt = Doubt::default();
        doubt.fail(stored::Outcome::Ambiguous);
        let call = NewCall {
            level: step.level,
            request: step.request.clone(),
            hash: [0; 32],
            key: step.key,
            incarnation: step.incarnation,
            options: options(step.policy),
            undo: self.take_undo(&step.place),
            undoes: None,
        };
        let mut call = CallStep::with_start(call, now, (step.step, step.started_at), step.deadline);
        (call.attempts, call.forgiven, call.doubt) = (step.attempts, step.attempts, doubt);
        self.make(step.place.clone(), call);
    }

    /// The undo of a step of an ending run, where code had to say it again.
    pub(super) fn take_undo(&mut self, place: &StepId) -> Option<Box<Undo>> {
        self.undoing.said.remove(&position(place))
    }

    /// Why an undo that was made from a response is not sent: its request breaks the rules of its contract. One that was
    /// made from the key was checked with the step that it takes back (E8).
    fn undo_refused(&self, step: &Undoable, undo: &stored::Undo) -> Option<Failure> {
        if !step.by_response {
            return None;
        }
        let rules = self.shared.workflows.rules();
        let violations = rules.check_request(&undo.method, &undo.request, self.shared.clock.now());
        (!violations.is_empty()).then(|| rules::broken("the request of the undo", &violations))
    }

    fn undo(&mut self, step: &Undoable, undo: stored::Undo) {
        let now = self.shared.clock.now();
        let place = undo::place_of(&step.place, undo.method.clone());
        let call = NewCall {
            level: self.level(&undo.method, Undoable::undo_level(&undo), true),
            key: undo::key_of(self.row.id, &step.place, &undo.method, step.incarnation),
            hash: crate::identity::hash(&undo.request),
            request: undo.request,
            incarnation: step.incarnation,
            options: options(step.policy),
            undo: None,
            undoes: Some(step.step),
        };
        self.undoing.begun += 1;
        self.make(place, CallStep::new(call, now));
    }

    fn make(&mut self, place: StepId, call: CallStep) {
        let slot = self.steps.detached_slot();
        let begun_at = self.shared.clock.now();
        self.steps.insert(slot, LiveStep::new(place, begun_at, StepKind::Call(call)));
        self.retry_now(slot);
    }

    /// When a service that says NOT_FOUND to this undo can be believed: an attempt of the step that is taken back may
    /// still be on its way to it.
    pub(super) fn undo_conclusive_at(&self, undoes: u64) -> Option<Timestamp> {
        let plan = self.undoing.plan.as_ref()?;
        plan.iter().find(|undoable| undoable.step == undoes).map(|undoable| undoable.deadline.after(MARGIN))
    }

    /// Another attempt of a step begins, which may be one of the plan.
    pub(super) fn attempted_for_undo(&mut self, step: u64, attempt: u32, deadline: Timestamp) {
        let mut plan = self.undoing.plan.iter_mut().flatten();
        if let Some(undoable) = plan.find(|undoable| undoable.step == step) {
            undoable.attempted(attempt, deadline);
        }
    }

    /// A step of the plan settled, or its undo did.
    pub(super) fn settled_for_undo(&mut self, call: &CallStep, settled: &stored::StepSettled) {
        let of = call.undoes.or(call.started.map(|(sequence, _)| sequence));
        let Some(plan) = &mut self.undoing.plan else { return };
        let Some(undoable) = plan.iter_mut().find(|undoable| Some(undoable.step) == of) else { return };
        if call.undoes.is_none() {
            return undoable.settled(settled, call.doubt);
        }
        undoable.undo_settled(settled);
    }

    fn undo_failed(&mut self, step: &Undoable, why: &str) {
        let left: Vec<String> = self
            .undoing
            .plan
            .iter()
            .flatten()
            .rev()
            .filter(|undoable| undoable.is_left())
            .map(|undoable| undoable.place.to_string())
            .collect();
        let more = left.len().saturating_sub(NAMED);
        let named = left[..left.len() - more].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        tracing::error!(run = %self.row.id, step = %step.place, left = left.len(), "undo failed");
        // What a service says may be about a person.
        tracing::debug!(run = %self.row.id, step = %step.place, why, "what failed");
        let reason = format!("UNDO_FAILED: {} is not undone ({why}); left to undo: {named}{more}", step.place);
        self.stop(Stop::Blocked { reason });
    }

    /// What an ending run says while it undoes.
    pub(super) fn undoing_reason(&self) -> String {
        let left = self.undoing.plan.iter().flatten().filter(|undoable| undoable.is_left()).count();
        if left == 0 || !self.must_undo() { String::new() } else { format!("UNDOING: {left} steps are left to undo") }
    }

    /// Makes an undo from a response; that is code of the run, wherever it is called.
    pub(super) fn made(&self, make: Box<Make>, response: Bytes) -> Result<Option<stored::Undo>, Panicked> {
        let _poll = self.shared.safeguards.breadcrumbs.as_ref().map(|breadcrumbs| breadcrumbs.enter(self.row.id));
        undo::made(make, response)
    }

    /// Has the undos that are made from a response, if one may still come: code has to say them again.
    pub(super) fn find_undos(&mut self, replay: Vec<Replay>, seen: usize) -> Result<(), NoUndos> {
        if !self.undoing.plan.iter().flatten().any(Undoable::needs_code) {
            return Ok(());
        }
        let mut code = self.new_future();
        let finished = replay_into(&self.scope, &mut code, replay, seen)?;
        for intent in self.scope.take_intents() {
            if let Intent::Call(call) = intent
                && let Some(undo) = call.undo
            {
                self.undoing.said.insert(position(&call.place), undo);
            }
        }
        let mut plan = self.undoing.plan.take().unwrap_or_default();
        let made = self.make_undos(&mut plan);
        let missing = plan
            .iter()
            .any(|undoable| undoable.needs_code() && !self.undoing.said.contains_key(&position(&undoable.place)));
        self.undoing.plan = Some(plan);
        match finished {
            // It said what was needed before.
            Some(Finished::Panicked(panicked)) if missing => Err(NoUndos::Panicked(panicked)),
            _ => Ok(made?),
        }
    }

    /// Sees that every undo can be made before code continues: one whose code panicked is tried again.
    pub(super) fn make_missing_undos(
        &mut self,
        undoables: &mut [Undoable],
        intents: &mut [Intent],
    ) -> Result<(), Panicked> {
        let lacks = |undoable: &Undoable| undoable.undo.is_none() && undoable.response.is_some();
        if !undoables.iter().any(lacks) {
            return Ok(());
        }
        for intent in intents {
            let Intent::Call(call) = intent else { continue };
            let is_at = |undoable: &&Undoable| {
                (&undoable.place.branch, undoable.place.position) == (&call.place.branch, call.place.position)
            };
            if undoables.iter().filter(is_at).any(lacks)
                && let Some(undo) = call.undo.take()
            {
                self.undoing.said.insert(position(&call.place), undo);
            }
        }
        self.make_undos(undoables)
    }

    /// Makes the undos of steps whose response the journal has without one: an operator gave it, or code panicked over it.
    pub(super) fn make_undos(&mut self, undoables: &mut [Undoable]) -> Result<(), Panicked> {
        for undoable in undoables.iter_mut().filter(|undoable| undoable.by_response && undoable.undo.is_none()) {
            if let Some(response) = &undoable.response
                && let Some(UndoSource::ByResponse(make)) =
                    self.undoing.said.remove(&position(&undoable.place)).map(|undo| undo.source)
            {
                undoable.undo = self.made(make, response.clone())?;
                undoable.response = None;
            }
        }
        Ok(())
    }
}

/// Why the undos that code has to say again are not there.
pub(super) enum NoUndos {
    Fault(Fault),
    Panicked(Panicked),
}

impl From<Fault> for NoUndos {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Panicked> for NoUndos {
    fn from(panicked: Panicked) -> Self {
        Self::Panicked(panicked)
    }
}

const fn options(policy: Policy) -> CallOptions {
    CallOptions { retry: Some(policy.retry), timeout: policy.timeout, durable: false }
}
