//! What is done where the code of a workflow does what it must not.

use std::sync::Arc;

use crate::breadcrumbs::Breadcrumbs;

/// What a replica does with such code.
#[derive(Clone, Debug, Default)]
pub struct Safeguards {
    /// What happens to code that waits for something else than a step.
    pub foreign_waits: ForeignWaits,
    /// Where it is written down which runs are polled, so that the next process knows what this one died of. Without it
    /// no death counts against a run.
    pub breadcrumbs: Option<Arc<Breadcrumbs>>,
}

/// What becomes of a run whose code waits for something that is no step: a timer, a channel, a lock, a task or a call of its
/// own. It is not in the journal, so a replay does not wait for it: after a crash the run may be BLOCKED, or do something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignWaits {
    /// Told in the log, once for each time that the run is in memory. Code continues when what it waits for is there.
    #[default]
    Warned,
    /// The run is BLOCKED (`FOREIGN_WAIT`), as it is in every test by [`World`](crate::testing::World).
    Refused,
}
