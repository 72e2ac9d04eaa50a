//! Lists of runs: which index a filter is read by.
//!
//! A filter that fixes the schedule or the parent, or that leaves few times of creation, is read by the index of that. Any
//! other is a merge of pages of (workflow, state), each read in order from one index: what the filter says of the two leaves
//! out whole pages, and what it says of more is checked for each run of the others.

use rusqlite::{Connection, ToSql};
use uuid::Uuid;

use super::job::Fault;
use super::rows::{self, Bound};
use crate::state::State;
use crate::store::filter::{Dialect, Known};
use crate::store::{Comparison, Filter, ListRuns, RunCount, RunField, RunRow, Value};

/// So many runs are sorted rather than looked for in the order of their ids.
const FEW: i64 = 5_000;

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
    parameter: '?',
    position: "instr",
};

/// Runs that meet the filter, in the order of their ids.
pub(super) fn list(connection: &mut Connection, filter: &ListRuns) -> Result<Vec<RunRow>, Fault> {
    // One snapshot for the index and for the rows that it names.
    let transaction = connection.unchecked_transaction()?;
    let condition = filter.condition();
    let ids = Look::new(filter, &condition).ids(&transaction)?;
    let mut runs = Vec::with_capacity(ids.len());
    for id in ids {
        runs.extend(rows::find(&transaction, Uuid::from_bytes(id))?);
    }
    Ok(runs)
}

/// Runs that meet the filter, counted by workflow and state. Costs by the index entries of what it counts, and by the runs where
/// the filter says more than workflows and states.
pub(super) fn count(connection: &mut Connection, filter: &Filter<RunField>) -> Result<Vec<RunCount>, Fault> {
    let transaction = connection.unchecked_transaction()?;
    let (mut condition, mut values) = (String::new(), Vec::new());
    filter.compile(&mut condition, &mut values, 3, &DIALECT);
    let values: Vec<Bound<'_>> = values.into_iter().map(Bound).collect();
    let mut counts: Vec<RunCount> = Vec::new();
    for (workflow, number) in workflows(&transaction)? {
        for state in State::ALL {
            let known = filter.known(&|field| of_pair(field, &workflow, state));
            if known == Known::Decided(false) {
                continue;
            }
            let (open, given) =
                if known == Known::Open { (condition.as_str(), &values[..]) } else { ("true", &[][..]) };
            let sql = format!(
                "SELECT count(*) FROM runs INDEXED BY runs_by_state WHERE workflow = ?1 AND state = ?2 AND {open}"
            );
            let state_number = state as u8;
            let mut params: Vec<&dyn ToSql> = vec![&number, &state_number];
            params.extend(given.iter().map(|value| value as &dyn ToSql));
            let runs = transaction.prepare_cached(&sql)?.query_row(params.as_slice(), |row| rows::count(row, 0))?;
            match counts.iter_mut().find(|count| count.workflow == workflow && count.state == state) {
                _ if runs == 0 => {}
                Some(count) => count.runs += runs,
                None => counts.push(RunCount { workflow: workflow.clone(), state, runs }),
            }
        }
    }
    counts
        .sort_unstable_by(|left, right| (&left.workflow, left.state as u8).cmp(&(&right.workflow, right.state as u8)));
    Ok(counts)
}

/// What is known of a run before its row is read.
fn of_pair(field: &RunField, workflow: &str, state: State) -> Option<Value> {
    match field {
        RunField::Workflow => Some(Value::Text(workflow.to_owned())),
        RunField::State => Some(Value::Number(i64::from(state as u8))),
        _ => None,
    }
}

/// Names of workflows with their numbers: one for each version.
fn workflows(connection: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut statement = connection.prepare_cached("SELECT name, id FROM workflows ORDER BY id DESC")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// One list, on its way.
struct Look<'f> {
    filter: &'f ListRuns,
    condition: &'f Filter<RunField>,
    /// The condition as SQL, whose parameters are these, from the sixth on.
    sql: String,
    values: Vec<Bound<'f>>,
    order: &'static str,
    before: [u8; 16],
    after: [u8; 16],
}

