//! What a run's code and its driver share: branches, the results that steps wait for, and what code asks for.
//!
//! Only the run's own task touches a scope; the lock is for the compiler and never contended.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use uuid::Uuid;

use crate::failure::{Code, Failure};
use crate::history::{JournaledStep, ReplayCursor};
use crate::journal::Kind;
use crate::limits::{Limit, Limits};
use crate::signal::SignalType;
use crate::step_id::{BranchId, ROOT, SlotId, StepId};
use crate::time::{Clock, Timestamp};

mod branches;
mod children;
mod current_run;
mod fault;
mod intent;
mod near;
mod races;
mod tick;

pub(crate) use current_run::CurrentRun;
pub(crate) use fault::Fault;
pub(crate) use intent::{CallIntent, CallOptions, ChildIntent, Intent};
pub use tick::ScheduleInfo;

/// What a run is, as its code may ask.
#[derive(Clone, Debug)]
pub(crate) struct RunInfo {
    pub(crate) run: Uuid,
    pub(crate) workflow: &'static str,
    /// The version of the workflow that created the run, as its journal has it.
    pub(crate) version: u32,
    /// The signals that the workflow declares.
    pub(crate) signals: &'static [SignalType],
    /// How many runs are above this one.
    pub(crate) depth: u32,
    /// The tick that started the run, as its journal has it.
    pub(crate) schedule: Option<ScheduleInfo>,
}

/// One run's shared state.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) run: Uuid,
    workflow: &'static str,
    pub(crate) version: u32,
    pub(crate) limits: Arc<Limits>,
    pub(crate) signals: &'static [SignalType],
    pub(crate) depth: u32,
    pub(crate) schedule: Option<ScheduleInfo>,
    clock: Clock,
    /// Limits that were warned of, a bit each.
    warned: AtomicU8,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    branches: Vec<Branch>,
    slots: Vec<Slot>,
    /// The branch of each slot.
    owners: Vec<BranchId>,
    intents: Vec<Intent>,
    past: ReplayCursor,
    steps: u32,
    children: u32,
    latest: Timestamp,
    fault: Option<Fault>,
    /// Whether the journal has everything that code writes down immediately.
    expects_all: bool,
    /// Branch, position and name of the step that was built last.
    last: Option<(BranchId, u32, &'static str)>,
}

#[derive(Debug)]
struct Branch {
    path: Arc<str>,
    /// The branch that it leaves; the root leaves itself.
    parent: BranchId,
    next: u32,
    in_flight: u32,
    /// Names of the branches and fan-outs that leave it.
    leaving: Vec<&'static str>,
    past: BTreeMap<u32, JournaledStep>,
}

#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Settled(Result<Bytes, Failure>),
    Taken,
}

/// What the journal says of a step that code reached.
pub(crate) enum Lookup {
    /// Nothing: it is new.
    New,
    Journaled(JournaledStep),
}

