//! By how much a wall clock was set, and when: what people are told of it.

use std::collections::VecDeque;

use jiff::SignedDuration;

use super::Timestamp;

/// Steps that are remembered, at most.
const REMEMBERED: usize = 20;

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// What it said when that was noticed.
    pub at: Timestamp,
    /// By how much it was set forward; negative if it was set back. Over a restart it is at least so much.
    pub by: SignedDuration,
}

/// The steps of the wall clock that one process has noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockSteps {
    count: u64,
    last: VecDeque<ClockStep>,
}

impl ClockSteps {
    pub(crate) fn add(&mut self, at: Timestamp, by: SignedDuration) {
        self.count += 1;
        if self.last.len() >= REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(ClockStep { at, by });
    }

    /// How many there were.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The last ones, in their order.
    pub fn last(&self) -> impl DoubleEndedIterator<Item = &ClockStep> {
        self.last.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_steps_are_remembered_and_all_are_counted() {
        let mut steps = ClockSteps::default();
        for second in 1..=30 {
            steps.add(Timestamp::from_micros(second), SignedDuration::from_secs(-second));
        }
        assert_eq!((steps.count(), steps.last().count()), (30, REMEMBERED));
        let last = ClockStep { at: Timestamp::from_micros(30), by: SignedDuration::from_secs(-30) };
        assert_eq!(steps.last().next_back(), Some(&last));
    }
}
