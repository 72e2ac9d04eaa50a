//! Reads what callers send: every format and bound of a request, all violations of one request together.

use std::time::Duration;

use crate::proto::orchestrator::admin::v1::signal_run_request::MessageForm;
use crate::proto::orchestrator::admin::v1::start_run_request::InputForm;
use crate::proto::orchestrator::admin::v1::{RunState, RunView, StartRunRequest};
use bytes::Bytes;
use engine::state::State;
use engine::store::{Filter, RequestKey, Requester};
use engine::time::Timestamp;
use prost::Message;
use prost_reflect::MessageDescriptor;
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic_types::FieldViolation;
use uuid::Uuid;

use super::filter::{self, Fields};
use super::{CALLER, status};
use crate::access::Access;
use crate::descriptors;
use crate::text::echo;

const MAX_NAME: usize = 200;
const MAX_REASON: usize = 500;
/// Longest path of a step: a few branches, each with a key of `limits.name_bytes`.
const MAX_STEP: usize = 4_096;
/// There are fewer.
const MAX_STATES: usize = 100;
const MAX_WAIT: Duration = Duration::from_secs(3_600);
const MAX_DEADLINE: Duration = Duration::from_secs(366 * 24 * 3_600);
const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 1_000;
const DEFAULT_STEPS: u32 = 1_000;
const MAX_STEPS: u32 = 10_000;

const MAX_CALLER: usize = 200;

/// Who asks where the metadata does not say.
const ANONYMOUS: &str = "anonymous";

/// The violations of one request, gathered.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<FieldViolation>);

impl Violations {
    pub(super) fn note(&mut self, field: &str, description: impl Into<String>) {
        self.0.push(FieldViolation::new(field, description));
    }

    /// The value if nothing was noted, otherwise INVALID_ARGUMENT with every violation.
    pub(super) fn or<T>(self, value: T) -> Result<T, Status> {
        if self.0.is_empty() { Ok(value) } else { Err(status::bad_request(self.0)) }
    }

    pub(super) fn run_id(&mut self, text: &str) -> Uuid {
        Uuid::try_parse(text).unwrap_or_else(|_| {
            self.note("run_id", "expected the id of a run, a UUID");
            Uuid::nil()
        })
    }

    pub(super) fn reason(&mut self, text: &str) {
        if text.len() > MAX_REASON {
            self.note("reason", format!("{} bytes; expected at most {MAX_REASON}", text.len()));
        }
    }

    /// The condition of a list; what is wrong with it is noted.
    pub(super) fn filter<F: Clone>(&mut self, text: &str, fields: &dyn Fields<F>) -> Filter<F> {
        filter::read(text, fields).unwrap_or_else(|wrong| {
            self.note("filter", wrong);
            Filter::default()
        })
    }

    pub(super) fn workflow_name(&mut self, text: &str) {
        self.name("workflow", text);
    }

    pub(super) fn name(&mut self, field: &str, text: &str) {
        if text.len() > MAX_NAME {
            self.note(field, format!("{} bytes; expected at most {MAX_NAME}", text.len()));
        }
    }

    pub(super) fn step(&mut self, field: &str, path: &str) {
        if path.len() > MAX_STEP {
            self.note(field, format!("{} bytes; expected at most {MAX_STEP}", path.len()));
        }
    }

    /// The number of items of a page: AIP-158 wants too many cut down, and less than none refused.
    pub(super) fn page_size(&mut self, asked: i32) -> u32 {
        self.bounded("page_size", asked, DEFAULT_PAGE, MAX_PAGE)
    }

    pub(super) fn max_steps(&mut self, asked: i32) -> u32 {
        self.bounded("max_steps", asked, DEFAULT_STEPS, MAX_STEPS)
    }

    pub(super) fn bounded(&mut self, field: &str, asked: i32, default: u32, most: u32) -> u32 {
        match u32::try_from(asked) {
            Ok(0) => default,
            Ok(asked) => asked.min(most),
            Err(_) => {
                self.note(field, "expected no negative number");
                default
            }
        }
    }

    /// Whether steps, input and output are wanted; for one run they are unless the view says otherwise.
    pub(super) fn wants_all(&mut self, view: i32) -> bool {
        match RunView::try_from(view) {
            Ok(RunView::Basic) => false,
            Ok(RunView::Full | RunView::Unspecified) => true,
            Err(_) => {
                self.note("view", format!("{view} is no view"));
                false
            }
        }
    }

    pub(super) fn states(&mut self, numbers: &[i32]) -> Vec<State> {
        let mut states = Vec::new();
        if numbers.len() > MAX_STATES {
            self.note("states", format!("{} states; expected at most {MAX_STATES}", numbers.len()));
        }
        for &number in numbers.iter().take(MAX_STATES) {
            let name = RunState::try_from(number).map(|state| state.as_str_name()).unwrap_or_default();
            match State::ALL.into_iter().find(|state| state.name() == name) {
                Some(state) if states.contains(&state) => {}
                Some(state) => states.push(state),
                None => {
                    self.note("states", format!("{number} is no state"));
                    break;
                }
            }
        }
        states
    }

    /// A time between the years 1 and 9999; none where the field is not set.
    pub(super) fn time(&mut self, field: &str, value: Option<prost_types::Timestamp>) -> Option<Timestamp> {
        let value = value?;
        let known = jiff::Timestamp::new(value.seconds, value.nanos).ok();
        if known.is_none() {
            self.note(field, "expected a time between the years 1 and 9999");
        }
        known.map(|time| Timestamp::from_micros(time.as_microsecond()))
    }

