//! What runs are filtered and ordered by.

use engine::State;
use engine::failure::Code;
use engine::store::{Filter, RunField};

use super::filter::{Field, Fields};
use super::requests::Violations;

/// The fields of a run that a filter may name.
pub(super) struct RunFields;

impl Fields<RunField> for RunFields {
    fn field(&self, path: &[String]) -> Option<Field<RunField>> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        Some(match path[..] {
            ["workflow"] => Field::Text(RunField::Workflow),
            ["state"] => Field::Word(RunField::State, State::ALL.map(|state| (state.name(), state as i64)).to_vec()),
            ["reason"] => Field::Text(RunField::Reason),
            ["create_time"] => Field::Time(RunField::CreatedAt),
            ["update_time"] => Field::Time(RunField::UpdatedAt),
            ["end_time"] => Field::Time(RunField::EndedAt),
            ["schedule"] => Field::Text(RunField::Schedule),
            ["parent_run_id"] => Field::Id(RunField::Parent),
            ["pinned"] => Field::Flag(RunField::Pinned),
            ["error", "code"] => Field::Word(RunField::ErrorCode, codes()),
            _ => return None,
        })
    }

    fn names(&self) -> &'static str {
        "workflow, state, reason, create_time, update_time, end_time, schedule, parent_run_id, pinned or error.code"
    }
}

fn codes() -> Vec<(&'static str, i64)> {
    (1..=16).map(|number| (Code::from_i32(number).name(), i64::from(number))).collect()
}

impl Violations {
    /// The filter of a list of runs.
    pub(super) fn run_filter(&mut self, text: &str) -> Filter<RunField> {
        self.filter(text, &RunFields)
    }

    /// Whether the oldest runs come first.
    pub(super) fn oldest_first(&mut self, order_by: &str) -> bool {
        match order_by.split_whitespace().collect::<Vec<_>>()[..] {
            [] | ["create_time", "desc"] => false,
            ["create_time"] => true,
            _ => {
                self.note("order_by", "expected \"create_time\" or \"create_time desc\"");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::filter::read;

    #[test]
    fn every_field_that_is_named_is_one() {
        for name in RunFields.names().replace(" or ", ", ").split(", ") {
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            assert!(RunFields.field(&path).is_some(), "{name}");
        }
    }

    #[test]
    fn states_and_codes_are_named_as_everywhere() {
        for text in ["state = NEEDS_DECISION OR state = SUCCEEDED", "error.code = DEADLINE_EXCEEDED", "error.code:*"] {
            assert!(read(text, &RunFields).is_ok(), "{text}");
        }
        for text in ["state = needs_decision", "error.code = OK", "error = ABORTED", "state.code = FAILED"] {
            assert!(read(text, &RunFields).is_err(), "{text}");
        }
    }
}
