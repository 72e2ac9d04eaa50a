//! One step of a run for people: its facts, request, response, and the attempts that failed.

use prost_types::Any;

use super::super::table::{between, error, facts, table, time};
use crate::descriptors;
use crate::proto::orchestrator::admin::v1::{FailedAttempt, Step, step};
use crate::text::cut;

/// Longest request or response that is printed, in characters; `--output json` has all of it.
const LONGEST_PAYLOAD: usize = 10_000;

/// Everything there is to say of a step. What contracts mark as `debug_redact` was cleared by the server.
pub(super) fn shown(step: &Step) -> String {
    let mut text = facts_of(step);
    let parts = [("Request", request(step)), ("Response", payload(step, step.response.as_ref()))];
    for (name, payload) in parts.into_iter().filter(|(_, payload)| !payload.is_empty()) {
        text.push_str(&format!("\n\n{name}:\n{payload}"));
    }
    if !step.failed_attempts.is_empty() {
        text.push_str(&format!("\n\n{}", attempts_of(&step.failed_attempts)));
    }
    text
}

fn facts_of(step: &Step) -> String {
    let state = if step.undone { "UNDONE" } else { step.state().as_str_name() };
    let took = between(step.start_time.as_ref(), step.end_time.as_ref());
    let took = if took.is_empty() { took } else { format!(" after {took}") };
    let number = |number: i32| if number == 0 { String::new() } else { number.to_string() };
    facts(&[
        ("Step", step.path.clone()),
        ("Kind", step.kind().as_str_name().to_owned()),
        ("Method", step.method.clone()),
        ("State", state.to_owned()),
        ("Level", step.level.clone()),
        ("Attempts", number(step.attempts)),
        ("Key", step.idempotency_key.clone()),
        ("Made again", if step.incarnation > 1 { format!("{} times", step.incarnation - 1) } else { String::new() }),
        ("Started", time(step.start_time.as_ref())),
        ("Ended", step.end_time.as_ref().map(|end| time(Some(end)) + &took).unwrap_or_default()),
        ("Next", time(step.next_attempt_time.as_ref())),
        ("Child run", step.child_run_id.clone()),
        ("Undoes", step.undoes.clone()),
        ("Error", step.error.as_ref().map(error).unwrap_or_default()),
    ])
}

fn request(step: &Step) -> String {
    let is_read = step.kind() == step::Kind::Call && step.level == "NO_SIDE_EFFECTS";
    match step.request {
        None if is_read => String::from("(not stored: the method has no side effects)"),
        _ => payload(step, step.request.as_ref()),
    }
}

fn payload(step: &Step, any: Option<&Any>) -> String {
    let Some(any) = any else {
        let omitted = step.payloads_omitted && !step.method.is_empty();
        return if omitted { String::from("(left out: it is too large)") } else { String::new() };
    };
    let json = descriptors::to_json(any).and_then(|value| serde_json::to_string_pretty(&value).ok());
    json.map_or_else(|| descriptors::type_name(&any.type_url).to_owned(), |json| shortened(&json))
}

fn shortened(json: &str) -> String {
    let shown = cut(json, LONGEST_PAYLOAD);
    if shown.len() == json.len() { json.to_owned() } else { format!("{shown}\n(cut; --output json has all of it)") }
}

fn attempts_of(failed: &[FailedAttempt]) -> String {
    let rows = failed.iter().map(|failed| {
        [
            failed.attempt.to_string(),
            time(failed.end_time.as_ref()),
            failed.error.as_ref().map(error).unwrap_or_default(),
        ]
    });
    table(["failed attempt", "ended", "error"], rows)
}
