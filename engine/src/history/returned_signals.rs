//! Messages that a run received, to find those whose receipt a retry made its journal forget.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::journal::Kind;
use crate::journal_v1 as stored;
use crate::store::Message;
use crate::time::Timestamp;

/// Every message that a journal says was received, by its number; read only where there is a retry to undo one.
#[derive(Default)]
pub(super) struct ReturnedSignals(BTreeMap<u64, Message>);

impl ReturnedSignals {
    pub(super) fn of(facts: &[stored::Fact]) -> Self {
        if !facts.iter().any(|fact| matches!(fact.kind, Some(Kind::Reset(_)))) {
            return Self::default();
        }
        let (mut names, mut messages) = (HashMap::new(), BTreeMap::new());
        for (sequence, fact) in (1_u64..).zip(facts) {
            match &fact.kind {
                Some(Kind::SignalAwaited(stored::SignalAwaited { place: Some(place), .. })) => {
                    names.insert(sequence, place.name.as_str());
                }
                Some(Kind::StepSettled(settled)) if settled.message > 0 => {
                    if let (Some(name), Some(stored::step_settled::Result::Response(payload))) =
                        (names.get(&settled.step), &settled.result)
                    {
                        let (number, received_at) = (settled.message, Timestamp::from_micros(fact.time_micros));
                        let (name, payload) = ((*name).to_owned(), payload.clone());
                        messages.insert(number, Message { number, name, payload, received_at });
                    }
                }
                _ => {}
            }
        }
        Self(messages)
    }

    /// Those whose receipt is not among the facts that are left.
    pub(super) fn returned(mut self, left: &[(u64, stored::Fact)]) -> Vec<Message> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let kept: BTreeSet<u64> = left
            .iter()
            .filter_map(|(_, fact)| match &fact.kind {
                Some(Kind::StepSettled(settled)) => Some(settled.message),
                _ => None,
            })
            .collect();
        self.0.retain(|number, _| !kept.contains(number));
        self.0.into_values().collect()
    }
}
