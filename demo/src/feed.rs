//! A log of recent events, in words, for the screen.

use std::collections::VecDeque;

use crate::shared::Shared;

/// Lines that are kept.
const MOST: usize = 50;

/// Clones share it.
#[derive(Clone)]
pub struct Feed(Shared<VecDeque<String>>);

impl Default for Feed {
    fn default() -> Self {
        Self(Shared::new(VecDeque::with_capacity(MOST)))
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.last(MOST)).finish()
    }
}

impl Feed {
    pub(crate) fn tell(&self, line: String) {
        self.0.with(|lines| {
            if lines.len() == MOST {
                lines.pop_front();
            }
            lines.push_back(line);
        });
    }

    /// The last lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<String> {
        self.0.with(|lines| lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect())
    }
}
