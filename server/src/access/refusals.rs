//! Calls that were refused because of who made them, gathered until they are written to the audit trail together: so a refusal
//! costs no commit, and however many calls are refused, what is kept of them is bounded.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::store::Refusal;

/// Callers and methods that are told apart between two writes. Refusals beyond are counted together.
const MOST: usize = 512;

/// Who called where nothing proved it.
pub(crate) const UNPROVEN: &str = "unproven";

/// Stands for the callers, and the methods, that are not told apart.
const OTHERS: &str = "others";

/// What was not written yet.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<(String, String), Of>>);

/// The refusals of one caller and method.
#[derive(Debug)]
struct Of {
    said: String,
    why: String,
    count: u32,
}

impl Refusals {
    /// Counts refusals; of those before, the first says what is told of them.
    pub(super) fn note(&self, refusal: Refusal) {
        let Refusal { caller, said, action, why, count } = refusal;
        let mut gathered = self.lock();
        let mut key = (caller, action);
        let mut of = Of { said, why, count: 0 };
        if gathered.len() >= MOST && !gathered.contains_key(&key) {
            key = (OTHERS.to_owned(), OTHERS.to_owned());
            of =
                Of { said: String::new(), why: String::from("more callers and methods than are told apart"), count: 0 };
        }
        let counted = gathered.entry(key).or_insert(of);
        counted.count = counted.count.saturating_add(count);
    }

    /// Takes what was gathered.
    pub(super) fn take(&self) -> Vec<Refusal> {
        let gathered = std::mem::take(&mut *self.lock());
        let refusals = gathered.into_iter().map(|((caller, action), Of { said, why, count })| Refusal {
            caller,
            said,
            action,
            why,
            count,
        });
        refusals.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Of>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(caller: &str, action: &str) -> Refusal {
        let [caller, action] = [caller, action].map(str::to_owned);
        Refusal { caller, said: String::new(), action, why: String::from("no grant"), count: 1 }
    }

    #[test]
    fn refusals_are_counted_by_caller_and_method_and_taken_once() {
        let refusals = Refusals::default();
        for (caller, action) in [("a", "X"), ("a", "X"), ("a", "Y"), ("b", "X")] {
            refusals.note(refusal(caller, action));
        }
        let mut taken = refusals.take();
        taken.sort_unstable_by(|left, right| (&left.caller, &left.action).cmp(&(&right.caller, &right.action)));
        let counts: Vec<_> = taken.iter().map(|one| (one.caller.as_str(), one.action.as_str(), one.count)).collect();
        assert_eq!(counts, [("a", "X", 2), ("a", "Y", 1), ("b", "X", 1)]);
        assert_eq!(refusals.take(), []);
        // What could not be written is counted with what came meanwhile.
        refusals.note(refusal("a", "X"));
        taken.into_iter().for_each(|one| refusals.note(one));
        assert_eq!(refusals.take().iter().map(|one| one.count).sum::<u32>(), 5);
    }

    #[test]
    fn what_is_gathered_does_not_grow_with_the_number_of_callers() {
        let refusals = Refusals::default();
        for number in 0..10 * MOST {
            refusals.note(refusal(&format!("jwt:{number}"), "X"));
        }
        let taken = refusals.take();
        assert_eq!(taken.len(), MOST + 1);
        assert_eq!(taken.iter().map(|one| one.count as usize).sum::<usize>(), 10 * MOST);
    }
}
