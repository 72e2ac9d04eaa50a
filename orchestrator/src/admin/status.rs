//! The one place where an error becomes a gRPC status, with `google.rpc` details (AIP-193).

use std::collections::HashMap;
use std::time::Duration;

use engine::engine::EngineError;
use engine::store::StoreError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// The `domain` of every `google.rpc.ErrorInfo` we send.
const DOMAIN: &str = "orchestrator.guras";

/// When to call again an orchestrator that is going away.
const DRAIN_RETRY: Duration = Duration::from_secs(1);

/// INVALID_ARGUMENT that names every field that is wrong.
pub(super) fn bad_request(violations: Vec<FieldViolation>) -> Status {
    let message = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>().join("; ");
    let mut details = info("BAD_REQUEST", []);
    details.set_bad_request(violations);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// NOT_FOUND for a workflow.
pub(super) fn unknown_workflow(name: &str) -> Status {
    let details = info("UNKNOWN_WORKFLOW", [("workflow", name.to_owned())]);
    Status::with_error_details(Code::NotFound, format!("workflow {name:?} is not known"), details)
}

/// NOT_FOUND for a service.
pub(super) fn unknown_service(name: &str) -> Status {
    let details = info("UNKNOWN_SERVICE", [("service", name.to_owned())]);
    Status::with_error_details(Code::NotFound, format!("service {name:?} is not known, or has no address"), details)
}

/// UNAVAILABLE: this process ends; another one, or the next, answers.
pub(super) fn draining() -> Status {
    let mut details = info("DRAINING", []);
    details.set_retry_info(Some(DRAIN_RETRY));
    Status::with_error_details(Code::Unavailable, "the orchestrator is shutting down", details)
}

/// INTERNAL: a handler's task died. Whether it did what was asked is not known.
pub(super) fn lost() -> Status {
    Status::with_error_details(Code::Internal, "the request was lost inside the orchestrator", info("LOST", []))
}

/// What the engine says, for callers.
pub(super) fn from_engine(error: EngineError) -> Status {
    let message = error.to_string();
    let (code, details) = match &error {
        EngineError::UnknownWorkflow(name) => return unknown_workflow(name),
        EngineError::Draining => return draining(),
        EngineError::Store(error) => return from_store(error),
        EngineError::NotFound(run) => (Code::NotFound, info("RUN_NOT_FOUND", [("run", run.to_string())])),
        EngineError::InvalidInput { .. } => {
            let mut details = info("INVALID_INPUT", []);
            details.add_bad_request_violation("input", message.clone());
            (Code::InvalidArgument, details)
        }
        EngineError::UnknownSignal { workflow, name, .. } => {
            let mut details = info("UNKNOWN_SIGNAL", [("workflow", workflow.clone()), ("signal", name.clone())]);
            details.add_bad_request_violation("signal", message.clone());
            (Code::InvalidArgument, details)
        }
        EngineError::LimitExceeded { limit, value, max } => (
            Code::ResourceExhausted,
            info(
                "LIMIT_EXCEEDED",
                [("limit", limit.to_string()), ("value", value.to_string()), ("max", max.to_string())],
            ),
        ),
        EngineError::Precondition { run, state, .. } => {
            (Code::FailedPrecondition, info("RUN_STATE", [("run", run.to_string()), ("state", state.to_string())]))
        }
        EngineError::RequestMismatch(id) => return request_mismatch(message, &id.to_string()),
        EngineError::Journal { run, .. } => (Code::Internal, info("JOURNAL_UNREADABLE", [("run", run.to_string())])),
        EngineError::Conflict(run) => (Code::Aborted, info("RUN_CHANGED", [("run", run.to_string())])),
    };
    Status::with_error_details(code, message, details)
}

fn from_store(error: &StoreError) -> Status {
    let message = error.to_string();
    let (code, details) = match error {
        StoreError::NotFound(run) => (Code::NotFound, info("RUN_NOT_FOUND", [("run", run.to_string())])),
        StoreError::Precondition { run, state } => {
            (Code::FailedPrecondition, info("RUN_STATE", [("run", run.to_string()), ("state", state.to_string())]))
        }
        StoreError::InboxFull { run, .. } => (Code::ResourceExhausted, info("INBOX_FULL", [("run", run.to_string())])),
        StoreError::Fenced(run) => (Code::Aborted, info("RUN_CHANGED", [("run", run.to_string())])),
        StoreError::RequestMismatch(id) => return request_mismatch(message, &id.to_string()),
        StoreError::Unavailable(_) | StoreError::Closed => (Code::Unavailable, info("STORE_UNAVAILABLE", [])),
        StoreError::Unusable(_) => (Code::Internal, info("STORE_UNUSABLE", [])),
    };
    Status::with_error_details(code, message, details)
}

fn request_mismatch(message: String, id: &str) -> Status {
    let mut details = info("REQUEST_ID_REUSED", [("request_id", id.to_owned())]);
    details.add_bad_request_violation("request_id", "used for another request before");
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn info<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}