    /// A duration between zero and `most`; none where the field is not set.
    fn duration(&mut self, field: &str, value: Option<prost_types::Duration>, most: Duration) -> Option<Duration> {
        let duration = Duration::try_from(value?).ok().filter(|duration| *duration <= most);
        if duration.is_none() {
            self.note(field, format!("expected 0s to {}s", most.as_secs()));
        }
        duration
    }

    /// Who asks, and what the caller calls itself beside that. Where nothing has to be proven, it is who it says.
    fn caller(&mut self, metadata: &MetadataMap, access: &Access) -> (String, String) {
        let said = match metadata.get(CALLER).map(|said| said.to_str()) {
            None => ANONYMOUS,
            Some(Ok(caller)) if (1..=MAX_CALLER).contains(&caller.len()) => caller,
            Some(_) => {
                self.note(CALLER, format!("expected 1 to {MAX_CALLER} visible ASCII characters"));
                ANONYMOUS
            }
        };
        match access.principal() {
            None => (said.to_owned(), String::new()),
            Some(principal) if metadata.contains_key(CALLER) => (principal.to_owned(), said.to_owned()),
            Some(principal) => (principal.to_owned(), String::new()),
        }
    }

    /// Who asks for a change and why; `stripped` is the request without its id.
    pub(super) fn asked(
        &mut self,
        metadata: &MetadataMap,
        access: &Access,
        reason: &str,
        request_id: &str,
        stripped: &impl Message,
    ) -> Requester {
        self.reason(reason);
        let (caller, said) = self.caller(metadata, access);
        let request = self.request_key(access.principal(), request_id, stripped);
        Requester { caller, said, reason: reason.to_owned(), request }
    }

    /// The message that this JSON is, encoded; what is wrong with it is noted below the field.
    pub(super) fn json(&mut self, field: &str, json: &str, descriptor: MessageDescriptor) -> Option<Bytes> {
        let name = descriptor.full_name().to_owned();
        match descriptors::from_json(descriptor, json) {
            Ok(message) => Some(Bytes::from(message)),
            Err(misfit) => {
                let dot = if misfit.path.is_empty() { "" } else { "." };
                self.note(&format!("{field}{dot}{}", misfit.path), format!("{} ({name})", misfit.reason));
                None
            }
        }
    }

    /// The key of an idempotent request; `stripped` is the request without its id. Who makes it is part of it if that is proven:
    /// nobody is answered with what somebody else may see.
    fn request_key(&mut self, principal: Option<&str>, id: &str, stripped: &impl Message) -> Option<RequestKey> {
        if id.is_empty() {
            return None;
        }
        let parsed = Uuid::try_parse(id).ok().filter(|id| !id.is_nil());
        if parsed.is_none() {
            self.note("request_id", "expected a UUID other than the nil UUID");
        }
        let mut hasher = Sha256::new();
        if let Some(principal) = principal {
            // No request begins with a zero: so none is that of a caller who has proven nothing.
            hasher.update([0]);
            hasher.update(principal.as_bytes());
            hasher.update([0]);
        }
        let hash = hasher.chain_update(stripped.encode_to_vec()).finalize().into();
        Some(RequestKey { id: parsed?, hash })
    }
}

/// A start, read.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) workflow: String,
    pub(super) input: Bytes,
    pub(super) asked: Requester,
    pub(super) deadline: Option<Duration>,
    pub(super) wait: Duration,
}

/// Reads a start of a workflow that takes messages of `input_type`.
pub(super) fn start(
    metadata: &MetadataMap,
    access: &Access,
    mut request: StartRunRequest,
    input_type: &str,
) -> Result<Start, Status> {
    let mut violations = Violations::default();
    let wait = violations.duration("wait", request.wait.take(), MAX_WAIT).unwrap_or_default();
    let deadline = violations.duration("deadline", request.deadline, MAX_DEADLINE);
    if deadline == Some(Duration::ZERO) {
        violations.note("deadline", "expected more than 0s");
    }
    let id = std::mem::take(&mut request.request_id);
    let asked = violations.asked(metadata, access, &request.reason, &id, &request);
    let input = match request.input_form {
        None => Bytes::new(),
        Some(InputForm::Input(any)) => packed("input", any, input_type, &mut violations),
        Some(InputForm::InputJson(json)) => from_json("input", &json, input_type, &mut violations),
    };
    violations.or(Start { workflow: request.workflow, input, asked, deadline, wait })
}

/// Reads the message of a signal whose messages are of `message_type`.
pub(super) fn message(form: Option<MessageForm>, message_type: &str) -> Result<Bytes, Status> {
    let mut violations = Violations::default();
    let message = match form {
        None => Bytes::new(),
        Some(MessageForm::Message(any)) => packed("message", any, message_type, &mut violations),
        Some(MessageForm::MessageJson(json)) => from_json("message", &json, message_type, &mut violations),
    };
    violations.or(message)
}

pub(super) fn packed(field: &str, any: prost_types::Any, expected: &str, violations: &mut Violations) -> Bytes {
    let given = descriptors::type_name(&any.type_url);
    if given != expected {
        let given = echo(given);
        violations.note(&format!("{field}.type_url"), format!("{given} is not what is taken; expected {expected}"));
        return Bytes::new();
    }
    // A type that is not among the contracts is for the engine to read.
    if descriptors::message(expected).is_some()
        && let Err(reason) = descriptors::fits(expected, &any.value)
    {
        violations.note(&format!("{field}.value"), reason);
    }
    Bytes::from(any.value)
}

pub(super) fn from_json(field: &str, json: &str, expected: &str, violations: &mut Violations) -> Bytes {
    let json_field = format!("{field}_json");
    let Some(descriptor) = descriptors::message(expected) else {
        violations.note(&json_field, format!("{expected} is not among the contracts; send it packed, as `{field}`"));
        return Bytes::new();
    };
    violations.json(&json_field, json, descriptor).unwrap_or_default()
}
