//! The one place where an error becomes a gRPC status, with `google.rpc` details (AIP-193).
//!
//! A status travels in headers, which peers bound: so each stays below 4 kB, whatever it repeats of a request.

use std::collections::HashMap;
use std::time::Duration;

use engine::engine::EngineError;
use engine::store::{ScheduleRefusal, StoreError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use uuid::Uuid;

use crate::access::Denied;
use crate::text::{cut, echo, plain};

/// The `domain` of every `google.rpc.ErrorInfo` we send.
const DOMAIN: &str = "orchestrator.guras";

/// When to call again an orchestrator that is going away.
const DRAIN_RETRY: Duration = Duration::from_secs(1);

/// When to call again one that has too much to do.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Longest message, as it stands in a header: other than visible ASCII takes three bytes for each.
const MESSAGE_BYTES: usize = 1_300;

/// Most bytes of details before they are encoded for a header, which makes them a third longer.
const DETAIL_BYTES: usize = 1_500;

/// Longest text in the details, in characters.
const LONGEST_TEXT: usize = 100;

/// Longest description of a violation, in characters.
const LONGEST_DESCRIPTION: usize = 300;

/// INVALID_ARGUMENT that names every field that is wrong.
pub(super) fn bad_request(violations: Vec<FieldViolation>) -> Status {
    let violations: Vec<FieldViolation> = violations
        .into_iter()
        .map(|v| {
            let description = plain(&cut(&v.description, LONGEST_DESCRIPTION)).into_owned();
            FieldViolation::new(plain(&cut(&v.field, LONGEST_TEXT)), description)
        })
        .collect();
    let message = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>().join("; ");
    let mut details = info("BAD_REQUEST", []);
    details.set_bad_request(violations);
    status(Code::InvalidArgument, &message, details)
}

/// NOT_FOUND for a workflow.
pub(super) fn unknown_workflow(name: &str) -> Status {
    let mut details = info("UNKNOWN_WORKFLOW", [("workflow", name.to_owned())]);
    names(&mut details, "Workflow", name);
    status(Code::NotFound, &format!("workflow {} is not known", echo(name)), details)
}

/// NOT_FOUND for a service.
pub(super) fn unknown_service(name: &str) -> Status {
    let mut details = info("UNKNOWN_SERVICE", [("service", name.to_owned())]);
    names(&mut details, "Service", name);
    status(Code::NotFound, &format!("service {} is not known, or has no address", echo(name)), details)
}

/// NOT_FOUND for a step of a run.
pub(super) fn unknown_step(run: Uuid, step: &str) -> Status {
    let mut details = info("STEP_NOT_FOUND", [("run", run.to_string()), ("step", step.to_owned())]);
    names(&mut details, "Step", step);
    status(Code::NotFound, &format!("run {run} has no step {}", echo(step)), details)
}

/// UNAVAILABLE: this process ends; another one, or the next, answers.
pub(crate) fn draining() -> Status {
    let mut details = info("DRAINING", []);
    details.set_retry_info(Some(DRAIN_RETRY));
    status(Code::Unavailable, "the orchestrator is shutting down", details)
}

/// RESOURCE_EXHAUSTED: others take what there is of something; it says when to come back.
pub(crate) fn busy(what: &str) -> Status {
    let mut details = info("BUSY", []);
    details.set_retry_info(Some(BUSY_RETRY));
    status(Code::ResourceExhausted, &format!("{what}; ask again in {BUSY_RETRY:?}"), details)
}

/// DEADLINE_EXCEEDED: the time that the caller gave is up.
pub(crate) fn late() -> Status {
    status(Code::DeadlineExceeded, "the deadline of the call has passed", info("DEADLINE_EXCEEDED", []))
}

/// UNAUTHENTICATED or PERMISSION_DENIED (AIP-211), or that there is no such method.
pub(crate) fn denied(denied: &Denied) -> Status {
    let (code, details) = match denied {
        Denied::NoCredentials { .. } => (Code::Unauthenticated, info("NO_CREDENTIALS", [])),
        Denied::BadToken(_) => (Code::Unauthenticated, info("BAD_TOKEN", [])),
        Denied::NamelessCertificate => (Code::Unauthenticated, info("NAMELESS_CERTIFICATE", [])),
        Denied::NoLongerProven => (Code::Unauthenticated, info("NO_LONGER_PROVEN", [])),
        Denied::Role { principal, method, role } => {
            let metadata =
                [("principal", principal.clone()), ("method", method.clone()), ("role", role.name().to_owned())];
            (Code::PermissionDenied, info("NOT_GRANTED", metadata))
        }
        Denied::Workflow { principal, method } => {
            let metadata = [("principal", principal.clone()), ("method", method.clone())];
            (Code::PermissionDenied, info("WORKFLOW_NOT_GRANTED", metadata))
        }
        Denied::TooMuch { principal, what, retry } => {
            let mut details = info("PRINCIPAL_LIMIT", [("principal", principal.clone())]);
            details.set_retry_info(Some(*retry));
            details.add_quota_failure_violation(principal.clone(), what.clone());
            (Code::ResourceExhausted, details)
        }
        Denied::UnknownMethod => (Code::Unimplemented, info("UNIMPLEMENTED", [])),
    };
    status(code, &denied.to_string(), details)
}

/// What the framework below our handlers says of a request that it could not read, as our own statuses say it: it has no
/// details, and says INTERNAL of what the caller did.
pub(crate) fn of_unread(said: &Status) -> Status {
    match said.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            status(Code::ResourceExhausted, said.message(), info("MESSAGE_TOO_LARGE", []))
        }
        Code::Unimplemented => status(Code::Unimplemented, said.message(), info("UNIMPLEMENTED", [])),
        _ => status(Code::InvalidArgument, said.message(), info("MALFORMED_MESSAGE", [])),
    }
}

