//! When each schedule is to be looked at. Everything else of a schedule is read when that time comes, so one that waits costs
//! little memory.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use uuid::Uuid;

use super::rounds::Round;
use crate::time::Timestamp;

/// The schedules that there are.
#[derive(Debug, Default)]
pub(super) struct Queue {
    looks: HashMap<Uuid, Look>,
    due: BinaryHeap<Reverse<(Timestamp, Uuid)>>,
    by_name: HashMap<Box<str>, Uuid>,
}

/// The next look at one schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// None if it has no time left: only a change, or the end of a run, has it looked at.
    pub(super) due: Option<Timestamp>,
    /// Whether a run of it may have ended, or an answer of the store did not come.
    pub(super) settles: bool,
    /// If the clock was set back since: what it would have said at the last look before that.
    pub(super) set_back: Option<Timestamp>,
}

impl Queue {
    /// When the first schedule is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes schedules that are due, at most so many. Each is to be put back.
    pub(super) fn take_due(&mut self, now: Timestamp, most: usize) -> Vec<(Uuid, Look)> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(Reverse((due, uid))) = self.due.peek().copied().filter(|Reverse((due, _))| *due <= now)
        {
            self.due.pop();
            // Others are entries that a later one outdated.
            if let Some(look) = self.looks.get_mut(&uid).filter(|look| look.due == Some(due)) {
                taken.push((uid, *look));
                *look = Look::default();
            }
        }
        taken
    }

    /// Adds a schedule. One that is known keeps what it needs to know of a clock that was set back.
    pub(super) fn add(&mut self, name: &str, uid: Uuid, look: Look) {
        self.by_name.insert(name.into(), uid);
        self.put(uid, look);
    }

    /// Plans the next look.
    pub(super) fn put(&mut self, uid: Uuid, look: Look) {
        self.due.extend(look.due.map(|due| Reverse((due, uid))));
        self.looks.insert(uid, look);
    }

    /// The schedule is gone.
    pub(super) fn forget(&mut self, uid: Uuid) {
        self.looks.remove(&uid);
        self.by_name.retain(|_, known| *known != uid);
    }

    /// The same by its name. Says what it was and what was planned.
    pub(super) fn remove(&mut self, name: &str) -> Option<(Uuid, Look)> {
        let uid = self.by_name.remove(name)?;
        Some((uid, self.looks.remove(&uid)?))
    }

    /// A run of the schedule has ended: something may start after it.
    pub(super) fn run_ended(&mut self, name: &str, now: Timestamp) {
        let Some(uid) = self.by_name.get(name).copied() else { return };
        if let Some(look) = self.looks.get(&uid).copied() {
            self.put(uid, Look { due: Some(now), settles: true, ..look });
        }
    }

    /// The clock was set back: every schedule is looked at, as of the look before.
    pub(super) fn set_back(&mut self, round: &Round) {
        for look in self.looks.values_mut() {
            look.due = Some(round.now);
            look.set_back = Some(round.before);
        }
        self.due = self.looks.keys().map(|uid| Reverse((round.now, *uid))).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn due(micros: i64) -> Look {
        Look { due: Some(at(micros)), ..Look::default() }
    }

    #[test]
    fn what_is_due_is_taken_once_and_in_order() {
        let mut queue = Queue::default();
        let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
        queue.add("one", one, due(20));
        queue.add("two", two, due(10));
        queue.add("three", three, due(30));
        assert_eq!(queue.next(), Some(at(10)));
        assert_eq!(queue.take_due(at(25), 9), [(two, due(10)), (one, due(20))]);
        assert_eq!(queue.take_due(at(25), 9), []);
        queue.put(two, due(40));
        assert_eq!(queue.take_due(at(50), 1), [(three, due(30))]);
        assert_eq!(queue.take_due(at(50), 1), [(two, due(40))]);
    }

    #[test]
    fn a_later_plan_outdates_an_earlier_one() {
        let mut queue = Queue::default();
        let one = Uuid::from_u128(1);
        queue.add("one", one, due(10));
        queue.put(one, due(30));
        assert_eq!(queue.take_due(at(20), 9), []);
        queue.run_ended("one", at(20));
        assert_eq!(queue.take_due(at(20), 9), [(one, Look { settles: true, ..due(20) })]);
        assert_eq!(queue.take_due(at(30), 9), []);
    }

    #[test]
    fn one_that_is_gone_is_never_due() {
        let mut queue = Queue::default();
        let [one, two] = [1, 2].map(Uuid::from_u128);
        queue.add("one", one, due(10));
        queue.add("two", two, due(10));
        queue.forget(one);
        assert_eq!(queue.remove("two"), Some((two, due(10))));
        queue.run_ended("one", at(20));
        queue.run_ended("two", at(20));
        assert_eq!(queue.take_due(at(20), 9), []);
    }
}
