//! Why code cannot continue, although no step failed; as the reason of a blocked run has it.

use crate::failure::Failure;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The journal and the code say different things (semantics.md F3, F5).
    #[error("JOURNAL_MISMATCH: the journal has {journal}, the code has {code}")]
    Mismatch { journal: String, code: String },
    /// A step was built while another of its branch was in flight (semantics.md F4).
    #[error("USE_A_BRANCH: {step} was built while another step of its branch was in flight")]
    UseBranch { step: String },
    /// A wait for a signal that the workflow does not declare.
    #[error("SIGNAL_UNDECLARED: the workflow waits for {signal}, its SIGNALS do not have it")]
    Undeclared { signal: String },
    /// A child run of a workflow that is not registered.
    #[error("UNKNOWN_WORKFLOW: {child} is a run of {workflow}, which is not registered here")]
    UnknownChild { child: String, workflow: &'static str },
    /// Code waits for something that is no step.
    #[error(
        "FOREIGN_WAIT: after {after} the code waits for something that is no step (a timer, a channel, a lock, a task or a \
         call of its own)"
    )]
    ForeignWait { after: String },
    /// The run's code did harm too often (semantics.md S5).
    #[error(
        "POISON: {crashes} times within a day its code panicked, or its process died while it ran; the last time {last}"
    )]
    Poison { crashes: u32, last: String },
    /// A stated limit.
    #[error("LIMIT: {}", .0.message())]
    Limit(Failure),
}
