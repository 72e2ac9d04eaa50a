//! Where a step stands in a run: its branch, its position there, and what it is.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::failure::{Code, Failure, StepRef};
use crate::journal_v1 as stored;

/// Index of a branch of a run; the root is 0.
pub(crate) type BranchId = u32;
/// Index of a step whose result code waits for.
pub(crate) type SlotId = u32;

pub(crate) const ROOT: BranchId = 0;

/// Where a step stands in the code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct StepId {
    pub(crate) branch: Arc<str>,
    pub(crate) position: u32,
    pub(crate) name: Cow<'static, str>,
}

impl StepId {
    pub(crate) fn stored(&self) -> stored::Place {
        stored::Place { branch: (*self.branch).into(), position: self.position, name: self.name.clone().into_owned() }
    }

    /// What comes to code if the time of a wait at this place has passed.
    pub(crate) fn expired(&self) -> Failure {
        Failure::new(Code::DeadlineExceeded, format!("{self} did not come in time")).at(self.step_ref())
    }

    pub(crate) fn step_ref(&self) -> StepRef {
        StepRef { branch: (*self.branch).into(), position: self.position, name: self.name.clone().into_owned() }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path(&self.branch, &self.name, self.position))
    }
}

/// The path of a step: branch, short name, position.
pub fn path(branch: &str, name: &str, position: u32) -> String {
    let short = name.rsplit('/').next().unwrap_or(name);
    if branch.is_empty() { format!("{short}#{position}") } else { format!("{branch}/{short}#{position}") }
}
