//! What operators were answered holds: each order was done once, and nothing starts that an order forbids
//! (semantics.md S2, S4, S6, D4).

use std::collections::{BTreeMap, BTreeSet};

use engine::journal_v1::fact::Kind;
use engine::store::{AuditEntry, ListAudit, Store as _};
use engine::testing::World;
use engine::view::Detail;
use uuid::Uuid;

use super::journals::Fact;
use crate::operators::{Act, Answer, Order};

/// The trail of what was done, by request.
pub(crate) struct Audit(Vec<AuditEntry>);

impl Audit {
    pub(crate) async fn read(world: &World) -> Self {
        let filter = ListAudit { limit: 100_000, ..ListAudit::default() };
        Self(world.store().audit(filter).await.unwrap_or_default())
    }

    fn count(&self, run: Uuid, action: &str) -> usize {
        self.0.iter().filter(|entry| entry.run == run && entry.action == action).count()
    }
}

/// Every order that was answered left one entry, and none left two.
pub(crate) fn were_answered_once(orders: &[Order], audit: &Audit, problems: &mut Vec<String>) {
    let mut entries: BTreeMap<Uuid, usize> = BTreeMap::new();
    for request in audit.0.iter().filter_map(|entry| entry.request) {
        *entries.entry(request).or_default() += 1;
    }
    for order in orders {
        let found = entries.get(&order.request).copied().unwrap_or(0);
        let right = match order.answer {
            Answer::None => found <= 1,
            Answer::Done(_) => found == 1,
            Answer::Refused => found == 0,
        };
        if !right {
            problems.push(format!("{found} audit entries of {order:?}"));
        }
    }
}

pub(crate) fn were_kept(
    detail: &Detail,
    journal: &[Fact],
    orders: &[Order],
    audit: &Audit,
    problems: &mut Vec<String>,
) {
    let run = detail.row.id;
    let own: Vec<&Order> = orders.iter().filter(|order| order.run == run).collect();
    for order in own.iter().filter(|order| order.act == Act::Cancel) {
        let Some(from) = order.done_at() else { continue };
        for number in started(journal, from, false) {
            problems.push(format!("fact {number} starts something after a cancel at {from}"));
        }
    }
    let goes_on = |act: &Act| !matches!(act, Act::Pause { .. } | Act::Signal { .. } | Act::Resolve(_));
    for order in own.iter().filter(|order| matches!(order.act, Act::Pause { .. })) {
        let Some(from) = order.done_at() else { continue };
        if own.iter().any(|order| matches!(order.act, Act::Resume | Act::Cancel) && order.unsure()) {
            continue;
        }
        // A run that ends settles what is in doubt, also if it is paused.
        if ends_by(journal, from) {
            continue;
        }
        let until = own.iter().filter(|order| goes_on(&order.act)).filter_map(|order| order.done_at());
        let until = until.filter(|number| *number >= from).min().unwrap_or(u64::MAX);
        for number in started(journal, from, true).filter(|number| *number <= until) {
            problems.push(format!("fact {number} starts something after a pause at {from}, which ends at {until}"));
        }
    }
    let facts = |wanted: fn(&Kind) -> bool| journal.iter().filter(|fact| wanted(&fact.kind)).count();
    let (resets, decisions) =
        (facts(|kind| matches!(kind, Kind::Reset(_))), facts(|kind| matches!(kind, Kind::Decided(_))));
    if resets != audit.count(run, "RetryRun") {
        problems.push(format!("{resets} resets, {} retries in the audit trail", audit.count(run, "RetryRun")));
    }
    if decisions != audit.count(run, "ResolveStep") {
        problems.push(format!("{decisions} decisions, {} in the audit trail", audit.count(run, "ResolveStep")));
    }
    one_decision_for_an_attempt(journal, problems);
}

/// Whether the run goes to its end with this fact or one before it.
fn ends_by(journal: &[Fact], number: u64) -> bool {
    let until = journal.iter().take_while(|fact| fact.number <= number);
    until.fold(false, |ends, fact| match fact.kind {
        Kind::Ending(_) => true,
        Kind::Reset(_) => false,
        _ => ends,
    })
}

/// Starts of steps after this fact and before a retry; of later attempts too where they are wanted, as long as the run
/// does not end, which settles what is in doubt.
fn started(journal: &[Fact], after: u64, attempts: bool) -> impl Iterator<Item = u64> {
    let later = journal.iter().skip_while(move |fact| fact.number <= after);
    let within = later.take_while(move |fact| match fact.kind {
        Kind::Reset(_) => false,
        Kind::Ending(_) => !attempts,
        _ => true,
    });
    within
        .filter(move |fact| match &fact.kind {
            Kind::StepStarted(started) => started.undoes == 0,
            Kind::ChildStarted(_) => true,
            Kind::AttemptStarted(_) => attempts,
            _ => false,
        })
        .map(|fact| fact.number)
}

fn one_decision_for_an_attempt(journal: &[Fact], problems: &mut Vec<String>) {
    let mut decided = BTreeSet::new();
    for fact in journal {
        match &fact.kind {
            Kind::Decided(decision) if !decided.insert((decision.step, decision.attempt)) => {
                problems.push(format!("fact {} decides attempt {} again", fact.number, decision.attempt));
            }
            // A retry may bring an attempt into doubt again.
            Kind::Reset(_) => decided.clear(),
            _ => {}
        }
    }
}