impl Scope {
    pub(crate) fn new(about: RunInfo, limits: Arc<Limits>, clock: Clock, mut past: ReplayCursor) -> Self {
        let RunInfo { run, workflow, version, signals, depth, schedule } = about;
        let root: Arc<str> = "".into();
        let branch = Branch {
            path: Arc::clone(&root),
            parent: ROOT,
            next: 0,
            in_flight: 0,
            leaving: Vec::new(),
            past: past.take_branch(&root),
        };
        let inner = Inner {
            branches: vec![branch],
            slots: Vec::new(),
            owners: Vec::new(),
            intents: Vec::new(),
            steps: past.steps,
            children: 0,
            latest: past.latest,
            past,
            fault: None,
            expects_all: false,
            last: None,
        };
        let (warned, inner) = (AtomicU8::new(0), Mutex::new(inner));
        Self { run, workflow, version, limits, signals, depth, schedule, clock, warned, inner }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the next position of a branch: a step's identity is decided when it is built.
    pub(crate) fn build(&self, branch: BranchId, name: &'static str) -> u32 {
        let mut inner = self.lock();
        let slot = &mut inner.branches[branch as usize];
        let position = slot.next;
        slot.next += 1;
        inner.last = Some((branch, position, name));
        let slot = &inner.branches[branch as usize];
        if slot.in_flight > 0 {
            let step = crate::step_id::path(&slot.path, name, position);
            inner.fault.get_or_insert(Fault::UseBranch { step });
        }
        position
    }

    pub(crate) fn place(&self, branch: BranchId, position: u32, name: &'static str) -> StepId {
        let path = Arc::clone(&self.lock().branches[branch as usize].path);
        StepId { branch: path, position, name: Cow::Borrowed(name) }
    }

    /// How often the step was reset, counted from 1.
    pub(crate) fn incarnation(&self, place: &StepId) -> u32 {
        self.lock().past.incarnation(&place.branch, place.position)
    }

    /// Code reached a step: what the journal says of it, and the slot its result will come to.
    ///
    /// None where the run cannot continue; the fault is recorded and the step never resolves.
    pub(crate) fn reach(&self, branch: BranchId, place: &StepId) -> Option<(SlotId, Lookup)> {
        let mut inner = self.lock();
        if inner.fault.is_some() {
            return None;
        }
        let slot = SlotId::try_from(inner.slots.len()).unwrap_or(SlotId::MAX);
        let past = inner.branches[branch as usize].past.remove(&place.position);
        let reached = match past {
            Some(past) if past.name != place.name => {
                inner.fault = Some(Fault::Mismatch {
                    journal: crate::step_id::path(&place.branch, &past.name, place.position),
                    code: place.to_string(),
                });
                return None;
            }
            Some(past) => {
                inner.past.reached(place, slot);
                Lookup::Journaled(past)
            }
            None => {
                inner.steps += 1;
                let (steps, limit) = (inner.steps, self.limits.steps_per_run);
                if steps > limit {
                    let failure = Failure::new(
                        Code::ResourceExhausted,
                        format!("the run has {steps} steps, the limit steps_per_run is {limit}"),
                    );
                    inner.fault = Some(Fault::Limit(failure.at(place.step_ref())));
                    return None;
                }
                Lookup::New
            }
        };
        let kept = if matches!(reached, Lookup::Journaled(_)) { inner.past.take_kept(place) } else { None };
        inner.slots.push(kept.map_or(Slot::Waiting(None), Slot::Settled));
        inner.owners.push(branch);
        let steps = matches!(reached, Lookup::New).then_some(inner.steps);
        drop(inner);
        if let Some(steps) = steps {
            self.counts(Limit::StepsPerRun, steps.into(), self.limits.steps_per_run.into(), place);
        }
        Some((slot, reached))
    }

    /// The same for a step that is written down in the poll that comes to it: in a replay the journal has it, as long as
    /// there are results that code had seen after it.
    pub(crate) fn reach_at_once(&self, branch: BranchId, place: &StepId) -> Option<(SlotId, Lookup)> {
        let reached = self.reach(branch, place)?;
        if matches!(reached.1, Lookup::New) && self.lock().expects_all {
            self.fail(Fault::Mismatch { journal: "no such step there".to_owned(), code: place.to_string() });
            return None;
        }
        Some(reached)
    }

    /// From here on the journal has, or may lack, what code writes down immediately.
    pub(crate) fn expect_all(&self, expects: bool) {
        self.lock().expects_all = expects;
    }

    /// A step with a slot is polled for the first time: from now on its branch may build no other.
    pub(crate) fn enter(&self, branch: BranchId, intent: Intent) {
        let mut inner = self.lock();
        inner.branches[branch as usize].in_flight += 1;
        inner.intents.push(intent);
    }

    /// Asks for something that other steps of the branch need not wait for.
    pub(crate) fn ask(&self, intent: Intent) {
        self.lock().intents.push(intent);
    }

    /// Writes down a fact that has no result to wait for.
    pub(crate) fn write(&self, kind: Kind) {
        self.note(Intent::Fact(Box::new(kind)));
    }

    /// Asks for something that has no result to wait for.
    ///
    /// While the journal is replayed such a fact is mostly in it already. It is not where calls settled and code was not
    /// polled in between: the run was being stopped, or a retry took it up again. Then it comes after what is there.
    fn note(&self, intent: Intent) {
        let mut inner = self.lock();
        inner.intents.push(intent);
    }

    /// The result of a step, once it is there.
    pub(crate) fn poll_slot(&self, branch: BranchId, slot: SlotId, waker: &Waker) -> Poll<Result<Bytes, Failure>> {
        let mut inner = self.lock();
        match &mut inner.slots[slot as usize] {
            Slot::Waiting(Some(known)) if known.will_wake(waker) => Poll::Pending,
            Slot::Waiting(known) => {
                *known = Some(waker.clone());
                Poll::Pending
            }
            settled => match std::mem::replace(settled, Slot::Taken) {
                Slot::Settled(result) => {
                    let branch = &mut inner.branches[branch as usize];
                    branch.in_flight = branch.in_flight.saturating_sub(1);
                    Poll::Ready(result)
                }
                _ => Poll::Pending,
            },
        }
    }

    /// A fan-out or a branch is continuing: the branch that it leaves may build nothing until [`Scope::leave`].
    pub(crate) fn occupy(&self, branch: BranchId) {
        self.lock().branches[branch as usize].in_flight += 1;
    }

    pub(crate) fn leave(&self, branch: BranchId) {
        let mut inner = self.lock();
        let branch = &mut inner.branches[branch as usize];
        branch.in_flight = branch.in_flight.saturating_sub(1);
    }

    /// The time as the run knows it: never earlier than any it has seen, also over takeovers.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.wall();
        let mut inner = self.lock();
        inner.latest = inner.latest.max(now);
        inner.latest
    }

