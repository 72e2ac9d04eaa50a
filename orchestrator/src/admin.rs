//! The admin API: what operators see and steer, over `orchestrator.admin.v1`.
//!
//! Handlers are thin: `requests` reads what came in, the engine does it, `messages` says what is stored, and
//! `status` is the one place where an error becomes a gRPC status.

use std::sync::Arc;

use clients::orchestrator::admin::v1::audit_service_server::AuditServiceServer;
use clients::orchestrator::admin::v1::bulk_service_server::BulkServiceServer;
use clients::orchestrator::admin::v1::run_service_server::RunServiceServer;
use clients::orchestrator::admin::v1::service_service_server::ServiceServiceServer;
use clients::orchestrator::admin::v1::workflow_service_server::WorkflowServiceServer;
use clients::transport::Services;
use engine::engine::Engine;
use engine::time::Clock;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

mod audit_service;
mod bulk_service;
mod messages;
mod pages;
mod requests;
mod resolution;
mod run_service;
mod service_service;
mod status;
mod watch;
mod workflow_service;

/// Names of the services on the admin listener, for reflection.
pub const SERVICES: [&str; 5] = [
    "orchestrator.admin.v1.AuditService",
    "orchestrator.admin.v1.BulkService",
    "orchestrator.admin.v1.RunService",
    "orchestrator.admin.v1.WorkflowService",
    "orchestrator.admin.v1.ServiceService",
];

/// Metadata in which callers say who they are. Nothing proves it.
pub const CALLER: &str = "orchestrator-caller";

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
    let workflows = WorkflowServiceServer::new(workflow_service::Workflows::new(engine, clock))
        .max_decoding_message_size(max_message_bytes);
    Routes::new(runs).add_service(workflows).add_service(audit).add_service(services).add_service(bulk)
}
