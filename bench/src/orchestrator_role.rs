//! The orchestrator as `orchestrator serve` puts it together, with the workflows that are measured.

use anyhow::anyhow;
use server::App;
use server::configuration::{Sources, load};
use server::serve::serve;

use crate::workflows;

/// What is measured.
pub(crate) static APP: App =
    App { version: env!("CARGO_PKG_VERSION"), ..App::new(&crate::proto::CONTRACTS, |_| workflows::registry()) };

/// Serves until SIGTERM, with the defaults of the configuration and these overrides.
pub(crate) async fn run(overrides: Vec<String>) -> anyhow::Result<()> {
    APP.install()?;
    let loaded = load(&Sources { overrides, ..Sources::default() }).map_err(|mistakes| anyhow!("{mistakes}"))?;
    serve(&APP, loaded, false).await?;
    Ok(())
}
