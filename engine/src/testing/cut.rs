//! Ends what a replica writes right after the step that a test names: the journal is then what a crash there leaves, a
//! prefix (semantics.md F1).

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use crate::journal::{Kind, Steps, decode_entry};
use crate::journal_v1 as stored;
use crate::state::State;
use crate::store::{Append, NewRun, Status};

/// Where the journal of the first run of a workflow ends.
#[derive(Debug)]
pub(crate) struct Cut {
    workflow: &'static str,
    /// The path of the last step that the journal has settled.
    step: String,
    run: Option<Uuid>,
    steps: Steps,
    ending_as: Option<State>,
}

impl Cut {
    pub(crate) fn after(workflow: &'static str, step: &str) -> Self {
        Self { workflow, step: step.to_owned(), run: None, steps: Steps::default(), ending_as: None }
    }

    /// The run whose journal ends here, once it was created.
    pub(crate) fn run(&self) -> Option<Uuid> {
        self.run
    }

    /// Cuts what a run is created with. Whether the step is in it.
    pub(crate) fn creation(&mut self, new: &mut NewRun) -> bool {
        if self.run.is_some() || new.workflow != self.workflow {
            return false;
        }
        self.run = Some(new.id);
        let Some(kept) = self.kept(0, &new.entry) else { return false };
        (new.entry, new.facts) = entry(kept);
        self.left(&mut new.status);
        true
    }

    /// Cuts an append. Whether the step is in it.
    pub(crate) fn append(&mut self, append: &mut Append) -> bool {
        if self.run != Some(append.run) {
            return false;
        }
        let Some(kept) = self.kept(append.sequence, &append.entry) else { return false };
        let received = |message: &u64| {
            kept.iter().any(|fact| matches!(&fact.kind, Some(Kind::StepSettled(end)) if end.message == *message))
        };
        append.takes.retain(received);
        if let Some(related_runs) = &mut append.related_runs {
            related_runs.children.retain(|child| {
                let id = child.id.to_string();
                kept.iter().any(|fact| matches!(&fact.kind, Some(Kind::ChildStarted(child)) if child.run == id))
            });
            related_runs.cancels.clear();
            related_runs.report = None;
        }
        (append.entry, append.facts) = entry(kept);
        self.left(&mut append.status);
        (append.control, append.messages, append.release) = (None, None, false);
        append.changes.clear();
        true
    }

    /// The facts of an entry up to the end of the step; none where it does not end here.
    fn kept(&mut self, before: u64, entry: &Bytes) -> Option<Vec<stored::Fact>> {
        let mut facts = decode_entry(before, entry.clone()).ok()?;
        for (index, fact) in facts.iter().enumerate() {
            if self.settles(before + index as u64 + 1, fact) {
                facts.truncate(index + 1);
                return Some(facts);
            }
        }
        None
    }

    /// Whether this is the last fact of the step.
    fn settles(&mut self, sequence: u64, fact: &stored::Fact) -> bool {
        let Some(kind) = &fact.kind else { return false };
        let step = self.steps.of(sequence, kind).ok().flatten();
        match kind {
            Kind::StepSettled(_)
            | Kind::Recorded(_)
            | Kind::FanOutStarted(_)
            | Kind::BranchStarted(_)
            | Kind::RaceDecided(_) => step.is_some_and(|step| step.to_string() == self.step),
            Kind::Ending(ending) => {
                self.ending_as = Some(match ending.ending_as() {
                    stored::EndState::Succeeded => State::Succeeded,
                    stored::EndState::Cancelled => State::Cancelled,
                    _ => State::Failed,
                });
                false
            }
            _ => false,
        }
    }

    /// What the row says of a run whose owner died in the middle.
    fn left(&self, status: &mut Status) {
        status.state = if self.ending_as.is_some() { State::Ending } else { State::Running };
        status.ending_as = self.ending_as;
        (status.reason, status.wake_at) = (String::new(), None);
        status.awaits.clear();
    }
}

fn entry(facts: Vec<stored::Fact>) -> (Bytes, u64) {
    let count = facts.len() as u64;
    (stored::Entry { facts }.encode_to_vec().into(), count)
}
