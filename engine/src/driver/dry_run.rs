//! Tries whether code can continue with a run: its journal is replayed in memory, and nothing is sent or written.

use std::sync::Arc;

use uuid::Uuid;

use super::Mailbox;
use super::code::{Code, Finished, replay_into};
use crate::authoring::context::Context;
use crate::authoring::workflow::Registry;
use crate::history::History;
use crate::journal::JournalError;
use crate::journal_v1 as stored;
use crate::limits::Limits;
use crate::panics::{Panicked, quietly};
use crate::scope::{Fault, Intent, RunInfo, ScheduleInfo, Scope};
use crate::time::Clock;
use crate::undo::Undoable;

/// Why code cannot continue with a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("JOURNAL_UNREADABLE: {0}")]
    Unreadable(#[from] JournalError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("PANICKED: {0}")]
    Panicked(Panicked),
}

/// Replays a run whose workflow is registered, as far as its code is needed for it to continue.
pub(crate) fn dry_run(
    workflows: &Registry,
    run: Uuid,
    facts: Vec<stored::Fact>,
    limits: &Arc<Limits>,
    clock: &Clock,
) -> Result<(), ReplayError> {
    let mut history = History::read(facts)?;
    let ends = history.ended.is_some() || history.ending.is_some();
    let undoes = history.ending.is_some() && history.undoables.iter().any(Undoable::needs_code);
    let Some(workflow) = workflows.get(&history.created.workflow).filter(|_| !ends || undoes) else { return Ok(()) };
    let input = history.created.input.take().unwrap_or_default().value;
    let (version, depth) = (history.created.workflow_version, history.created.depth);
    let schedule = ScheduleInfo::of(&history.created);
    let about = RunInfo { run, workflow: workflow.name, version, signals: workflow.signals, depth, schedule };
    let scope = Arc::new(Scope::new(about, Arc::clone(limits), clock.clone(), history.past));
    let begun = workflow.begin(Context::root(Arc::clone(&scope)), input);
    let mut code = Code::new(begun, scope.current_run(), Arc::new(Mailbox::default()));
    let finished = quietly(|| replay_into(&scope, &mut code, history.replay, history.seen))?;
    match finished {
        Some(Finished::Panicked(panicked)) => return Err(ReplayError::Panicked(panicked)),
        Some(Finished::Returned(_)) => {
            if let Some(journal) = scope.unreached() {
                return Err(Fault::Mismatch { journal, code: "ended before it".to_owned() }.into());
            }
        }
        None => {}
    }
    for intent in scope.take_intents() {
        if let Intent::Child(child) = intent
            && workflows.get(child.workflow).is_none()
        {
            return Err(Fault::UnknownChild { child: child.place.to_string(), workflow: child.workflow }.into());
        }
    }
    Ok(())
}
