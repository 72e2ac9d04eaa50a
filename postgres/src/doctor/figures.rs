//! The figures of a database, for people.

use engine::store::doctor::{Figure, bytes};

use super::facts::Facts;
use crate::migrations::VERSION;

impl Facts {
    pub(super) fn figures(&self) -> Vec<Figure> {
        let figure = |name, value| Figure { name, value };
        let (tables, indexes) = self
            .tables
            .iter()
            .fold((0, 0), |(tables, indexes), table| (tables + table.bytes, indexes + table.index_bytes));
        let version = self.version.split(" on ").next().unwrap_or_default().to_owned();
        let runs: Vec<String> = self.runs.iter().map(|(state, runs)| format!("{runs} {state}")).collect();
        let runs = if runs.is_empty() { "none".to_owned() } else { runs.join(", ") };
        vec![
            figure("server", version),
            figure("schema", format!("{} of {VERSION}", self.schema)),
            figure("replicas", self.replicas.to_string()),
            figure("runs", runs),
            figure("ended runs", format!("about {}", self.ended)),
            figure("tables", bytes(tables)),
            figure("indexes", bytes(indexes)),
            figure("connections", format!("{} of {}", self.connections, self.settings.most_connections)),
            figure("clock", format!("{} ms ahead of this machine's", self.ahead / 1_000)),
            figure(
                "in place",
                self.in_place().map_or_else(|| "no updates yet".to_owned(), |share| format!("{share} %")),
            ),
        ]
    }

    /// The share of updates of runs that changed a row without touching an index.
    pub(super) fn in_place(&self) -> Option<u64> {
        let live = self.tables.iter().find(|table| table.name == "live")?;
        (live.hot_updates * 100).checked_div(live.updates)
    }
}
