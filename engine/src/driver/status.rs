//! What a run's row says of it: state and reason, when it is due again, and whether it is given back.

use super::Driver;
use super::mode::{Mode, Stop};
use super::step::{LiveStep, state_of};
use crate::state::State;
use crate::store::Status;
use crate::time::Timestamp;

impl Driver {
    /// Nothing continues but waiting for times or decisions.
    pub(super) fn is_idle(&self) -> bool {
        let code_waits = self.mode.is_stopped() || self.draining() || !self.steps.is_empty();
        code_waits && self.steps.values().all(LiveStep::is_idle)
    }

    /// Whether an idle run is given back to the store rather than kept in memory.
    pub(super) fn should_release(&self) -> bool {
        if self.inbox.is_looking() {
            return false;
        }
        if self.mode.is_stopped() || self.draining() {
            return true;
        }
        let linger = self.shared.clock.now().after(self.shared.limits.linger);
        self.steps.next_timer().is_none_or(|at| at > linger)
    }

    /// Whether the row should say this of a run that waits.
    pub(super) fn is_news(&self, status: &Status) -> bool {
        let known = &self.row.status;
        status.state != known.state || (status.reason != known.reason && self.service_down().is_some())
    }

    /// What the row says after the append.
    pub(super) fn status(&self, idle: bool) -> Status {
        let undecided = || self.steps.values().any(LiveStep::is_undecided);
        let (state, reason) = match &self.mode {
            Mode::Ended(end) => (end.state, String::new()),
            Mode::Stopped(stop) => stop.says(),
            Mode::Ending { stop: Some(stop), .. } if !matches!(stop, Stop::Reload { .. }) => stop.says(),
            Mode::Ending { .. } if undecided() => (State::NeedsDecision, self.undecided()),
            Mode::Ending { .. } => (State::Ending, self.ending_reason()),
            // A run that is given back keeps its state, unless an operator has to act.
            Mode::NoCode | Mode::Running(_) if idle && self.draining() && !undecided() => {
                (self.row.status.state, String::new())
            }
            Mode::NoCode | Mode::Running(_) if idle => match state_of(self.steps.values()) {
                State::NeedsDecision => (State::NeedsDecision, self.undecided()),
                State::BackingOff => (State::BackingOff, self.backing_off()),
                state => (state, String::new()),
            },
            Mode::NoCode | Mode::Running(_) => (State::Running, String::new()),
        };
        let end = self.mode.end();
        Status {
            state,
            reason,
            ending_as: end.filter(|_| !self.mode.has_ended()).map(|end| end.state),
            wake_at: self.wake_at(state, idle),
            awaits: if idle && !self.mode.is_stopped() { self.awaited() } else { Vec::new() },
            steps: self.scope.steps() + self.undoing.begun,
            error: end
                .and_then(|end| end.result.as_ref().err())
                .map(|failure| (failure.code() as i32, failure.message().to_owned())),
        }
    }

    /// What a run that ends is not over for.
    fn ending_reason(&self) -> String {
        let children = || Some(self.children_left()).filter(|left| !left.is_empty());
        self.service_down().or_else(children).unwrap_or_else(|| self.undoing_reason())
    }

    /// When a run that is given back is due again.
    fn wake_at(&self, state: State, idle: bool) -> Option<Timestamp> {
        if state.is_end() {
            return None;
        }
        let step = self.steps.next_timer().into_iter().chain(self.outage_recheck_at()).min();
        let now = || Some(self.shared.clock.now());
        match (self.mode.is_ending(), self.mode.stop()) {
            (_, Some(Stop::BackOff { until, .. })) => Some(*until),
            (_, Some(Stop::Reload { .. })) => now(),
            // What an undo needs is an operator, wherever the run is held.
            (true, Some(_)) => None,
            _ if self.draining() => now(),
            // What is in flight beside a decision settles, also if its owner dies.
            (true, None) if state == State::NeedsDecision && !idle => now(),
            (true, None) => step,
            (false, Some(_)) if self.deadline_paused() => None,
            (false, Some(_)) => Some(self.work_deadline()),
            (false, None) => Some(step.map_or(self.work_deadline(), |at| at.min(self.work_deadline()))),
        }
    }

    fn undecided(&self) -> String {
        let undecided = self.steps.values().find(|step| step.is_undecided());
        undecided.map_or_else(String::new, |step| {
            format!(
                "AMBIGUOUS_EFFECT: {} may or may not have happened, its contract does not allow to repeat it",
                step.place
            )
        })
    }

    fn backing_off(&self) -> String {
        if let Some(reason) = self.service_down() {
            return reason;
        }
        let mut waiting = self.steps.values().filter(|step| step.backs_off());
        let waiting = waiting.find_map(|step| Some((step, step.call()?)));
        waiting.map_or_else(String::new, |(step, call)| {
            format!("RETRYING: {} after attempt {}", step.place, call.attempts)
        })
    }
}
