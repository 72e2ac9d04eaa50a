//! How operators steer a run.

use uuid::Uuid;

use super::{Engine, EngineError};
use crate::mailbox;
use crate::store::{Order, Requester, RunRow};

impl Engine {
    /// Asks a run to end as CANCELLED. After the answer it starts nothing new.
    ///
    /// # Errors
    /// Where the run is unknown, has ended in another way, or the store fails.
    pub async fn cancel(&self, run: Uuid, asked: Requester) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let row = self.command(run, asked.to("CancelRun", ""), Order::Cancel).await?;
        self.shared.tell(run, mailbox::CANCEL);
        Ok(row)
    }

    pub(super) fn check_asked(&self, asked: &Requester) -> Result<(), EngineError> {
        let max = self.shared.limits.name_bytes;
        for (limit, text) in [("reason", &asked.reason), ("caller", &asked.caller)] {
            if text.len() > max {
                return Err(EngineError::LimitExceeded { limit, value: text.len() as u64, max: max as u64 });
            }
        }
        Ok(())
    }
}
