//! `orchestrator serve`.

use clap::Args;

use super::Exit;
use super::configuration_flags::ConfigurationFlags;
use super::exit::CommandError;
use crate::app::App;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    configuration: ConfigurationFlags,
    /// Adopt a store that is a copy or a restored backup: its original must never run again. Calls of which no level is
    /// stated then wait for a decision, because the original may have made them. For one start only.
    #[arg(long, env = "ORCHESTRATOR_ADOPT")]
    adopt: bool,
}

impl Serve {
    pub(super) fn run(self, app: &App) -> Result<Exit, CommandError> {
        let loaded = self.configuration.load()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CommandError::failed(format!("no runtime: {error}")))?;
        let served = runtime.block_on(crate::serve::serve(app, loaded, self.adopt));
        // All that matters is done and durable. What may be left is the lookup of a name, which nothing can break off and
        // which takes longer than the time to end where no name server answers.
        runtime.shutdown_background();
        served.map(|_| Exit::Ok).map_err(|error| CommandError::failed(error.to_string()))
    }
}
