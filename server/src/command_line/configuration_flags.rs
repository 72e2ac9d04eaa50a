//! Flags that say where the configuration comes from and what overrides it.

use std::path::PathBuf;

use clap::Args;

use super::exit::CommandError;
use crate::configuration::{Loaded, Sources, load};

#[derive(Debug, Args)]
pub(super) struct ConfigurationFlags {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "ORCHESTRATOR_CONFIG")]
    config: Option<PathBuf>,
    /// Override one key, for example `--set drain.grace=10s`; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Short for `--set store.path=FILE`.
    #[arg(long, value_name = "FILE")]
    store: Option<String>,
    /// Short for `--set admin.listen=ADDRESS`.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Short for `--set health.listen=ADDRESS`.
    #[arg(long, value_name = "ADDRESS")]
    health_listen: Option<String>,
    /// Short for `--set log.filter=DIRECTIVES`.
    #[arg(long, value_name = "DIRECTIVES")]
    log: Option<String>,
}

impl ConfigurationFlags {
    /// Loads the configuration; all its mistakes are one usage error.
    pub(super) fn load(self) -> Result<Loaded, CommandError> {
        let named = [
            ("store.path", self.store),
            ("admin.listen", self.admin_listen),
            ("health.listen", self.health_listen),
            ("log.filter", self.log),
        ];
        let named = named.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        // The general form comes last, so that it wins over the short one.
        let overrides = named.chain(self.set).collect();
        let sources = Sources { file: self.config, environment: std::env::vars_os().collect(), overrides };
        load(&sources).map_err(|mistakes| CommandError::usage(mistakes.to_string()))
    }
}