/// INTERNAL: a handler's task died. Whether it did what was asked is not known.
pub(super) fn lost() -> Status {
    status(Code::Internal, "the request was lost inside the orchestrator", info("LOST", []))
}

/// What the engine says, for callers.
pub(super) fn from_engine(error: EngineError) -> Status {
    let message = error.to_string();
    let (code, details) = match &error {
        EngineError::UnknownWorkflow(name) => return unknown_workflow(name),
        EngineError::Draining => return draining(),
        EngineError::Store(error) => return from_store(error),
        EngineError::NotFound(run) => return run_not_found(&message, &run.to_string()),
        EngineError::InvalidInput { .. } => {
            let mut details = info("INVALID_INPUT", []);
            details.add_bad_request_violation("input", described(&message));
            (Code::InvalidArgument, details)
        }
        EngineError::RulesBroken { part, violations } => {
            let mut details = info("RULE_BROKEN", []);
            let violations = violations.iter().map(|violation| {
                let dot = if violation.field.is_empty() { "" } else { "." };
                let field = format!("{part}{dot}{}", violation.field);
                FieldViolation::new(plain(&cut(&field, LONGEST_TEXT)), described(&violation.description))
            });
            details.set_bad_request(violations.collect::<Vec<_>>());
            (Code::InvalidArgument, details)
        }
        EngineError::UnknownSignal { workflow, name, .. } => {
            let mut details = info("UNKNOWN_SIGNAL", [("workflow", workflow.clone()), ("signal", name.clone())]);
            details.add_bad_request_violation("signal", described(&message));
            (Code::InvalidArgument, details)
        }
        EngineError::LimitExceeded { limit, value, max } => {
            let metadata = [("limit", limit.to_string()), ("value", value.to_string()), ("max", max.to_string())];
            let mut details = info("LIMIT_EXCEEDED", metadata);
            details.add_quota_failure_violation(limit.to_string(), told(&message));
            (Code::ResourceExhausted, details)
        }
        EngineError::Precondition { run, state, .. } => {
            return run_state(&message, &run.to_string(), &state.to_string());
        }
        EngineError::RequestMismatch(id) => return request_mismatch(&message, &id.to_string()),
        EngineError::Journal { run, .. } => (Code::Internal, info("JOURNAL_UNREADABLE", [("run", run.to_string())])),
        EngineError::InvalidSchedule { field, problem, .. } => {
            let mut details = info("INVALID_SCHEDULE", [("field", (*field).to_owned())]);
            details.add_bad_request_violation(*field, described(problem));
            (Code::InvalidArgument, details)
        }
        EngineError::ScheduleBusy(name) => (Code::Aborted, info("SCHEDULE_CHANGED", [("schedule", name.clone())])),
        EngineError::Schedule(refusal) => return from_refusal(refusal),
        EngineError::Conflict(run) => (Code::Aborted, info("RUN_CHANGED", [("run", run.to_string())])),
    };
    status(code, &message, details)
}

