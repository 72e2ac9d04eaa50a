//! `orchestrator serve`.

use clap::Args;

use super::Exit;
use super::configuration_flags::ConfigurationFlags;
use super::exit::CommandError;
use crate::App;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    configuration: ConfigurationFlags,
}

impl Serve {
    pub(super) fn run(self, app: &App) -> Result<Exit, CommandError> {
        let loaded = self.configuration.load()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CommandError::failed(format!("no runtime: {error}")))?;
        let served = runtime.block_on(crate::serve::serve(app, loaded));
        // All that matters is done and durable. What may be left is the lookup of a name, which nothing can break off and
        // which takes longer than the time to end where no name server answers.
        runtime.shutdown_background();
        served.map(|_| Exit::Ok).map_err(|error| CommandError::failed(error.to_string()))
    }
}
