//! Calls that wait, in an order that is fair over runs: each run has its turn, with however many calls it waits.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

/// Calls of many runs. Within a run the first to come is the first to go.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    runs: HashMap<Uuid, Line<T>>,
    /// Runs by their next turn.
    turns: BTreeMap<u64, Uuid>,
    /// Numbers turns and places.
    next: u64,
    calls: usize,
}

/// The calls of one run; never empty.
#[derive(Debug)]
struct Line<T> {
    turn: u64,
    calls: BTreeMap<u64, T>,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    run: Uuid,
    number: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { runs: HashMap::new(), turns: BTreeMap::new(), next: 0, calls: 0 }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.calls == 0
    }

    /// Calls that wait.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// Runs that wait.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn push(&mut self, run: Uuid, call: T) -> Ticket {
        let number = self.number();
        let line = self.runs.entry(run).or_insert_with(|| {
            self.turns.insert(number, run);
            Line { turn: number, calls: BTreeMap::new() }
        });
        line.calls.insert(number, call);
        self.calls += 1;
        Ticket { run, number }
    }

    /// The first call of the run whose turn it is; the run's next turn comes after those of all others.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let turn = *self.turns.first_key_value()?.0;
        self.pop_at(turn)
    }

    /// The same, where another run goes first if only its first call is one of these. Looks at every run.
    pub(crate) fn pop_preferring(&mut self, preferred: impl Fn(&T) -> bool) -> Option<T> {
        let first = |run: &Uuid| self.runs.get(run)?.calls.first_key_value();
        let fits = |run: &Uuid| first(run).is_some_and(|(_, call)| preferred(call));
        match self.turns.iter().find(|(_, run)| fits(run)).map(|(turn, _)| *turn) {
            Some(turn) => self.pop_at(turn),
            None => self.pop(),
        }
    }

    fn pop_at(&mut self, turn: u64) -> Option<T> {
        let run = self.turns.remove(&turn)?;
        let turn = self.number();
        let line = self.runs.get_mut(&run)?;
        let (_, call) = line.calls.pop_first()?;
        self.calls -= 1;
        if line.calls.is_empty() {
            self.runs.remove(&run);
        } else {
            line.turn = turn;
            self.turns.insert(turn, run);
        }
        Some(call)
    }

    /// Takes a call out; none where it has gone already.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let line = self.runs.get_mut(&ticket.run)?;
        let call = line.calls.remove(&ticket.number)?;
        self.calls -= 1;
        if line.calls.is_empty() {
            self.turns.remove(&line.turn);
            self.runs.remove(&ticket.run);
        }
        Some(call)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Uuid = Uuid::from_u128(1);
    const NARROW: Uuid = Uuid::from_u128(2);
    const OTHER: Uuid = Uuid::from_u128(3);

    fn rest<T>(queue: &mut FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_wide_run_does_not_keep_a_narrow_one_waiting() {
        let mut queue = FairQueue::default();
        for number in 0..10_000 {
            queue.push(WIDE, (WIDE, number));
        }
        queue.push(NARROW, (NARROW, 0));
        assert_eq!((queue.calls(), queue.runs()), (10_001, 2));
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some((WIDE, 0)), Some((NARROW, 0)), Some((WIDE, 1))]);
        assert_eq!((queue.calls(), queue.runs()), (9_998, 1));
    }

    #[test]
    fn runs_take_turns_and_a_run_keeps_its_own_order() {
        let mut queue = FairQueue::default();
        for call in ["a1", "a2", "a3"] {
            queue.push(WIDE, call);
        }
        for call in ["b1", "b2"] {
            queue.push(NARROW, call);
        }
        queue.push(OTHER, "c1");
        assert_eq!(rest(&mut queue), ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[test]
    fn a_run_whose_call_is_preferred_goes_first_and_the_others_keep_their_turns() {
        let mut queue = FairQueue::default();
        for (run, call) in [(WIDE, "a1"), (NARROW, "b1"), (OTHER, "c1 preferred"), (OTHER, "c2")] {
            queue.push(run, call);
        }
        let preferred = |call: &&str| call.ends_with("preferred");
        assert_eq!(queue.pop_preferring(preferred), Some("c1 preferred"));
        assert_eq!(queue.pop_preferring(preferred), Some("a1"));
        assert_eq!(rest(&mut queue), ["b1", "c2"]);
    }

    #[test]
    fn a_call_that_is_taken_out_leaves_nothing_behind() {
        let mut queue = FairQueue::default();
        let places = [queue.push(WIDE, 1), queue.push(NARROW, 2), queue.push(WIDE, 3)];
        assert_eq!(queue.remove(places[1]), Some(2));
        assert_eq!(queue.remove(places[1]), None);
        assert_eq!(queue.remove(places[0]), Some(1));
        assert_eq!((queue.calls(), queue.runs()), (1, 1));
        assert_eq!(rest(&mut queue), [3]);
        assert!(queue.is_empty() && queue.runs.is_empty() && queue.turns.is_empty());
        assert_eq!(queue.remove(places[2]), None);
    }
}