impl<'f> Look<'f> {
    fn new(filter: &'f ListRuns, condition: &'f Filter<RunField>) -> Self {
        let (mut sql, mut values) = (String::new(), Vec::new());
        condition.compile(&mut sql, &mut values, 6, &DIALECT);
        Self {
            filter,
            condition,
            sql,
            values: values.into_iter().map(Bound).collect(),
            order: if filter.oldest_first { "ASC" } else { "DESC" },
            before: filter.before.map_or([u8::MAX; 16], Uuid::into_bytes),
            after: filter.after.map_or([0; 16], Uuid::into_bytes),
        }
    }

    fn ids(&self, connection: &Connection) -> rusqlite::Result<Vec<[u8; 16]>> {
        if self.condition.is_empty() {
            return self.read(connection, "runs", "true", "true", &[]);
        }
        for (field, index, column) in
            [(RunField::Schedule, "runs_by_schedule", "schedule"), (RunField::Parent, "runs_by_parent", "parent")]
        {
            if let Some(value) = self.condition.fixed(&field) {
                let (from, by) = (format!("runs INDEXED BY {index}"), format!("runs.{column} = ?4"));
                return self.read(connection, &from, &by, &self.sql, &[&Bound(value)]);
            }
        }
        if let Some((from, to)) = self.few_created(connection)? {
            let by = "runs.created_at >= ?4 AND runs.created_at <= ?5";
            return self.read(connection, "runs INDEXED BY runs_by_creation", by, &self.sql, &[&from, &to]);
        }
        self.merged(connection)
    }

    /// The times of creation that the filter leaves, if few runs were created within them.
    fn few_created(&self, connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
        let (mut from, mut to) = (i64::MIN, i64::MAX);
        for condition in self.condition.conjuncts() {
            if let Filter::Compare(RunField::CreatedAt, comparison, Value::Number(time)) = condition {
                match comparison {
                    Comparison::Equal => (from, to) = (from.max(*time), to.min(*time)),
                    Comparison::Greater | Comparison::AtLeast => from = from.max(*time),
                    Comparison::Less | Comparison::AtMost => to = to.min(*time),
                    Comparison::Begins => {}
                }
            }
        }
        if from == i64::MIN && to == i64::MAX {
            return Ok(None);
        }
        let found: i64 = connection
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM runs INDEXED BY runs_by_creation
                                       WHERE created_at >= ?1 AND created_at <= ?2 LIMIT ?3)",
            )?
            .query_row((from, to, FEW), |row| row.get(0))?;
        Ok((found < FEW).then_some((from, to)))
    }

    /// Pages of the workflows and states that are left, merged.
    fn merged(&self, connection: &Connection) -> rusqlite::Result<Vec<[u8; 16]>> {
        let mut ids: Vec<[u8; 16]> = Vec::new();
        for (workflow, number) in workflows(connection)? {
            for state in State::ALL {
                let by = "runs.workflow = ?4 AND runs.state = ?5";
                let sql = match self.condition.known(&|field| of_pair(field, &workflow, state)) {
                    Known::Decided(false) => continue,
                    Known::Decided(true) => "true",
                    Known::Open => self.sql.as_str(),
                };
                let state = state as u8;
                ids.extend(self.read(connection, "runs INDEXED BY runs_by_state", by, sql, &[&number, &state])?);
                ids.sort_unstable();
                if !self.filter.oldest_first {
                    ids.reverse();
                }
                ids.truncate(self.filter.limit as usize);
            }
        }
        Ok(ids)
    }

    /// The first page of those that `by` and `condition` leave; `given` are the parameters of `by`.
    fn read(
        &self,
        connection: &Connection,
        from: &str,
        by: &str,
        condition: &str,
        given: &[&dyn ToSql],
    ) -> rusqlite::Result<Vec<[u8; 16]>> {
        let order = self.order;
        let sql = format!(
            "SELECT runs.id FROM {from} WHERE runs.id < ?1 AND runs.id > ?2 AND {by} AND {condition}
             ORDER BY runs.id {order} LIMIT ?3"
        );
        let mut params: Vec<&dyn ToSql> = vec![&self.before, &self.after, &self.filter.limit];
        params.extend(given);
        // A number that the statement does not use has a value all the same.
        while params.len() < 5 {
            params.push(&rusqlite::types::Null);
        }
        let takes = connection.prepare_cached(&sql)?.parameter_count();
        params.extend(self.values.iter().map(|value| value as &dyn ToSql));
        params.truncate(takes);
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_map(params.as_slice(), |row| row.get(0))?.collect()
    }
}
