//! `orchestrator runs count`.

use crate::proto::orchestrator::admin::v1::CountRunsRequest;
use clap::Args;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::table;
use super::super::{Terminal, json};

#[derive(Debug, Args)]
pub(in super::super) struct Count {
    /// Only runs that meet this, as in `runs list`.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    #[command(flatten)]
    server: Server,
}

impl Count {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let answer = self.server.runs()?.count_runs(CountRunsRequest { filter: self.filter }).await?.into_inner();
        if self.server.output == Output::Json {
            return terminal.line(&json::pretty(&answer)?);
        }
        let rows = answer
            .run_counts
            .iter()
            .map(|count| [count.workflow.clone(), count.state().as_str_name().to_owned(), count.run_count.to_string()]);
        let total = [String::from("total"), String::new(), answer.total_count.to_string()];
        terminal.line(&table(["workflow", "state", "runs"], rows.chain([total])))
    }
}
