//! Which methods may be repeated, as their contracts say it.

use engine::rpc::Level;
use serde::Serialize;

use super::super::connection::Output;
use super::super::exit::CommandError;
use super::super::table::table;
use super::super::{Exit, Terminal};
use crate::contracts::told;
use crate::services;

/// Shown below the list, for people.
const HOW: &str = "\
A call of a method that says nothing is sent at most once for each owner of its run: where it breaks off, the run waits for
a decision. Its contract can say more, where that is true:
  option idempotency_level = IDEMPOTENT;    // or NO_SIDE_EFFECTS
  option (orchestrator.options.v1.idempotency_key) = {dedupe_horizon: {seconds: 86400}};";

#[derive(Debug, Serialize)]
struct Row {
    /// `Service/Method`.
    method: String,
    level: String,
}

pub(super) fn check(all: bool, output: Output, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
    let methods: Vec<_> = services::called_keys().into_iter().flat_map(services::methods_of).collect();
    let unknown = methods.iter().filter(|method| method.level == Level::Unknown).count();
    let shown = methods.into_iter().filter(|method| all || method.level == Level::Unknown);
    let rows = shown
        .map(|method| Row { method: format!("{}/{}", method.service, method.name), level: told(method.level) })
        .collect::<Vec<_>>();
    match output {
        Output::Json => terminal.line(&super::json(&rows)?)?,
        Output::Table if !rows.is_empty() => {
            let rows = rows.into_iter().map(|Row { method, level }| [method, level]);
            terminal.line(&table(["method", "level"], rows))?;
        }
        Output::Table => {}
    }
    if unknown == 0 {
        terminal.talk("every method says how often it may be repeated");
        return Ok(Exit::Ok);
    }
    terminal.talk(HOW);
    Ok(Exit::Findings)
}