fn from_store(error: &StoreError) -> Status {
    let message = error.to_string();
    let (code, details) = match error {
        StoreError::NotFound(run) => return run_not_found(&message, &run.to_string()),
        StoreError::Precondition { run, state } => {
            return run_state(&message, &run.to_string(), &state.to_string());
        }
        StoreError::InboxFull { run, .. } => {
            let mut details = info("INBOX_FULL", [("run", run.to_string())]);
            details.add_quota_failure_violation(run.to_string(), told(&message));
            (Code::ResourceExhausted, details)
        }
        StoreError::Fenced(run) => (Code::Aborted, info("RUN_CHANGED", [("run", run.to_string())])),
        StoreError::RequestMismatch(id) => return request_mismatch(&message, &id.to_string()),
        StoreError::Schedule(refusal) => return from_refusal(refusal),
        StoreError::Unavailable(_) | StoreError::Closed => (Code::Unavailable, info("STORE_UNAVAILABLE", [])),
        StoreError::Unusable(_) => (Code::Internal, info("STORE_UNUSABLE", [])),
    };
    status(code, &message, details)
}

/// Why a schedule does not do what is asked of it.
fn from_refusal(refusal: &ScheduleRefusal) -> Status {
    let of = |name: &str| [("schedule", name.to_owned())];
    let (code, mut details) = match refusal {
        ScheduleRefusal::NotFound(name) => (Code::NotFound, info("SCHEDULE_NOT_FOUND", of(name))),
        ScheduleRefusal::Gone => (Code::NotFound, info("SCHEDULE_NOT_FOUND", [])),
        ScheduleRefusal::Exists(name) => (Code::AlreadyExists, info("SCHEDULE_EXISTS", of(name))),
        ScheduleRefusal::Changed { name, .. } => (Code::Aborted, info("SCHEDULE_CHANGED", of(name))),
        ScheduleRefusal::Declared { name, .. } => (Code::FailedPrecondition, info("SCHEDULE_DECLARED", of(name))),
        ScheduleRefusal::NotPaused(name) => (Code::FailedPrecondition, info("SCHEDULE_NOT_PAUSED", of(name))),
        ScheduleRefusal::NoBackfill(id) => (Code::NotFound, info("BACKFILL_NOT_FOUND", [("backfill", id.to_string())])),
        ScheduleRefusal::BackfillOver(id) => {
            (Code::FailedPrecondition, info("BACKFILL_OVER", [("backfill", id.to_string())]))
        }
        ScheduleRefusal::BusyBackfilling { name, .. } => {
            (Code::ResourceExhausted, info("TOO_MANY_BACKFILLS", of(name)))
        }
    };
    let message = refusal.to_string();
    match refusal {
        ScheduleRefusal::NotFound(name) | ScheduleRefusal::Exists(name) => names(&mut details, "Schedule", name),
        ScheduleRefusal::NoBackfill(id) => names(&mut details, "Backfill", &id.to_string()),
        ScheduleRefusal::Declared { name, .. } => unmet(&mut details, "SCHEDULE_DECLARED", name, &message),
        ScheduleRefusal::NotPaused(name) => unmet(&mut details, "SCHEDULE_NOT_PAUSED", name, &message),
        ScheduleRefusal::BackfillOver(id) => unmet(&mut details, "BACKFILL_OVER", &id.to_string(), &message),
        ScheduleRefusal::BusyBackfilling { name, .. } => {
            details.add_quota_failure_violation(told(name), told(&message));
        }
        ScheduleRefusal::Gone | ScheduleRefusal::Changed { .. } => {}
    }
    status(code, &message, details)
}

fn run_not_found(message: &str, run: &str) -> Status {
    let mut details = info("RUN_NOT_FOUND", [("run", run.to_owned())]);
    names(&mut details, "Run", run);
    status(Code::NotFound, message, details)
}

fn run_state(message: &str, run: &str, state: &str) -> Status {
    let mut details = info("RUN_STATE", [("run", run.to_owned()), ("state", state.to_owned())]);
    unmet(&mut details, "RUN_STATE", run, message);
    status(Code::FailedPrecondition, message, details)
}

/// Names the resource that the error is about.
fn names(details: &mut ErrorDetails, kind: &str, name: &str) {
    details.set_resource_info(format!("{DOMAIN}/{kind}"), told(name), "", "");
}

/// Names what has to be so before the request can be done, and is not.
fn unmet(details: &mut ErrorDetails, kind: &str, subject: &str, message: &str) {
    details.add_precondition_failure_violation(kind, told(subject), told(message));
}

/// A text as the details have it.
fn told(text: &str) -> String {
    // Cut twice: what is hidden takes more room once it is shown.
    cut(&plain(&cut(text, LONGEST_TEXT)), LONGEST_TEXT).into_owned()
}

