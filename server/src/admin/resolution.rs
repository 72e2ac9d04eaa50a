//! Reads what an operator decides of a call in doubt, typed as the contract of the called method says.

use crate::proto::google::rpc;
use crate::proto::orchestrator::admin::v1::ResolveStepRequest;
use crate::proto::orchestrator::admin::v1::resolve_step_request::Decision as Form;
use bytes::Bytes;
use engine::decision::{Decision, Verdict};
use engine::failure::{Code, Detail, Failure};
use engine::view::{self, StepView};
use tonic::Status;

use super::messages::message_types;
use super::requests::Violations;
use super::status;
use crate::descriptors;
use crate::text::echo;

/// Bounds of a failure that an operator decides: what a service says of one is of this order too.
const MAX_MESSAGE: usize = 4_096;
const MAX_DETAILS: usize = 16;
const MAX_DETAIL_BYTES: usize = 64 << 10;
const MAX_TYPE: usize = 200;

/// The decision about this step of the run.
pub(super) fn decision(
    request: ResolveStepRequest,
    run: &view::Detail,
    mut violations: Violations,
) -> Result<Decision, Status> {
    let incarnation = positive("incarnation", request.incarnation, &mut violations);
    let attempt = positive("attempts", request.attempts, &mut violations);
    let step = run.steps.iter().find(|step| step.path() == request.step);
    let Some(step) = step else {
        violations.note("step", format!("the run has no step {}", echo(&request.step)));
        return Err(violations.or(()).err().unwrap_or_else(status::lost));
    };
    let verdict = match request.decision {
        Some(Form::AskAgain(_)) => Some(Verdict::AskAgain),
        Some(Form::Response(any)) => packed(&any, step, &mut violations).map(Verdict::Happened),
        Some(Form::ResponseJson(json)) => from_json(&json, step, &mut violations).map(Verdict::Happened),
        Some(Form::Failure(failure)) => failed(failure, &mut violations).map(Verdict::Failed),
        None => {
            violations.note("decision", "expected one of ask_again, response, response_json and failure");
            None
        }
    };
    let decided = verdict.map(|verdict| Decision { step: request.step, incarnation, attempt, verdict });
    // A decision that could not be read was noted.
    violations.or(decided)?.ok_or_else(status::lost)
}

fn positive(field: &str, number: i32, violations: &mut Violations) -> u32 {
    u32::try_from(number).ok().filter(|number| *number > 0).unwrap_or_else(|| {
        violations.note(field, "expected what GetRun says of the step, at least 1");
        0
    })
}

/// The response type of the method that the step calls.
fn response_type(step: &StepView) -> Option<String> {
    message_types(crate::installed::find(&step.name)?).map(|(_, response)| response)
}

fn packed(any: &prost_types::Any, step: &StepView, violations: &mut Violations) -> Option<Bytes> {
    let given = descriptors::type_name(&any.type_url);
    let Some(expected) = response_type(step) else {
        violations.note("response", format!("{} is not among the contracts", step.name));
        return None;
    };
    if given != expected {
        violations.note(
            "response.type_url",
            format!("{} is not what {} answers; expected {expected}", echo(given), step.name),
        );
        return None;
    }
    if let Err(reason) = descriptors::fits(&expected, &any.value) {
        violations.note("response.value", reason);
        return None;
    }
    Some(Bytes::from(any.value.clone()))
}

fn from_json(json: &str, step: &StepView, violations: &mut Violations) -> Option<Bytes> {
    let expected = response_type(step);
    let Some(descriptor) = expected.as_deref().and_then(descriptors::message) else {
        violations.note("response_json", format!("{} is not among the contracts", step.name));
        return None;
    };
    violations.json("response_json", json, descriptor)
}

fn failed(failure: rpc::Status, violations: &mut Violations) -> Option<Failure> {
    let code = Code::from_i32(failure.code);
    if code == Code::Ok || code as i32 != failure.code {
        violations.note("failure.code", format!("{} is not the code of a failure; expected 1 to 16", failure.code));
        return None;
    }
    let rpc::Status { message, details, .. } = &failure;
    if message.len() > MAX_MESSAGE {
        violations.note("failure.message", format!("{} bytes; expected at most {MAX_MESSAGE}", message.len()));
        return None;
    }
    let bytes: usize = details.iter().map(|any| any.value.len()).sum();
    if details.len() > MAX_DETAILS || bytes > MAX_DETAIL_BYTES {
        let (count, most) = (details.len(), MAX_DETAILS);
        let given = format!("{count} details of {bytes} bytes");
        violations.note("failure.details", format!("{given}; expected at most {most} of {MAX_DETAIL_BYTES} bytes"));
        return None;
    }
    for (at, any) in details.iter().enumerate() {
        let name = descriptors::type_name(&any.type_url);
        let wrong = if name.len() > MAX_TYPE {
            Err(format!("{} bytes of a type's name; expected at most {MAX_TYPE}", name.len()))
        } else if descriptors::message(name).is_some() {
            descriptors::fits(name, &any.value)
        } else {
            // Of a type that is not among the contracts nothing is ever read here.
            Ok(())
        };
        if let Err(reason) = wrong {
            violations.note(&format!("failure.details[{at}]"), reason);
            return None;
        }
    }
    let details = failure
        .details
        .into_iter()
        .map(|any| Detail { type_name: descriptors::type_name(&any.type_url).to_owned(), value: any.value.into() });
    Some(Failure::new(code, failure.message).with_details(details.collect()))
}
