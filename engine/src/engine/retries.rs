//! How a run that failed or is blocked is taken up again: from the step that failed, or from an earlier one.

use uuid::Uuid;

use super::{Engine, EngineError};
use crate::history::{History, number};
use crate::identity;
use crate::journal::Kind;
use crate::journal_v1 as stored;
use crate::reset;
use crate::rpc::Level;
use crate::run_command::{RunCommand, not_retried};
use crate::state::State;
use crate::store::{Requester, RunRow};
use crate::view::{self, Detail, FailedAt, StepView};

/// A step that a retry makes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedStep {
    /// Path of the step.
    pub path: String,
    /// Method path of a call, or the name the author gave.
    pub name: String,
    /// None where the step is no call.
    pub level: Option<Level>,
    /// Whether it is made under another key, as another effect.
    pub new_key: bool,
}

/// A decided reset: the fact, and the children that it forgets although their end is not known, by the path of their step.
struct Reset {
    fact: stored::Reset,
    children: Vec<(String, Uuid)>,
}

/// Whether a key is that of a step of this run; a business key is the same in every run.
fn is_of_run(run: Uuid, step: &StepView, key: &str) -> bool {
    identity::step_key(run, &step.branch, step.position, &step.name, step.incarnation).to_string() == key
}

impl Engine {
    /// Continues with a failed run from the step that failed, or with a blocked one from where it stands.
    ///
    /// # Errors
    /// If the run is unknown, in another state, failed by its own code, or the store fails.
    pub async fn retry(&self, run: Uuid, asked: Requester) -> Result<RunRow, EngineError> {
        self.retry_at(run, None, asked).await
    }

    /// Continues with a failed or blocked run from the step with this path: the step is made again, and so is everything
    /// after it in its branch, and every branch that began after it (semantics.md S4).
    ///
    /// # Errors
    /// As [`Engine::retry`]; where the run has no such step, and where a step before it was undone.
    pub async fn retry_from(&self, run: Uuid, step: &str, asked: Requester) -> Result<RunRow, EngineError> {
        self.retry_at(run, Some(step), asked).await
    }

    /// What a retry would make again, in the order in which it was made. Changes nothing.
    ///
    /// # Errors
    /// As [`Engine::retry`] and [`Engine::retry_from`].
    pub async fn preview_retry(&self, run: Uuid, step: Option<&str>) -> Result<Vec<RepeatedStep>, EngineError> {
        let row = self.row(run).await?;
        let mut facts = self.facts(&row).await?;
        let Reset { fact: reset, children } = reset(&row, facts.clone(), step, String::new())?;
        self.check_children(&row, &children).await?;
        let now = self.shared.clock.now();
        let read = |facts| Detail::read(row.clone(), facts, now).map_err(|error| EngineError::Journal { run, error });
        let before = read(facts.clone())?;
        facts.push(stored::Fact { time_micros: 0, kind: Some(Kind::Reset(reset)) });
        let after = read(facts)?;
        let again = before.steps.into_iter().filter(|step| step.undoes.is_none()).filter_map(|step| {
            let kept = after.steps.iter().find(|kept| (&kept.branch, kept.position) == (&step.branch, step.position));
            let made_again = kept.is_none_or(|kept| kept.ended_at != step.ended_at || kept.state != step.state);
            made_again.then(|| RepeatedStep {
                path: step.path(),
                new_key: kept.is_none() && step.key.as_deref().is_some_and(|key| is_of_run(run, &step, key)),
                level: step.level,
                name: step.name,
            })
        });
        Ok(again.collect())
    }

    /// Sees that no child continues which a reset would forget.
    async fn check_children(&self, row: &RunRow, children: &[(String, Uuid)]) -> Result<(), EngineError> {
        for (path, child) in children {
            if self.shared.store.run(*child).await?.is_some_and(|child| !child.status.state.is_end()) {
                let reason = format!(
                    "{path} is child run {child}, which continues; cancel that and wait for its end, or retry without a step"
                );
                return Err(EngineError::Precondition { run: row.id, state: row.status.state, reason });
            }
        }
        Ok(())
    }

    async fn retry_at(&self, run: Uuid, step: Option<&str>, asked: Requester) -> Result<RunRow, EngineError> {
        let change = asked.to("RetryRun", step.map_or_else(String::new, |step| format!("from {step}")));
        self.dispatch(run, RunCommand::Retry(step.map(str::to_owned)), change).await
    }

