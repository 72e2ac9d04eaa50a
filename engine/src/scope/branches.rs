//! Opens branches: the paths that tell the steps of one from those of another.

use std::sync::Arc;

use super::{Branch, Scope};
use crate::step_id::BranchId;

impl Scope {
    /// How many branches and fan-outs of this name leave the branch, this one included.
    pub(crate) fn count_branches(&self, branch: BranchId, name: &'static str) -> u32 {
        let mut inner = self.lock();
        let leaving = &mut inner.branches[branch as usize].leaving;
        leaving.push(name);
        u32::try_from(leaving.iter().filter(|known| **known == name).count()).unwrap_or(u32::MAX)
    }

    /// Opens the branch of one item of a fan-out. `ordinal` tells those of one name on one branch apart.
    pub(crate) fn open_item(&self, parent: BranchId, name: &str, ordinal: u32, key: &str) -> BranchId {
        self.open(parent, |path| {
            path.push_str(name);
            ordinal_of(path, ordinal);
            path.push('[');
            escaped(path, key);
            path.push(']');
        })
    }

    /// Opens a named branch below another; says its path as well.
    pub(crate) fn open_branch(&self, parent: BranchId, name: &str, ordinal: u32) -> (BranchId, Arc<str>) {
        let branch = self.open(parent, |path| {
            escaped(path, name);
            ordinal_of(path, ordinal);
        });
        (branch, Arc::clone(&self.lock().branches[branch as usize].path))
    }

    fn open(&self, parent: BranchId, component: impl FnOnce(&mut String)) -> BranchId {
        let mut inner = self.lock();
        let above = &inner.branches[parent as usize].path;
        let mut path = String::with_capacity(above.len() + 32);
        if !above.is_empty() {
            path.push_str(above);
            path.push('/');
        }
        component(&mut path);
        let path: Arc<str> = path.into();
        let past = inner.past.take_branch(&path);
        inner.branches.push(Branch { path, parent, next: 0, in_flight: 0, leaving: Vec::new(), past });
        BranchId::try_from(inner.branches.len() - 1).unwrap_or(BranchId::MAX)
    }
}

fn ordinal_of(path: &mut String, ordinal: u32) {
    if ordinal > 1 {
        path.push('~');
        path.push_str(&ordinal.to_string());
    }
}

/// Escapes the characters that give a path its structure.
fn escaped(path: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '/' => path.push_str("%2F"),
            '[' => path.push_str("%5B"),
            ']' => path.push_str("%5D"),
            '%' => path.push_str("%25"),
            other => path.push(other),
        }
    }
}
