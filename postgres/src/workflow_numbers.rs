//! The numbers that stand for a workflow's name and version in the rows of runs, as far as this replica has met them.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// The numbers that this replica knows. Others may have given more; rows are read by joining the table.
#[derive(Debug, Default)]
pub(crate) struct Workflows(RwLock<HashMap<String, Vec<(u32, i32)>>>);

/// A workflow and its version.
pub(crate) type Named = (String, u32);

impl Workflows {
    pub(crate) fn known(&self, name: &str, version: u32) -> Option<i32> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name)?.iter().find(|(of, _)| *of == version).map(|(_, number)| *number)
    }

    pub(crate) fn learn(&self, name: &str, version: u32, number: i32) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let all = known.entry(name.to_owned()).or_default();
        if all.iter().all(|(of, _)| *of != version) {
            all.push((version, number));
        }
    }
}
