//! Which step each fact of a journal speaks of. Every reader of a journal asks here, so a new kind of fact says it once.

use std::collections::HashMap;
use std::sync::Arc;

use super::{JournalError, Kind};
use crate::journal_v1 as stored;
use crate::step_id::StepId;

/// What a fact speaks of.
enum Subject<'f> {
    /// The run.
    Run,
    /// A step that begins here; later facts name it by the number of this one.
    Start(Option<&'f stored::Place>),
    /// A step that has no start: a read, or one that is complete when it is written down.
    Itself(Option<&'f stored::Place>),
    /// The step whose start has this number.
    Started(u64),
}

fn subject(kind: &Kind) -> Subject<'_> {
    let named = |step: u64, place| if step == 0 { Subject::Itself(place) } else { Subject::Started(step) };
    match kind {
        Kind::StepStarted(step) => Subject::Start(step.place.as_ref()),
        Kind::SleepStarted(sleep) => Subject::Start(sleep.place.as_ref()),
        Kind::SignalAwaited(wait) => Subject::Start(wait.place.as_ref()),
        Kind::ChildStarted(child) => Subject::Start(child.place.as_ref()),
        Kind::Recorded(recorded) => Subject::Itself(recorded.place.as_ref()),
        Kind::FanOutStarted(fan_out) => Subject::Itself(fan_out.place.as_ref()),
        Kind::BranchStarted(branch) => Subject::Itself(branch.place.as_ref()),
        Kind::RaceDecided(race) => Subject::Itself(race.place.as_ref()),
        Kind::AttemptStarted(attempt) => named(attempt.step, None),
        Kind::AttemptFailed(failed) => named(failed.step, failed.place.as_ref()),
        Kind::StepSettled(settled) => named(settled.step, settled.place.as_ref()),
        Kind::Decided(decided) => named(decided.step, None),
        Kind::BackOffSkipped(skipped) => named(skipped.step, skipped.place.as_ref()),
        Kind::Created(_) | Kind::Ending(_) | Kind::Ended(_) | Kind::Reset(_) | Kind::CrashRecorded(_) => Subject::Run,
    }
}

/// The numbers of starts by which a fact names other steps.
pub(super) fn named_starts(kind: &mut Kind) -> &mut [u64] {
    match kind {
        Kind::AttemptStarted(attempt) => std::slice::from_mut(&mut attempt.step),
        Kind::AttemptFailed(failed) => std::slice::from_mut(&mut failed.step),
        Kind::StepSettled(settled) => std::slice::from_mut(&mut settled.step),
        Kind::Decided(decided) => std::slice::from_mut(&mut decided.step),
        Kind::BackOffSkipped(skipped) => std::slice::from_mut(&mut skipped.step),
        Kind::RaceDecided(race) => &mut race.withdrawn,
        _ => &mut [],
    }
}

/// The steps of a journal, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// One allocation for each branch path.
    branches: HashMap<String, Arc<str>>,
    /// By the number of the start.
    started: HashMap<u64, StepId>,
}

impl Steps {
    /// The step that the next fact speaks of; `None` for a fact about the run.
    ///
    /// # Errors
    /// If the fact names a step that the journal does not have.
    pub(crate) fn of(&mut self, sequence: u64, kind: &Kind) -> Result<Option<StepId>, JournalError> {
        match subject(kind) {
            Subject::Run => Ok(None),
            Subject::Start(place) => {
                let id = self.id(place);
                self.started.insert(sequence, id.clone());
                Ok(Some(id))
            }
            Subject::Itself(place) => Ok(Some(self.id(place))),
            Subject::Started(step) => self.started(sequence, step).cloned().map(Some),
        }
    }

    /// The step whose start has this number, for the fact that names it.
    ///
    /// # Errors
    /// If the journal does not have it.
    pub(crate) fn started(&self, sequence: u64, step: u64) -> Result<&StepId, JournalError> {
        self.started.get(&step).ok_or(JournalError::UnknownStep { sequence, step })
    }

    fn id(&mut self, place: Option<&stored::Place>) -> StepId {
        let Some(stored::Place { branch: path, position, name }) = place else { return StepId::default() };
        let branch = match self.branches.get(path) {
            Some(known) => Arc::clone(known),
            None => {
                let branch: Arc<str> = path.as_str().into();
                self.branches.insert(path.clone(), Arc::clone(&branch));
                branch
            }
        };
        StepId { branch, position: *position, name: name.clone().into() }
    }
}
