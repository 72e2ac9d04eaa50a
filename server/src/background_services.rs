//! Tasks that run as long as the orchestrator does, and the table of them.
//!
//! To add your own, create a file in this module's folder, implement [`BackgroundService`] there (or make a [`Periodic`] with
//! a closure for one round), and add one line to [`all`]. The supervisor starts the service, restarts it after an error or
//! a panic with a growing, jittered pause, asks it to stop, and waits for it.

use std::sync::Arc;

use engine::engine::Engine;
use engine::store::Schedule;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use transport::Services;
use transport::channel::ServedTls;

use crate::access::Guard;
use crate::health::Reporter;
use crate::own::Own;

mod claim_runs;
mod follow_keys;
mod periodic;
mod purge_runs;
mod refresh_access;
mod refresh_identities;
mod report_health;
mod report_services;
mod run_schedules;
mod share_limits;
mod supervisor;
mod write_refusals;

pub use periodic::Periodic;
pub use supervisor::Supervisor;

/// Why a round or a service failed; it is logged, and the service is restarted.
pub type ServiceError = Box<dyn std::error::Error + Send + Sync>;

/// A supervised task.
pub trait BackgroundService: Send + Sync + 'static {
    /// The name in logs.
    fn name(&self) -> &'static str;

    /// Works until `stop` is cancelled. An earlier return, good or bad, is followed by another run.
    ///
    /// Keep state in this future, so that each restart begins without it.
    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, Result<(), ServiceError>>;
}

/// The parts of the orchestrator that background services use.
pub struct Parts {
    pub engine: Engine,
    pub schedules: Vec<Schedule>,
    pub services: Arc<Services>,
    pub reporter: Arc<Reporter>,
    pub health_interval: std::time::Duration,
    /// Who may use the admin API.
    pub guard: Guard,
    /// The certificates of the listeners that encrypt.
    pub certificates: Vec<(&'static str, Arc<ServedTls>)>,
    /// Settings of the team's own.
    pub own: Own,
}

/// Every background service of the orchestrator: those that each has, and those of the team.
pub fn all(parts: Parts, of_team: fn(&Parts) -> Vec<Box<dyn BackgroundService>>) -> Vec<Box<dyn BackgroundService>> {
    let own = of_team(&parts);
    let Parts { engine, schedules, services, reporter, health_interval, guard, certificates, own: _ } = parts;
    let mut all: Vec<Box<dyn BackgroundService>> = vec![
        Box::new(claim_runs::ClaimRuns::new(engine.clone())),
        Box::new(run_schedules::RunSchedules::new(engine.clone(), schedules)),
        Box::new(purge_runs::PurgeRuns::new(engine.clone())),
        Box::new(refresh_identities::refresh_identities(Arc::clone(&services))),
        Box::new(refresh_access::refresh_access(guard.clone(), certificates)),
        Box::new(follow_keys::FollowKeys::new(guard.clone())),
        Box::new(write_refusals::write_refusals(guard, engine.clone())),
        Box::new(share_limits::ShareLimits::new(engine.clone(), Arc::clone(&services))),
        Box::new(report_services::report_services(services, reporter.clone(), health_interval)),
        Box::new(report_health::report_health(engine, reporter, health_interval)),
    ];
    all.extend(own);
    all
}
