//! Which methods may be repeated, as their contracts say it, or the configuration where they do not.

use std::collections::BTreeMap;

use engine::rpc::Level;
use serde::Serialize;

use super::super::connection::Output;
use super::super::exit::CommandError;
use super::super::table::table;
use super::super::{Exit, Terminal};
use crate::configuration::Service;
use crate::configuration::service::Levels;
use crate::contracts::told;
use crate::installed;

/// Shown below the list, for people.
const HOW: &str = "\
A call of a method that says nothing is sent at most once for each owner of its run: where it breaks off, the run waits for
a decision. Its contract can say more, where that is true:
  option idempotency_level = IDEMPOTENT;    // or NO_SIDE_EFFECTS
  option (orchestrator.options.v1.idempotency_key) = {dedupe_horizon: {seconds: 86400}};
For a contract that you cannot change, the configuration can:
  services.SERVICE.methods.METHOD = { level = \"keyed\", dedupe_horizon = \"24h\" }  # or idempotent, no_side_effects
Its owners may find that `buf breaking` refuses an idempotency_level if there was none (RPC_SAME_IDEMPOTENCY_LEVEL). To
state more than before breaks no client: they except the file in buf.yaml for the one release that states it,
  breaking: { ignore_only: { RPC_SAME_IDEMPOTENCY_LEVEL: [acme/billing/v1/billing.proto] } }
or take the option of ours, which buf does not compare.";

#[derive(Debug, Serialize)]
struct Row {
    /// Its key in the configuration.
    service: &'static str,
    /// `Service/Method`.
    method: String,
    level: String,
    /// Whether the configuration says it, and not the contract.
    configured: bool,
}

pub(super) fn check(
    configured: &BTreeMap<String, Service>,
    all: bool,
    output: Output,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let none = Service::default();
    let rows = installed::known_keys().into_iter().flat_map(|key| {
        let levels = Levels::of(key, configured.get(key).unwrap_or(&none));
        installed::methods_of(key).map(move |method| (key, method, levels.level(method)))
    });
    let methods: Vec<_> = rows.collect();
    let unknown = methods.iter().filter(|(_, _, level)| *level == Level::Unknown).count();
    let of_configuration = methods.iter().filter(|(_, method, level)| *level != method.level).count();
    let shown = methods.into_iter().filter(|(_, _, level)| all || *level == Level::Unknown);
    let rows = shown
        .map(|(service, method, level)| Row {
            service,
            method: format!("{}/{}", method.service, method.name),
            level: told(level),
            configured: level != method.level,
        })
        .collect::<Vec<_>>();
    match output {
        Output::Json => terminal.line(&super::json(&rows)?)?,
        Output::Table if !rows.is_empty() => {
            let rows = rows.into_iter().map(|Row { service, method, level, configured }| {
                [service.to_owned(), method, if configured { format!("{level} (configured)") } else { level }]
            });
            terminal.line(&table(["service", "method", "level"], rows))?;
        }
        Output::Table => {}
    }
    if of_configuration > 0 {
        terminal.talk(&format!("of {of_configuration} methods the configuration says it, not their contracts"));
    }
    if unknown == 0 {
        terminal.talk("every method says how often it may be repeated");
        return Ok(Exit::Ok);
    }
    terminal.talk(HOW);
    Ok(Exit::Findings)
}
