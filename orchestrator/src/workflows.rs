//! The workflows of Guras, and the registry of them: the one table a new workflow is added to.
//!
//! Time, random numbers and everything else from outside come through the context; otherwise a replay does something else
//! than the first execution. What clippy.toml names is denied here and below.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use engine::workflow::{NameTaken, Registry};

mod ai_json;
mod analyze_emotions;
mod bounds;
mod days;
mod devices;
mod erase;
mod onboard;
mod refresh_recommendations;
mod send_due;
mod weekly_digests;

pub use analyze_emotions::AnalyzeEmotions;
pub use erase::Erase;
pub use onboard::Onboard;
pub use refresh_recommendations::RefreshRecommendations;
pub use send_due::SendDue;
pub use weekly_digests::{WeeklyDigest, WeeklyDigests};

/// Every workflow that this orchestrator can run. Each run gets a value of its own.
///
/// # Errors
/// Two workflows have the same name.
pub fn registry() -> Result<Registry, NameTaken> {
    let mut workflows = Registry::new();
    workflows.register(|| SendDue)?;
    workflows.register(|| AnalyzeEmotions)?;
    workflows.register(|| Erase)?;
    workflows.register(|| WeeklyDigests)?;
    workflows.register(|| WeeklyDigest)?;
    workflows.register(|| Onboard)?;
    workflows.register(|| RefreshRecommendations)?;
    Ok(workflows)
}
