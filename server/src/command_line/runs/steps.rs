//! `orchestrator runs steps`.

use crate::proto::orchestrator::admin::v1::{ListStepsRequest, Step};
use clap::Args;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::pages::{PAGE_SIZE, all_pages};
use super::super::{Terminal, json};
use super::show;

#[derive(Debug, Args)]
pub(in super::super) struct Steps {
    id: String,
    /// Only steps that meet this, for example 'state = FAILED AND path = "recipient*"'. Fields: path, kind, state, method, attempts,
    /// undone.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    #[command(flatten)]
    server: Server,
}

impl Steps {
    /// All of them, however many: as JSON each on a line of its own.
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let mut client = self.server.runs()?;
        let is_json = self.server.output == Output::Json;
        let mut steps: Vec<Step> = Vec::new();
        all_pages(async |page_token| {
            let (run_id, filter) = (self.id.clone(), self.filter.clone());
            let request = ListStepsRequest { run_id, page_size: PAGE_SIZE, page_token, filter };
            let page = client.list_steps(request).await?.into_inner();
            for step in page.steps {
                if is_json { terminal.line(&json::line(&step)?)? } else { steps.push(step) }
            }
            Ok(page.next_page_token)
        })
        .await?;
        if is_json { Ok(()) } else { terminal.line(&show::table_of(&steps)) }
    }
}
