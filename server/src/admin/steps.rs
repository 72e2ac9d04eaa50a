//! Steps of a run, a page at a time or one alone.

use engine::engine::Engine;
use engine::store::filter::Known;
use engine::store::{Filter, Value};
use engine::view::{Detail, StepView};
use prost::Message;
use tonic::Status;
use uuid::Uuid;

use super::filter::{Field, Fields};
use super::requests::Violations;
use super::{messages, pages, status};
use crate::proto::orchestrator::admin::v1::get_step_request::Payload;
use crate::proto::orchestrator::admin::v1::{ListStepsRequest, ListStepsResponse, Step, step};

/// What steps are filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepField {
    Path,
    Kind,
    State,
    Method,
    Attempts,
    Undone,
}

struct StepFields;

impl Fields<StepField> for StepFields {
    fn field(&self, path: &[String]) -> Option<Field<StepField>> {
        let [name] = path else { return None };
        Some(match name.as_str() {
            "path" => Field::Text(StepField::Path),
            "kind" => Field::Word(StepField::Kind, words(step::Kind::try_from, |kind| kind.as_str_name())),
            "state" => Field::Word(StepField::State, words(step::State::try_from, |state| state.as_str_name())),
            "method" => Field::Text(StepField::Method),
            "attempts" => Field::Number(StepField::Attempts),
            "undone" => Field::Flag(StepField::Undone),
            _ => return None,
        })
    }

    fn names(&self) -> &'static str {
        "path, kind, state, method, attempts or undone"
    }
}

/// The names of an enum of the contract, without the one that stands for nothing.
fn words<E, F>(of: impl Fn(i32) -> Result<E, F>, name: impl Fn(&E) -> &'static str) -> Vec<(&'static str, i64)> {
    (1..32).map_while(|number| of(number).ok().map(|value| (name(&value), i64::from(number)))).collect()
}

/// A page of the list, read.
pub(super) struct Page {
    run: Uuid,
    limit: usize,
    /// How many steps come before it.
    from: u64,
    filter: Filter<StepField>,
    arguments: Vec<u8>,
}

impl Page {
    pub(super) fn read(mut request: ListStepsRequest) -> Result<Self, Status> {
        let mut violations = Violations::default();
        let run = violations.run_id(&request.run_id);
        let limit = violations.page_size(request.page_size) as usize;
        let filter = violations.filter(&request.filter, &StepFields);
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let arguments = request.encode_to_vec();
        let from = pages::cursor(&token, &arguments).unwrap_or_else(|expected| {
            violations.note("page_token", expected);
            None
        });
        let from = from.and_then(|cursor| cursor.try_into().ok()).map(u64::from_be_bytes).unwrap_or_default();
        violations.or(Self { run, limit, from, filter, arguments })
    }

    pub(super) fn run(&self) -> Uuid {
        self.run
    }

    pub(super) async fn list(self, engine: &Engine) -> Result<ListStepsResponse, Status> {
        let detail = engine.detail(self.run).await.map_err(status::from_engine)?;
        let from = usize::try_from(self.from).unwrap_or(usize::MAX);
        let rest = detail.steps.into_iter().enumerate().skip(from);
        let found = rest.map(|(at, view)| (at, messages::step_in_list(view)));
        let found = found.filter(|(_, step)| meets(&self.filter, step));
        let (places, mut steps): (Vec<usize>, Vec<Step>) = found.take(self.limit + 1).unzip();
        let is_cut = pages::cut(&mut steps, self.limit);
        let last = steps.len().checked_sub(1).and_then(|last| places.get(last)).filter(|_| is_cut);
        let next_page_token =
            last.map_or_else(String::new, |last| pages::token(&(*last as u64 + 1).to_be_bytes(), &self.arguments));
        Ok(ListStepsResponse { steps, next_page_token })
    }
}

fn meets(filter: &Filter<StepField>, step: &Step) -> bool {
    let value = |field: &StepField| {
        Some(match field {
            StepField::Path => Value::Text(step.path.clone()),
            StepField::Kind => Value::Number(i64::from(step.kind)),
            StepField::State => Value::Number(i64::from(step.state)),
            StepField::Method => Value::Text(step.method.clone()),
            StepField::Attempts => Value::Number(i64::from(step.attempts)),
            StepField::Undone => Value::Flag(step.undone),
        })
    };
    filter.known(&value) == Known::Decided(true)
}

/// One step with its failed attempts.
pub(super) async fn one(engine: &Engine, run: Uuid, path: &str, payload: Payload) -> Result<Step, Status> {
    let Detail { steps, .. } = engine.detail(run).await.map_err(status::from_engine)?;
    let view = steps.into_iter().find(|view| view.path() == path).ok_or_else(|| status::unknown_step(run, path))?;
    Ok(match payload {
        Payload::Unspecified => messages::step_alone(view, false),
        Payload::Request => messages::step_alone(StepView { response: None, ..view }, true),
        Payload::Response => messages::step_alone(StepView { request: None, ..view }, true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_is_named_is_one_and_words_are_those_of_the_contract() {
        for name in StepFields.names().replace(" or ", ", ").split(", ") {
            assert!(StepFields.field(&[name.to_owned()]).is_some(), "{name}");
        }
        for text in ["state = NEEDS_DECISION", "state = EXPIRED", "kind = CHILD", "kind = CALL AND attempts > 3"] {
            assert!(super::super::filter::read(text, &StepFields).is_ok(), "{text}");
        }
        assert!(super::super::filter::read("state = STATE_UNSPECIFIED", &StepFields).is_err());
    }
}
