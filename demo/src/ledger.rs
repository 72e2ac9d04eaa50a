//! Counts what was asked of the services and what they did: per method, per idempotency key and per business identity.

use std::collections::{BTreeMap, BTreeSet};

use crate::shared::Shared;

/// Calls that arrived, counted before any deduplication, and calls that did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Calls that reached the service.
    pub entered: u64,
    /// Calls that changed something there.
    pub applied: u64,
}

/// What happened to the calls of one method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodCount {
    /// Calls that reached the service, and those that did something.
    pub count: Count,
    /// Calls that were answered as an earlier one with the same key.
    pub deduplicated: u64,
    /// Calls that an injected fault ended before they did anything.
    pub failed_before: u64,
    /// Calls that an injected fault ended after they had done it.
    pub failed_after: u64,
}

/// One call as the ledger sees it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `/service/method`
    pub(crate) path: String,
    /// The idempotency key, where the caller sent one.
    pub(crate) key: Option<String>,
    /// The effect as the business knows it, for example `push:USER/SLOT/TOKEN`; reads have none.
    pub(crate) identity: Option<String>,
}

/// How a call went after it had entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Applied,
    Deduplicated,
    FailedBefore,
    FailedAfter,
}

/// The account of all services. Clones share it.
#[derive(Clone)]
pub struct Ledger(Shared<Book>);

#[derive(Default)]
struct Book {
    methods: BTreeMap<String, MethodCount>,
    keys: BTreeMap<(String, String), Count>,
    effects: BTreeMap<String, Count>,
    keys_of_effects: BTreeMap<String, BTreeSet<String>>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self(Shared::new(Book::default()))
    }

    pub(crate) fn entered(&self, call: &Call) {
        self.add(call, |count| count.entered += 1, |_| ());
    }

    pub(crate) fn settled(&self, call: &Call, fate: Fate) {
        match fate {
            Fate::Applied => self.add(call, |count| count.applied += 1, |_| ()),
            Fate::Deduplicated => self.add(call, |_| (), |method| method.deduplicated += 1),
            Fate::FailedBefore => self.add(call, |_| (), |method| method.failed_before += 1),
            Fate::FailedAfter => self.add(call, |_| (), |method| method.failed_after += 1),
        }
    }

    fn add(&self, call: &Call, count: impl Fn(&mut Count), fate: impl Fn(&mut MethodCount)) {
        self.0.with(|book| {
            let method = book.methods.entry(call.path.clone()).or_default();
            count(&mut method.count);
            fate(method);
            if let Some(identity) = &call.identity {
                count(book.effects.entry(identity.clone()).or_default());
                if let Some(key) = &call.key {
                    let keys = book.keys_of_effects.entry(identity.clone()).or_default();
                    if !keys.contains(key) {
                        keys.insert(key.clone());
                    }
                    count(book.keys.entry((call.path.clone(), key.clone())).or_default());
                }
            }
        });
    }

    /// Counts per method path.
    pub fn methods(&self) -> BTreeMap<String, MethodCount> {
        self.0.with(|book| book.methods.clone())
    }

    /// Counts per business identity.
    pub fn effects(&self) -> BTreeMap<String, Count> {
        self.0.with(|book| book.effects.clone())
    }

    /// Counts per method path and idempotency key.
    pub fn keys(&self) -> BTreeMap<(String, String), Count> {
        self.0.with(|book| book.keys.clone())
    }

    /// The idempotency keys that each effect was asked for with, by its business identity.
    pub fn keys_of_effects(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.0.with(|book| book.keys_of_effects.clone())
    }

    /// Effects that happened more than once.
    pub fn doubled(&self) -> BTreeMap<String, Count> {
        self.0.with(|book| {
            let doubled = book.effects.iter().filter(|(_, count)| count.applied > 1);
            doubled.map(|(identity, count)| (identity.clone(), *count)).collect()
        })
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.with(|book| *book = Book::default());
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("methods", &self.methods()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(key: &str) -> Call {
        Call { path: "/s/Push".into(), key: Some(key.into()), identity: Some("push:u1/1".into()) }
    }

    #[test]
    fn two_keys_for_one_effect_are_seen_as_a_doubled_effect() {
        let ledger = Ledger::new();
        for key in ["a", "b"] {
            ledger.entered(&push(key));
            ledger.settled(&push(key), Fate::Applied);
        }
        assert_eq!(ledger.doubled()["push:u1/1"], Count { entered: 2, applied: 2 });
        assert_eq!(ledger.keys().values().copied().collect::<Vec<_>>(), [Count { entered: 1, applied: 1 }; 2]);
        assert_eq!(ledger.keys_of_effects()["push:u1/1"], ["a".to_owned(), "b".to_owned()].into());
    }

    #[test]
    fn a_repeat_that_was_answered_from_memory_doubles_nothing() {
        let ledger = Ledger::new();
        ledger.entered(&push("a"));
        ledger.settled(&push("a"), Fate::Applied);
        ledger.entered(&push("a"));
        ledger.settled(&push("a"), Fate::Deduplicated);
        assert_eq!(ledger.effects()["push:u1/1"], Count { entered: 2, applied: 1 });
        assert!(ledger.doubled().is_empty());
    }

    #[test]
    fn reads_are_counted_per_method_only() {
        let ledger = Ledger::new();
        ledger.entered(&Call { path: "/s/Get".into(), key: None, identity: None });
        assert_eq!(ledger.methods()["/s/Get"].count.entered, 1);
        assert!(ledger.effects().is_empty() && ledger.keys().is_empty());
    }
}
