//! Keeps the checks that can find something: messages without rules are neither decoded nor walked.

use std::collections::{HashMap, HashSet};

use crate::check::{Checks, MessageChecks};

/// The messages that have rules or contain one that has, with nothing in them that leads to no rule.
pub(crate) fn live(mut messages: HashMap<String, MessageChecks>) -> HashMap<String, MessageChecks> {
    let mut live: HashSet<String> = HashSet::new();
    loop {
        let found: Vec<String> = messages
            .iter()
            .filter(|(name, checks)| !live.contains(*name) && finds(checks, &live))
            .map(|(name, _)| name.clone())
            .collect();
        if found.is_empty() {
            break;
        }
        live.extend(found);
    }
    messages.retain(|name, _| live.contains(name));
    for checks in messages.values_mut() {
        checks.fields.retain(|(_, checks)| of_value(checks, &live));
    }
    messages
}

fn finds(checks: &MessageChecks, live: &HashSet<String>) -> bool {
    let own = !checks.oneofs.is_empty() || !checks.choices.is_empty();
    own || checks.fields.iter().any(|(_, checks)| of_value(checks, live))
}

fn of_value(checks: &Checks, live: &HashSet<String>) -> bool {
    checks.is_required
        || !checks.tests.is_empty()
        || checks.message.as_ref().is_some_and(|name| live.contains(name))
        || [&checks.items, &checks.keys].into_iter().flatten().any(|inner| of_value(inner, live))
}
