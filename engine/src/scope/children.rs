//! Counts the child runs that code comes to, within the limits of a run.

use super::Scope;
use crate::failure::{Code, Failure};
use crate::limits::Limit;
use crate::step_id::StepId;

impl Scope {
    /// Code came to a child run; says which limit a new one would exceed.
    pub(crate) fn count_child(&self, place: &StepId) -> Option<Failure> {
        let mut inner = self.lock();
        inner.children += 1;
        let (children, limits) = (inner.children, &self.limits);
        let message = if children > limits.children_per_run {
            format!("the run has {children} child runs, the limit children_per_run is {}", limits.children_per_run)
        } else if self.depth >= limits.child_depth {
            let depth = self.depth + 1;
            format!("{place} would be {depth} runs below the first, the limit child_depth is {}", limits.child_depth)
        } else {
            drop(inner);
            self.counts(Limit::ChildrenPerRun, children.into(), limits.children_per_run.into(), place);
            self.counts(Limit::ChildDepth, (self.depth + 1).into(), limits.child_depth.into(), place);
            return None;
        };
        Some(Failure::new(Code::ResourceExhausted, message).at(place.step_ref()))
    }
}
