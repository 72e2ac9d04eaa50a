//! The orchestrator as `orchestrator serve` puts it together, with the workflows that are measured.

use anyhow::anyhow;
use orchestrator::configuration::{Sources, load};
use orchestrator::serve::serve_workflows;

use crate::workflows;

/// Serves until SIGTERM, with the defaults of the configuration and these overrides.
pub(crate) async fn serve(overrides: Vec<String>) -> anyhow::Result<()> {
    let loaded = load(&Sources { overrides, ..Sources::default() }).map_err(|mistakes| anyhow!("{mistakes}"))?;
    serve_workflows(loaded, workflows::registry()?).await?;
    Ok(())
}