fn request_mismatch(message: &str, id: &str) -> Status {
    let mut details = info("REQUEST_ID_REUSED", [("request_id", id.to_owned())]);
    details.add_bad_request_violation("request_id", "used for another request before");
    status(Code::InvalidArgument, message, details)
}

fn described(message: &str) -> String {
    plain(&cut(message, LONGEST_DESCRIPTION)).into_owned()
}

fn info<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_owned(), told(&value))).into();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

/// A status that fits into headers. Of violations that do not, only the first are told.
fn status(code: Code, message: &str, mut details: ErrorDetails) -> Status {
    let message = fitting(&plain(message));
    loop {
        let status = Status::with_error_details(code, message.clone(), details.clone());
        let last = details.bad_request().map(|request| request.field_violations.len()).unwrap_or_default();
        if status.details().len() <= DETAIL_BYTES || last == 0 {
            return status;
        }
        let mut violations = details.bad_request().map(|request| request.field_violations.clone()).unwrap_or_default();
        violations.truncate(last - 1);
        details.set_bad_request(violations);
    }
}

/// As much of a message as a header may have of it.
fn fitting(message: &str) -> String {
    let mut bytes = 0;
    let fits = message.chars().take_while(|char| {
        bytes += if matches!(char, ' '..='~') && *char != '%' { 1 } else { 3 * char.len_utf8() };
        bytes <= MESSAGE_BYTES
    });
    cut(message, fits.count()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a status in headers.
    fn length(status: &Status) -> usize {
        let headers = tonic::metadata::MetadataMap::from_headers({
            let mut headers = http::HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            headers
        })
        .into_headers();
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    #[test]
    fn a_status_stays_below_four_kilobytes_whatever_it_repeats() {
        for text in ["x".repeat(4 << 20), "\u{1b}".repeat(1 << 20), "東".repeat(100_000)] {
            let violations = (0..500).map(|_| FieldViolation::new(text.clone(), text.clone())).collect();
            let run = uuid::Uuid::nil();
            let statuses = [
                bad_request(violations),
                unknown_workflow(&text),
                unknown_service(&text),
                busy(&text),
                of_unread(&Status::internal(text.clone())),
                from_engine(EngineError::Store(StoreError::Unavailable(text.clone()))),
                from_engine(EngineError::Precondition { run, state: engine::State::Running, reason: text.clone() }),
                from_engine(EngineError::Schedule(ScheduleRefusal::NotFound(text.clone()))),
                from_engine(EngineError::Schedule(ScheduleRefusal::NotPaused(text.clone()))),
            ];
            for status in statuses {
                assert!(length(&status) < 4_096, "{}: {}", length(&status), status.message());
                assert!(status.get_details_error_info().is_some());
                assert!(!status.message().contains(crate::text::is_hidden));
            }
        }
    }

    #[test]
    fn an_error_names_the_resource_the_precondition_or_the_quota_that_it_is_about() {
        let run = uuid::Uuid::nil();
        let missing = from_engine(EngineError::NotFound(run)).get_details_resource_info().unwrap();
        assert_eq!(
            (missing.resource_type.as_str(), missing.resource_name),
            ("orchestrator.guras/Run", run.to_string())
        );
        let state = engine::State::Running;
        let unmet = from_engine(EngineError::Store(StoreError::Precondition { run, state }));
        let violation = unmet.get_details_precondition_failure().unwrap().violations.remove(0);
        assert_eq!((violation.r#type.as_str(), violation.subject), ("RUN_STATE", run.to_string()));
        let full = from_engine(EngineError::Store(StoreError::InboxFull { run, room: 3 }));
        assert_eq!(full.get_details_quota_failure().unwrap().violations[0].subject, run.to_string());
        let exists = from_engine(EngineError::Schedule(ScheduleRefusal::Exists(String::from("daily"))));
        assert_eq!(exists.get_details_resource_info().unwrap().resource_name, "daily");
    }

    #[test]
    fn what_the_framework_says_of_a_request_becomes_what_the_caller_did() {
        let said = |code| {
            let status = of_unread(&Status::new(code, "so"));
            (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
        };
        assert_eq!(said(Code::OutOfRange), (Code::ResourceExhausted, String::from("MESSAGE_TOO_LARGE")));
        assert_eq!(said(Code::Internal), (Code::InvalidArgument, String::from("MALFORMED_MESSAGE")));
        assert_eq!(said(Code::Unimplemented), (Code::Unimplemented, String::from("UNIMPLEMENTED")));
    }
}
