//! Periodically reports the state of each called service to the health service.

use std::sync::Arc;
use std::time::Duration;

use tonic_health::pb::health_check_response::ServingStatus;
use transport::{BreakerState, ServiceState, Services};

use super::{BackgroundService, Periodic};
use crate::health::Reporter;

/// The service that updates `service/NAME`.
pub(super) fn report_services(
    services: Arc<Services>,
    reporter: Arc<Reporter>,
    every: Duration,
) -> impl BackgroundService {
    Periodic::new("report-services", every, move || {
        let states = services.states();
        reporter.set_services(states.into_iter().map(|state| (status(&state), state.name)));
        std::future::ready(Ok(()))
    })
}

/// Whether a service is up; unknown for one that has not answered yet, and for one without a breaker.
fn status(state: &ServiceState) -> ServingStatus {
    match state.gate.breaker {
        BreakerState::Untried | BreakerState::Disabled => ServingStatus::Unknown,
        BreakerState::Open | BreakerState::HalfOpen => ServingStatus::NotServing,
        BreakerState::Closed | BreakerState::SlowStart => ServingStatus::Serving,
    }
}
