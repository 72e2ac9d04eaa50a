//! How steps begin: those that code asks for, and those that the journal has open.

use super::Driver;
use super::call_step::{CallStep, NewCall, Phase};
use super::step::{ChildStep, LiveStep, StepKind};
use crate::failure::Failure;
use crate::history::{PendingKind, PendingStep};
use crate::journal::Kind;
use crate::journal_v1 as stored;
use crate::rpc::Level;
use crate::rules;
use crate::scope::{CallIntent, Intent};
use crate::step_id::{SlotId, StepId};
use crate::time::Timestamp;
use crate::undo::{Undo, UndoSource};

impl Driver {
    /// Begins what code asked for.
    pub(super) fn start_intent(&mut self, intent: Intent) {
        match intent {
            Intent::Fact(kind) => self.record(*kind),
            Intent::RaceDecided { place, winner, losers, journaled } => {
                let withdrawn = self.abandon(&losers);
                if !journaled {
                    self.record(Kind::RaceDecided(stored::RaceDecided {
                        place: Some(place.stored()),
                        winner,
                        withdrawn,
                    }));
                }
            }
            // The journal had it settled, and code has the result, unless it came to an open step later than before
            // a retry.
            Intent::Call(call) if call.journaled => {
                if let Some(open) = self.steps.take_held(&call.place) {
                    self.reopen(call.slot, open, Some(*call));
                }
            }
            Intent::Sleep { slot, place, journaled: true, .. }
            | Intent::Signal { slot, place, journaled: true, .. } => {
                if let Some(open) = self.steps.take_held(&place) {
                    self.reopen(slot, open, None);
                }
            }
            Intent::Child(child) if child.journaled => {
                if let Some(open) = self.steps.take_held(&child.place) {
                    self.reopen(child.slot, open, None);
                }
            }
            Intent::Call(call) => self.begin_call(*call),
            Intent::Child(child) => self.request_child(*child),
            Intent::Signal { slot, place, type_name, within, .. } => self.wait_for(slot, place, type_name, within),
            Intent::Sleep { slot, place, span, .. } => {
                let until = self.shared.clock.now().after(span);
                let sequence = self.next_sequence();
                self.record(Kind::SleepStarted(stored::SleepStarted {
                    place: Some(place.stored()),
                    until_micros: until.as_micros(),
                }));
                self.writes.request();
                self.sleep_until(slot, place, sequence, until);
            }
        }
    }

    fn sleep_until(&mut self, slot: SlotId, place: StepId, sequence: u64, until: Timestamp) {
        let begun_at = self.shared.clock.now();
        self.steps.insert(slot, LiveStep::new(place, begun_at, StepKind::Sleep { sequence }));
        self.steps.set_timer(slot, until);
    }

    fn begin_call(&mut self, call: CallIntent) {
        let CallIntent { slot, place, method, request, hash, key, incarnation, options, undo, .. } = call;
        let now = self.shared.clock.now();
        let refused = self.refused(method.path, &request, undo.as_deref(), now);
        let level = self.level(&place.name, method.level, undo.is_some());
        let call = NewCall { level, request, hash, key, incarnation, options, undo, undoes: None };
        self.steps.insert(slot, LiveStep::new(place, now, StepKind::Call(CallStep::new(call, now))));
        match refused {
            None => self.attempt(slot),
            Some(failure) => self.settle(slot, Err(failure), stored::Outcome::NotSent, false),
        }
    }

    /// Why a call is not made: its request, or that of its undo, breaks the rules of its contract. A call that the journal
    /// has is not checked again, so rules that become stricter do not change what a run did (E8).
    fn refused(&self, path: &str, request: &[u8], undo: Option<&Undo>, now: Timestamp) -> Option<Failure> {
        let rules = self.shared.workflows.rules();
        let check = |what: &str, path: &str, request: &[u8]| {
            let violations = rules.check_request(path, request, now);
            (!violations.is_empty()).then(|| rules::broken(what, &violations))
        };
        check("the request", path, request).or_else(|| match &undo?.source {
            UndoSource::Known(undo) => check("the request of the undo", &undo.method, &undo.request),
            UndoSource::ByResponse(_) => None,
        })
    }

    /// The level of a step that is made now. One that is undone, or undoes, must be in the journal before it is sent,
    /// whatever the transport knows of its method.
    pub(super) fn level(&self, path: &str, stated: Level, undo: bool) -> Level {
        let level = self.shared.transport.level(path, stated);
        if undo && !level.has_effects() { stated } else { level }
    }

    /// Continues with a step that the journal has open. `call` is what code says of it, where code reached it.
    pub(super) fn reopen(&mut self, slot: SlotId, open: PendingStep, call: Option<CallIntent>) {
        let now = self.shared.clock.now();
        let (undecided, mut doubt) = (open.undecided(now), open.doubt);
        doubt.cut_off();
        let said = self.ending_options(&open).unwrap_or_default();
        let PendingStep { place, kind, begun_at, attempts, forgiven, retry_at, undoes, .. } = open;
        let options = call.as_ref().map_or(said, |call| call.options);
        let mut reopened = match (kind, call) {
            (PendingKind::Sleep { sequence, until }, _) => return self.sleep_until(slot, place, sequence, until),
            (PendingKind::Child { sequence, run }, _) => {
                return self.wait_for_child(slot, place, ChildStep::Started { sequence, run });
            }
            (PendingKind::Signal { sequence, until }, _) => return self.wait_on(slot, place, sequence, until),
            (PendingKind::Effect { sequence, key, incarnation, level, request, started_at, deadline }, call) => {
                let undo = call.and_then(|call| call.undo).or_else(|| self.take_undo(&place));
                let call = NewCall { level, request, hash: [0; 32], key, incarnation, options, undo, undoes };
                CallStep::with_start(call, now, (sequence, started_at), deadline)
            }
            (PendingKind::Call, Some(call)) => {
                let level = self.level(&place.name, call.method.level, call.undo.is_some());
                let CallIntent { request, hash, key, incarnation, undo, .. } = call;
                let call = NewCall { level, request, hash, key, incarnation, options, undo, undoes: None };
                CallStep::new(call, now)
            }
            // Never sent, and code does not ask for it any more.
            (PendingKind::Call, None) => return,
        };
        (reopened.attempts, reopened.forgiven, reopened.doubt) = (attempts, forgiven, doubt);
        let mut step = LiveStep::new(place, begun_at, StepKind::Call(reopened));
        // A step whose time is up ends when it is due: code may not be there yet to have its result.
        let out_of_time = step.deadline().is_some_and(|at| at <= now);
        let next = match retry_at {
            _ if undecided => Some(Phase::Undecided),
            Some(at) if at > now => Some(Phase::BackingOff(at)),
            _ => out_of_time.then_some(Phase::BackingOff(now)),
        };
        let timer = match &next {
            Some(Phase::BackingOff(at)) => Some(*at),
            _ => None,
        };
        let again = next.is_none();
        if let (Some(call), Some(next)) = (step.call_mut(), next) {
            call.enter(next);
        }
        self.steps.insert(slot, step);
        match timer {
            Some(at) => self.steps.set_timer(slot, at),
            None if again => self.attempt(slot),
            None => {}
        }
    }
}
