//! Runs that this replica has no code for: it leaves them alone, says so, and a replica that has the code continues with them.

use super::{Engine, EngineError};
use crate::state::State;
use crate::store::{RunRow, Unclaimable};

/// Runs of one workflow and version that wait for their code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrandedRuns {
    /// Name of the workflow.
    pub workflow: String,
    /// The version that created them.
    pub version: u32,
    /// How many runs they are.
    pub runs: u64,
    /// A constant and a sentence, as in [`Status::reason`](crate::store::Status::reason).
    pub reason: String,
}

impl Engine {
    /// Why no one here continues with a run: its workflow, or the version of it that created the run, is not known. None
    /// where somebody holds the run, and where it stands still for another reason.
    pub fn stranded(&self, row: &RunRow) -> Option<String> {
        let parked = matches!(row.status.state, State::Paused | State::Blocked | State::NeedsDecision);
        if row.owned || parked || row.status.state.is_end() {
            return None;
        }
        self.reason(&row.workflow, row.workflow_version)
    }

    /// The runs in flight that this replica has no code for, by workflow and version.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn stranded_runs(&self) -> Result<Vec<StrandedRuns>, EngineError> {
        let unclaimable = self.shared.store.unclaimable(self.known()).await?;
        let missing = unclaimable.into_iter().filter_map(|Unclaimable { workflow, version, runs }| {
            let reason = self.reason(&workflow, version)?;
            Some(StrandedRuns { workflow, version, runs, reason })
        });
        Ok(missing.collect())
    }

    /// The workflows that this replica has the code of, each with its version.
    pub(super) fn known(&self) -> Vec<(String, u32)> {
        self.shared.workflows.iter().map(|workflow| (workflow.name.to_owned(), workflow.version)).collect()
    }

    fn reason(&self, workflow: &str, version: u32) -> Option<String> {
        self.shared.workflows.misses(workflow, version).map(|missing| missing.to_string())
    }

    /// Tells once, when the loop begins: which code a replica has does not change while it lives.
    pub(super) async fn tell_stranded(&self) {
        match self.stranded_runs().await {
            Ok(missing) => {
                for StrandedRuns { workflow, version, runs, reason } in missing {
                    tracing::warn!(
                        workflow,
                        version,
                        runs,
                        reason,
                        "runs wait for code that this replica does not have"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "runs that wait for code are not counted"),
        }
    }
}
