//! The admin API: what operators see and steer, over `orchestrator.admin.v1`.
//!
//! Handlers are thin: `requests` reads what came in, the engine does it, `messages` says what is stored, and
//! `status` is the one place where an error becomes a gRPC status.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::proto::orchestrator::admin::v1::audit_service_server::AuditServiceServer;
use crate::proto::orchestrator::admin::v1::bulk_service_server::BulkServiceServer;
use crate::proto::orchestrator::admin::v1::replica_service_server::ReplicaServiceServer;
use crate::proto::orchestrator::admin::v1::run_service_server::RunServiceServer;
use crate::proto::orchestrator::admin::v1::schedule_service_server::ScheduleServiceServer;
use crate::proto::orchestrator::admin::v1::service_service_server::ServiceServiceServer;
use crate::proto::orchestrator::admin::v1::workflow_service_server::WorkflowServiceServer;
use engine::engine::Engine;
use engine::time::Clock;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use transport::Services;

use crate::descriptors;

mod audit_service;
mod bulk_service;
mod filter;
mod granted;
mod messages;
mod pages;
mod replica_service;
mod requests;
mod resolution;
mod run_filter;
mod run_service;
mod schedule_requests;
mod schedule_service;
mod service_service;
pub(crate) mod status;
mod steps;
mod watch;
mod workflow_service;

/// Names of the services on the admin listener, for reflection.
pub const SERVICES: [&str; 7] = [
    "orchestrator.admin.v1.AuditService",
    "orchestrator.admin.v1.BulkService",
    "orchestrator.admin.v1.ReplicaService",
    "orchestrator.admin.v1.RunService",
    "orchestrator.admin.v1.ScheduleService",
    "orchestrator.admin.v1.WorkflowService",
    "orchestrator.admin.v1.ServiceService",
];

/// Metadata in which callers say who they are. Nothing proves it.
pub const CALLER: &str = "orchestrator-caller";

/// What a call does, as far as it decides how it is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Reads something and answers with it.
    Read,
    /// Answers with a stream.
    Watch,
    Other,
}

/// How a call is admitted: one whose contract says that it has no effects is a read, or a watch where it streams.
pub(crate) fn class(path: &str) -> Class {
    static CLASSES: LazyLock<HashMap<String, Class>> = LazyLock::new(|| {
        let methods = SERVICES.into_iter().filter_map(descriptors::service);
        let methods = methods.flat_map(|service| service.methods().collect::<Vec<_>>());
        let reads = methods.filter(descriptors::has_no_side_effects);
        reads
            .map(|method| {
                let class = if method.is_server_streaming() { Class::Watch } else { Class::Read };
                (format!("/{}/{}", method.parent_service().full_name(), method.name()), class)
            })
            .collect()
    });
    match CLASSES.get(path) {
        Some(class) => *class,
        None if path.starts_with("/grpc.reflection.") => Class::Watch,
        None => Class::Other,
    }
}

/// The admin services. Calls that wait, and streams, end when `closing` is cancelled.
pub fn routes(
    engine: Engine,
    services: Arc<Services>,
    clock: Clock,
    max_message_bytes: usize,
    closing: CancellationToken,
) -> Routes {
    let runs = RunServiceServer::new(run_service::Runs::new(engine.clone(), closing.clone()))
        .max_decoding_message_size(max_message_bytes);
    let audit =
        AuditServiceServer::new(audit_service::Audit::new(engine.clone())).max_decoding_message_size(max_message_bytes);
    let services =
        ServiceServiceServer::new(service_service::ServicesShown::new(services, engine.clone(), clock.clone()))
            .max_decoding_message_size(max_message_bytes);
    let bulk = bulk_service::Bulk::new(engine.clone(), clock.clone(), closing);
    let bulk = BulkServiceServer::new(bulk).max_decoding_message_size(max_message_bytes);
    let schedules = schedule_service::Schedules::new(engine.clone(), clock.clone());
    let schedules = ScheduleServiceServer::new(schedules).max_decoding_message_size(max_message_bytes);
    let replicas = ReplicaServiceServer::new(replica_service::Replicas::new(engine.clone(), clock.clone()))
        .max_decoding_message_size(max_message_bytes);
    let workflows = WorkflowServiceServer::new(workflow_service::Workflows::new(engine, clock))
        .max_decoding_message_size(max_message_bytes);
    Routes::new(runs)
        .add_service(workflows)
        .add_service(audit)
        .add_service(services)
        .add_service(bulk)
        .add_service(replicas)
        .add_service(schedules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_admitted_as_their_contracts_say() {
        let of = |method: &str| class(&format!("/orchestrator.admin.v1.{method}"));
        for read in [
            "RunService/GetRun",
            "RunService/ListRuns",
            "RunService/PreviewRetry",
            "AuditService/ListAuditEntries",
            "RunService/CountRuns",
            "RunService/ListSteps",
            "RunService/GetStep",
        ] {
            assert_eq!(of(read), Class::Read, "{read}");
        }
        assert_eq!(of("RunService/WatchRun"), Class::Watch);
        for other in ["RunService/StartRun", "RunService/CancelRun", "BulkService/SteerRuns", "RunService/Nothing"] {
            assert_eq!(of(other), Class::Other, "{other}");
        }
    }
}
