//! Lists of runs: which index a filter is read by.
//!
//! A filter that fixes the schedule or the parent, or that bounds the time of creation, is one statement, for which the database
//! chooses. Any other is a merge of pages of (workflow, state), each read in order from one index.

use engine::state::State;
use engine::store::filter::{Dialect, Known};
use engine::store::{Filter, ListRuns, RunCount, RunField, RunRow, Value};
use uuid::Uuid;

use crate::parameter::{Parameter, parameter};
use crate::rows;
use crate::session::{Fault, Session};

const DIALECT: Dialect<RunField> = Dialect {
    column: |field| match field {
        RunField::Workflow => "(SELECT workflows.name FROM workflows WHERE workflows.id = runs.workflow)",
        RunField::State => "runs.state",
        RunField::CreatedAt => "runs.created_at",
        RunField::UpdatedAt => "runs.updated_at",
        RunField::EndedAt => "runs.ended_at",
        RunField::Schedule => "runs.schedule",
        RunField::Reason => "nullif(runs.reason, '')",
        RunField::Parent => "runs.parent",
        RunField::Pinned => "runs.pinned",
        RunField::ErrorCode => "runs.error_code",
    },
    parameter: '$',
    position: "strpos",
};

/// Runs that meet the filter, in the order of their ids.
pub(crate) async fn list(session: &Session<'_>, filter: &ListRuns) -> Result<Vec<RunRow>, Fault> {
    let condition = filter.condition();
    let (before, after) = (filter.before.unwrap_or(Uuid::max()), filter.after.unwrap_or_default());
    let (order, limit) = (if filter.oldest_first { "ASC" } else { "DESC" }, i64::from(filter.limit));
    let by_one_index = condition.is_empty()
        || [RunField::Schedule, RunField::Parent].iter().any(|field| condition.fixed(field).is_some())
        || condition.conjuncts().iter().any(|one| matches!(one, Filter::Compare(RunField::CreatedAt, ..)));
    let states = states(&condition);
    let (mut sql, mut values) = (String::new(), Vec::new());
    condition.compile(&mut sql, &mut values, if by_one_index { 4 } else { 5 }, &DIALECT);
    let page = |table: &str, more: &str| {
        format!(
            "SELECT runs.id FROM {table} AS runs WHERE {more} runs.id < $1 AND runs.id > $2 AND {sql}
             ORDER BY runs.id {order} LIMIT $3"
        )
    };
    let found = if by_one_index {
        format!("({}) UNION ALL ({})", page("live", ""), page("ended", ""))
    } else {
        let wished = "runs.workflow = wish.workflow AND runs.state = wish.state AND";
        format!(
            "SELECT page.id FROM wish, LATERAL ({}) AS page UNION ALL SELECT page.id FROM wish, LATERAL ({}) AS page",
            page("live", wished),
            page("ended", wished)
        )
    };
    let wish = if by_one_index {
        ""
    } else {
        "wish AS (SELECT workflows.id AS workflow, state.number AS state
                  FROM workflows, unnest($4::int2[]) AS state (number)), "
    };
    let statement = format!(
        "WITH {wish}found AS ({found}), page AS (SELECT found.id FROM found ORDER BY found.id {order} LIMIT $3) {} UNION ALL {}
         ORDER BY id {order}",
        rows::select!("live", "WHERE runs.id IN (SELECT page.id FROM page)"),
        rows::select!("ended", "WHERE runs.id IN (SELECT page.id FROM page)"),
    );
    let mut params: Vec<&dyn Parameter> = vec![&before, &after, &limit];
    if !by_one_index {
        params.push(&states);
    }
    params.extend(values.into_iter().map(parameter));
    let found = session.rows(&statement, &params).await?;
    found.iter().map(rows::row).collect()
}

/// Runs that meet the filter, counted by workflow and state.
pub(crate) async fn count(session: &Session<'_>, filter: &Filter<RunField>) -> Result<Vec<RunCount>, Fault> {
    let states = states(filter);
    let (mut sql, mut values) = (String::new(), Vec::new());
    filter.compile(&mut sql, &mut values, 2, &DIALECT);
    let of = |table: &str| {
        format!(
            "SELECT workflows.name, found.state, found.runs FROM workflows, LATERAL (
                 SELECT runs.state, count(*) AS runs FROM {table} AS runs
                 WHERE runs.workflow = workflows.id AND runs.state = ANY($1) AND {sql} GROUP BY runs.state) AS found"
        )
    };
    let mut params: Vec<&dyn Parameter> = vec![&states];
    params.extend(values.into_iter().map(parameter));
    let mut counts: Vec<RunCount> = Vec::new();
    // A run that ends between the two statements is counted by one of them, or by both: they are read in the order of its way.
    for table in ["live", "ended"] {
        for row in session.rows(&of(table), &params).await? {
            let runs = rows::count(&row, 2)?;
            let (workflow, state): (String, _) = (row.try_get(0)?, rows::state(row.try_get(1)?)?);
            // A workflow is there once for each of its versions.
            match counts.iter_mut().find(|count| count.workflow == workflow && count.state == state) {
                Some(count) => count.runs += runs,
                None => counts.push(RunCount { workflow, state, runs }),
            }
        }
    }
    counts
        .sort_unstable_by(|left, right| (&left.workflow, left.state as u8).cmp(&(&right.workflow, right.state as u8)));
    Ok(counts)
}

/// The states that the filter leaves.
fn states(filter: &Filter<RunField>) -> Vec<i16> {
    let left = State::ALL.into_iter().filter(|state| {
        let known = filter.known(&|field| match field {
            RunField::State => Some(Value::Number(i64::from(*state as u8))),
            _ => None,
        });
        known != Known::Decided(false)
    });
    left.map(rows::of_state).collect()
}
