//! `orchestrator.admin.v1.ReplicaService`.

use crate::proto::orchestrator::admin::v1::replica_service_server::ReplicaService;
use crate::proto::orchestrator::admin::v1::{ClockStep, GetReplicaRequest, Replica};
use engine::engine::Engine;
use engine::schedule::database_version;
use engine::time::{Clock, Timestamp};
use tonic::{Request, Response, Status};

pub(super) struct Replicas {
    engine: Engine,
    clock: Clock,
    started_at: Timestamp,
}

impl Replicas {
    /// Of the process that starts now.
    pub(super) fn new(engine: Engine, clock: Clock) -> Self {
        let started_at = clock.now();
        Self { engine, clock, started_at }
    }
}

#[tonic::async_trait]
impl ReplicaService for Replicas {
    async fn get_replica(&self, _: Request<GetReplicaRequest>) -> Result<Response<Replica>, Status> {
        let steps = self.engine.clock_steps();
        let clock_steps = steps.last().rev().map(|step| ClockStep {
            time: Some(step.at.into()),
            by: Some(prost_types::Duration { seconds: step.by.as_secs(), nanos: step.by.subsec_nanos() }),
        });
        Ok(Response::new(Replica {
            start_time: Some(self.started_at.into()),
            current_time: Some(self.clock.wall().into()),
            clock_step_count: i64::try_from(steps.count()).unwrap_or(i64::MAX),
            clock_steps: clock_steps.collect(),
            zone_database: database_version().to_owned(),
            runs_in_flight: i32::try_from(self.engine.in_flight()).unwrap_or(i32::MAX),
        }))
    }
}