    /// Code was given this time, now or before its replica changed.
    pub(crate) fn saw(&self, time: Timestamp) {
        let mut inner = self.lock();
        inner.latest = inner.latest.max(time);
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.lock().fault.get_or_insert(fault);
    }

    // What follows is the driver's side.

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.lock().fault.clone()
    }

    /// Takes what code has asked for since the last call, in order.
    pub(crate) fn take_intents(&self) -> Vec<Intent> {
        std::mem::take(&mut self.lock().intents)
    }

    /// Hands a step its result; wakes only the future that waits for it.
    pub(crate) fn deliver(&self, slot: SlotId, result: Result<Bytes, Failure>) {
        let mut inner = self.lock();
        let known = std::mem::replace(&mut inner.slots[slot as usize], Slot::Settled(result));
        drop(inner);
        if let Slot::Waiting(Some(waker)) = known {
            let _inside = self.current_run().enter();
            waker.wake();
        }
    }

    /// Tells this run from others while it is in memory.
    pub(crate) fn current_run(&self) -> CurrentRun {
        CurrentRun::of(self)
    }

    /// Path of the step that code built last.
    pub(crate) fn last_built(&self) -> Option<String> {
        let inner = self.lock();
        let (branch, position, name) = inner.last?;
        Some(crate::step_id::path(&inner.branches[branch as usize].path, name, position))
    }

    pub(crate) fn steps(&self) -> u32 {
        self.lock().steps
    }

    /// The slot of a journaled step, if code has reached it.
    pub(crate) fn slot_of(&self, branch: &str, position: u32) -> Option<SlotId> {
        self.lock().past.slot_of(branch, position)
    }

    /// Keeps what the journal says of a step that code has not reached, where a retry may be why: the steps before it
    /// are made again first. False where that cannot be.
    pub(crate) fn keep(&self, place: &StepId, result: &Option<Result<Bytes, Failure>>) -> bool {
        let mut inner = self.lock();
        if !inner.past.was_reset {
            return false;
        }
        if let Some(result) = result {
            inner.past.keep(place, result.clone());
        }
        true
    }

    pub(crate) fn was_reset(&self) -> bool {
        self.lock().past.was_reset
    }

    /// A journaled step that code has not come to, although a retry left it its result.
    pub(crate) fn unreached(&self) -> Option<String> {
        self.lock().past.any_kept()
    }

    /// Whether code may end without coming to the step, which a retry kept because it may have acted.
    pub(crate) fn is_detached(&self, place: &StepId) -> bool {
        self.lock().past.is_detached(place)
    }

    /// The replay is over: what follows is new.
    pub(crate) fn replayed(&self) {
        let mut inner = self.lock();
        inner.past.replaying = false;
        inner.past.forget_slots();
    }

    /// Keys that a fan-out gave to more than one item.
    pub(crate) fn duplicates<'k>(keys: impl Iterator<Item = &'k str>) -> Vec<u32> {
        let mut seen = HashSet::new();
        keys.enumerate()
            .filter(|(_, key)| !seen.insert(*key))
            .map(|(index, _)| u32::try_from(index).unwrap_or(u32::MAX))
            .collect()
    }
}
