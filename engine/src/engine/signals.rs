//! How a run is sent a message.

use bytes::Bytes;
use uuid::Uuid;

use super::{Engine, EngineError};
use crate::mailbox;
use crate::store::{CommandKind, Requester, RunRow, Signal};

impl Engine {
    /// Sends a run a message. It is durable when this returns, and kept until the run waits for it.
    ///
    /// # Errors
    /// If the run is unknown or has ended, its workflow takes no such signal, the message does not decode or is too large,
    /// too many wait already, or the store fails.
    pub async fn signal(&self, run: Uuid, name: &str, message: Bytes, asked: Requester) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let change = asked.to("SignalRun", name);
        if let Some(row) = self.done_before(&change).await? {
            return Ok(row);
        }
        let row = self.row(run).await?;
        let Some(workflow) = self.shared.workflows.get(&row.workflow) else {
            return Err(EngineError::UnknownWorkflow(row.workflow));
        };
        let Some(signal) = workflow.signal(name) else {
            let known = workflow.signals.iter().map(|signal| signal.name().to_owned()).collect();
            return Err(EngineError::UnknownSignal { workflow: row.workflow, name: name.to_owned(), known });
        };
        let max = self.shared.limits.payload_bytes;
        if message.len() > max {
            let value = message.len() as u64;
            return Err(EngineError::LimitExceeded { limit: "payload_bytes", value, max: max as u64 });
        }
        signal
            .check(message.clone())
            .map_err(|error| EngineError::InvalidInput { expected: signal.type_name(), error: error.to_string() })?;
        let (rules, now) = (self.shared.workflows.rules(), self.shared.clock.now());
        let violations = rules.check_message(&signal.type_name(), &message, now);
        if !violations.is_empty() {
            return Err(EngineError::RulesBroken { part: "message", violations });
        }
        let signal = Signal { name: name.to_owned(), payload: message, room: self.shared.limits.inbox_messages };
        let row = self.command(run, change, CommandKind::Signal(signal)).await?;
        self.shared.tell(run, mailbox::MESSAGE);
        Ok(row)
    }
}
