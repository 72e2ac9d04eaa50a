//! The workflows of Guras, and the registry of them: the one table a new workflow is added to.

use engine::workflow::{NameTaken, Registry};

mod analyze_emotions;
mod erase;
mod paging;
mod send_due;

pub use analyze_emotions::AnalyzeEmotions;
pub use erase::Erase;
pub use send_due::SendDue;

/// Every workflow that this orchestrator can run. Each run gets a value of its own.
///
/// # Errors
/// Where two workflows have one name.
pub fn registry() -> Result<Registry, NameTaken> {
    let mut workflows = Registry::new();
    workflows.register(|| SendDue)?;
    workflows.register(|| AnalyzeEmotions)?;
    workflows.register(|| Erase)?;
    Ok(workflows)
}