    /// The fact that a retry of this run is.
    pub(super) async fn decide_retry(
        &self,
        row: &RunRow,
        facts: Vec<stored::Fact>,
        step: Option<&str>,
        reason: String,
    ) -> Result<Kind, EngineError> {
        let Reset { fact, children } = reset(row, facts, step, reason)?;
        self.check_children(row, &children).await?;
        Ok(Kind::Reset(fact))
    }
}

/// What a retry of this run would do.
fn reset(row: &RunRow, facts: Vec<stored::Fact>, step: Option<&str>, reason: String) -> Result<Reset, EngineError> {
    let run = row.id;
    let refuse = |reason: String| Err(EngineError::Precondition { run, state: row.status.state, reason });
    let broken = |error| EngineError::Journal { run, error };
    let keeps_ending = row.status.ending_as.is_some();
    let stored = stored::Reset { reason, keeps_ending, ..stored::Reset::default() };
    let (failed_at, in_doubt) = view::failed_at(facts.clone()).map_err(broken)?;
    let stored = match (row.status.state, step) {
        (State::Blocked, None) => stored,
        (State::Blocked, Some(_)) if keeps_ending => {
            return refuse("it is undoing its steps; it continues with that, so retry it without a step".to_owned());
        }
        (State::Failed | State::Blocked, Some(path)) => {
            let (place, new_incarnation) = named(row, &facts, path)?;
            stored::Reset { place: Some(place), new_incarnation, ..stored }
        }
        (State::Failed, None) => match failed_at {
            FailedAt::Step(place, new_incarnation) => stored::Reset { place: Some(place), new_incarnation, ..stored },
            FailedAt::Outside => stored,
            FailedAt::Code => {
                let reason =
                    "it failed by its workflow's own decision, not at a step; retry it from a step, or start a new run";
                return refuse(reason.to_owned());
            }
        },
        (State::Succeeded | State::Cancelled | State::Terminated, _) => {
            return refuse("it ended, and only a FAILED run is retried then; start a new run".to_owned());
        }
        _ => return refuse(not_retried(false)),
    };
    let plan = reset::plan(number(facts.clone()), &stored, &in_doubt).map_err(broken)?;
    if let (Some(path), Some(first)) = (step, plan.in_doubt.first()) {
        return refuse(format!(
            "{first} comes after {path} and may have happened; retry the run without a step, which settles it or asks for a \
             decision, or from {first}, which keeps its key"
        ));
    }
    let forgotten = |step: u64| plan.forgotten.facts.iter().any(|span| (span.first..=span.last).contains(&step));
    let fact = stored::Reset { forgotten: Some(plan.forgotten.clone()), ..stored };
    let mut after = facts;
    after.push(stored::Fact { time_micros: 0, kind: Some(Kind::Reset(fact.clone())) });
    let undoables = History::of(row, after).map_err(broken)?.undoables;
    if let Some(lost) = undoables.iter().find(|undoable| undoable.undo.is_none() && forgotten(undoable.step)) {
        return refuse(format!(
            "the undo of {} is still to be made from its response; retry the run without a step first",
            lost.place
        ));
    }
    Ok(Reset { fact, children: plan.children })
}

fn named(row: &RunRow, facts: &[stored::Fact], path: &str) -> Result<(stored::Place, bool), EngineError> {
    let run = row.id;
    let refuse = |reason: String| Err(EngineError::Precondition { run, state: row.status.state, reason });
    let detail = Detail::read(row.clone(), facts.to_vec(), row.updated_at)
        .map_err(|error| EngineError::Journal { run, error })?;
    let at = detail.steps.iter().position(|step| step.path() == path && step.undoes.is_none());
    let Some(at) = at else { return refuse(format!("it has no step {path}")) };
    if let Some(undone) = detail.steps[..at].iter().find(|step| step.undone) {
        return refuse(format!("{} was undone, so it goes on from there or earlier", undone.path()));
    }
    let step = &detail.steps[at];
    let place = stored::Place { branch: step.branch.clone(), position: step.position, name: step.name.clone() };
    // What may have happened is asked again under its key; what surely ended is made as another effect.
    Ok((place, !step.in_doubt || step.undone))
}
