//! How a run waits for a service that is down: visibly, without attempts, and after a while without memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use super::call_step::{Down, Phase};
use super::in_flight::InFlight;
use super::step::LiveStep;
use crate::step_id::SlotId;
use crate::time::Timestamp;
use crate::transport::{Outage, Waiting};

/// A run that was given back is due again after half of the time for which its service has been down, within these bounds.
const SOONEST: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(120);

impl Driver {
    /// The service of this step is down: the step continues waiting, and is no attempt.
    pub(super) fn down(&mut self, slot: SlotId, outage: Outage, back: Waiting) {
        let now = self.shared.clock.now();
        let Some(call) = self.steps.call_mut(slot).filter(|call| matches!(call.phase(), Phase::Reserving)) else {
            return;
        };
        let Outage { service, since, error } = outage;
        let since = now.before(Instant::now().saturating_duration_since(since)).to_second();
        let lingers_until = now.after(self.shared.limits.linger);
        call.enter(Phase::Down(Down { service, since, error }));
        let attempt = call.attempts;
        // From then on the step is no reason to keep the run in memory.
        self.steps.set_timer(slot, lingers_until);
        self.steps.begin_flight(InFlight::waiting(slot, attempt, back));
    }

    fn first_down(&self) -> Option<&Down> {
        self.steps.values().find_map(down)
    }

    /// What the row says of a run that waits for a service.
    pub(super) fn service_down(&self) -> Option<String> {
        let Down { service, since, error, .. } = self.first_down()?;
        Some(format!("SERVICE_DOWN: {service} is not called since {since}: {error}"))
    }

    /// When a run that is given back asks again whether its service is there. The longer that was down, the later; spread,
    /// so that not all runs come at the same time.
    pub(super) fn outage_recheck_at(&self) -> Option<Timestamp> {
        let since = self.steps.values().filter_map(down).map(|down| down.since).max()?;
        let now = self.shared.clock.now();
        let pause = (now.since(since) / 2).clamp(SOONEST, LATEST);
        Some(now.after(pause.mul_f64(0.5 + self.shared.random.share())))
    }

    /// The run leaves memory; that it waits for a service is still counted.
    pub(super) fn count_outage_wait(&self) {
        if let Some(down) = self.first_down() {
            self.shared.outage_waiters.add(self.row.id, Arc::clone(&down.service));
        }
    }
}

fn down(step: &LiveStep) -> Option<&Down> {
    match step.phase()? {
        Phase::Down(down) => Some(down),
        _ => None,
    }
}
