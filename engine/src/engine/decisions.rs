//! How operators settle what no one can know: whether a call of unstated level happened (semantics.md S6).

use uuid::Uuid;

use super::{Engine, EngineError};
use crate::decision::{Decision, Verdict};
use crate::run_command::RunCommand;
use crate::store::{Requester, RunRow};

impl Engine {
    /// Decides what became of a call that may or may not have happened; then the run continues.
    ///
    /// # Errors
    /// If the run is unknown, the step is not in doubt or no longer as the decision says, it is too early to ask
    /// again, the response is too large, or the store fails.
    pub async fn resolve(&self, run: Uuid, decision: Decision, asked: Requester) -> Result<RunRow, EngineError> {
        let max = self.shared.limits.payload_bytes;
        if let Verdict::Happened(response) = &decision.verdict
            && response.len() > max
        {
            let value = response.len() as u64;
            return Err(EngineError::LimitExceeded { limit: "payload_bytes", value, max: max as u64 });
        }
        let detail = format!("{} (attempt {}): {}", decision.step, decision.attempt, decision.verdict.name());
        self.dispatch(run, RunCommand::Resolve(decision), asked.to("ResolveStep", detail)).await
    }
}
