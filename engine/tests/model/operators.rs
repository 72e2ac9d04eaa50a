//! What operators do to runs, each order under a request id until it is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::engine::EngineError;
use engine::store::{ListRuns, RequestKey, Requester, RunRow, Store as _};
use engine::testing::World;
use engine::time::Timestamp;
use engine::view::{Detail, StepState, StepView};
use engine::{Code, Failure, Level, State};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use prost::Message;
use uuid::Uuid;

use crate::check::journals;
use crate::ledger::Ledger;
use crate::messages::{Input, answer};
use crate::program::Random;
use crate::simulate::Simulation;

/// How long after its deadline an attempt may have its effect.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    Cancel,
    Terminate,
    Pause { stops_clock: bool },
    Resume,
    Retry(Option<String>),
    SkipBackOff(Option<String>),
    Resolve(Decision),
    Signal { name: &'static str, message: Input },
}

/// Something that an operator asked of a run.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) run: Uuid,
    pub(crate) act: Act,
    pub(crate) request: Uuid,
    /// How often it was asked for.
    pub(crate) asked: u32,
    pub(crate) answer: Answer,
    /// Whether it is asked for twice at the same moment.
    pub(crate) twice: bool,
    /// When it was asked for first, and when it was first answered.
    pub(crate) asked_at: Option<Timestamp>,
    pub(crate) answered_at: Option<Timestamp>,
}

impl Order {
    pub(crate) fn new(random: &mut Random, run: Uuid, act: Act) -> Self {
        let request = Uuid::from_u128(u128::from(random.next()) << 64 | u128::from(random.next()));
        let twice = random.percent(20);
        Self { run, act, request, asked: 0, answer: Answer::None, twice, asked_at: None, answered_at: None }
    }

    /// How many facts the run had when the order was done.
    pub(crate) fn done_at(&self) -> Option<u64> {
        if let Answer::Done(at) = self.answer { at } else { None }
    }

    /// Whether it may have been done, no one knows when.
    pub(crate) fn unsure(&self) -> bool {
        matches!(self.answer, Answer::None | Answer::Done(None))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// None came: whether it was done is not known.
    None,
    /// It was done; how many facts the run had right after it, where the first answer says it.
    Done(Option<u64>),
    Refused,
}

async fn ask(world: &World, order: &Order) -> Result<RunRow, EngineError> {
    let key = RequestKey { id: order.request, hash: [1; 32] };
    let asked = Requester { request: Some(key), ..Requester::new("operator", "the model wants it") };
    let engine = world.engine();
    match order.act.clone() {
        Act::Cancel => engine.cancel(order.run, asked).await,
        Act::Terminate => engine.terminate(order.run, asked).await,
        Act::Pause { stops_clock } => engine.pause(order.run, stops_clock, asked).await,
        Act::Resume => engine.resume(order.run, asked).await,
        Act::Retry(None) => engine.retry(order.run, asked).await,
        Act::Retry(Some(step)) => engine.retry_from(order.run, &step, asked).await,
        Act::SkipBackOff(step) => engine.skip_back_off(order.run, step, asked).await,
        Act::Resolve(decision) => engine.resolve(order.run, decision, asked).await,
        Act::Signal { name, message } => engine.signal(order.run, name, message.encode_to_vec().into(), asked).await,
    }
}

/// Every run of the world, children too.
pub(crate) async fn all_runs(world: &World) -> Vec<RunRow> {
    let filter = ListRuns { limit: 10_000, ..ListRuns::default() };
    let mut runs = world.store().list(filter).await.unwrap_or_default();
    runs.sort_unstable_by_key(|row| row.id);
    runs
}

impl Simulation {
    /// Several orders at the same time, to any runs; some of those that got no answer are asked again.
    pub(crate) async fn operate(&mut self, world: &World) {
        let mut asked = Vec::new();
        for _ in 0..self.random.below(4) {
            let runs = all_runs(world).await;
            if runs.is_empty() {
                return;
            }
            let row = self.random.pick(&runs);
            let Ok(detail) = world.engine().detail(row.id).await else { continue };
            let Some(act) = choose(&mut self.random, world, &self.ledger, &detail).await else { continue };
            asked.push(self.orders.len());
            self.orders.push(Order::new(&mut self.random, row.id, act));
        }
        for (index, order) in self.orders.iter().enumerate() {
            if matches!(order.answer, Answer::None) && !asked.contains(&index) && self.random.percent(50) {
                asked.push(index);
            }
        }
        self.ask_all(world, asked).await;
    }

    /// What is in doubt is decided while the run is still in memory.
    pub(crate) async fn decide_early(&mut self, world: &World) {
        if !self.attentive {
            return;
        }
        let mut asked = Vec::new();
        for row in all_runs(world).await {
            if row.owned && row.status.state == State::NeedsDecision {
                let Ok(detail) = world.engine().detail(row.id).await else { continue };
                let decision = decision(&mut self.random, world, &self.ledger, &detail).await;
                let Some(decision) = decision.filter(|decision| decision.verdict != Verdict::AskAgain) else {
                    continue;
                };
                asked.push(self.orders.len());
                self.orders.push(Order::new(&mut self.random, row.id, Act::Resolve(decision)));
            }
        }
        self.ask_all(world, asked).await;
    }

    /// Asks for these orders at the same time, as long as the replica lives.
    pub(crate) async fn ask_all(&mut self, world: &World, asked: Vec<usize>) {
        let mut answers = Vec::new();
        let now = world.clock().now();
        let mut asking = Vec::new();
        let mut together: BTreeMap<Uuid, usize> = BTreeMap::new();
        let mut times_asked: BTreeMap<usize, u32> = BTreeMap::new();
        for index in asked {
            let order = &mut self.orders[index];
            *together.entry(order.run).or_default() += 1;
            let times = if order.twice { 2 } else { 1 };
            order.asked += times;
            *times_asked.entry(index).or_default() += times;
            order.asked_at.get_or_insert(now);
            asking.extend((0..times).map(|_| index));
        }
        {
            let orders = &self.orders;
            let mut asking: FuturesUnordered<_> =
                asking.into_iter().map(|index| async move { (index, ask(world, &orders[index]).await) }).collect();
            loop {
                tokio::select! {
                    biased;
                    () = world.probe().death() => break,
                    answer = asking.next() => match answer {
                        Some((index, answer)) => answers.push((index, answer, world.clock().now())),
                        None => break,
                    }
                }
            }
        }
        let beside: BTreeSet<Uuid> =
            together.into_iter().filter(|(_, orders)| *orders > 1).map(|(run, _)| run).collect();
        let mut unanswered = times_asked;
        // A run may come by itself to where it can be retried, decided or called sooner.
        let moved = |order: &Order| {
            beside.contains(&order.run) || matches!(order.act, Act::SkipBackOff(_) | Act::Retry(_) | Act::Resolve(_))
        };
        for (index, answer, at) in answers {
            let order = &mut self.orders[index];
            let answer = match answer {
                Ok(row) => Answer::Done((order.asked == 1).then_some(row.sequence)),
                // Whether it was done is not known.
                Err(EngineError::Store(_) | EngineError::Conflict(_)) => continue,
                Err(EngineError::Precondition { .. }) => Answer::Refused,
                Err(error) => {
                    self.problems.push(format!("{order:?} was answered with {error}"));
                    continue;
                }
            };
            match (&order.answer, &answer) {
                // A refusal is not remembered: another order to the run may come between the two, whose answers come in
                // any order.
                (Answer::Refused, Answer::Done(_)) if moved(order) => {}
                (Answer::Done(_), Answer::Refused) if moved(order) => {
                    unanswered.entry(index).and_modify(|left| *left -= 1);
                    continue;
                }
                (Answer::Refused, Answer::Done(_)) | (Answer::Done(_), Answer::Refused) => {
                    self.problems
                        .push(format!("D4: one request was answered twice, and not alike: {order:?}, {answer:?}"));
                }
                _ => {}
            }
            unanswered.entry(index).and_modify(|left| *left -= 1);
            order.answered_at.get_or_insert(at);
            order.answer = answer;
        }
        // One of two requests was refused, and whether the other was done is not known.
        for (index, left) in unanswered {
            let order = &mut self.orders[index];
            if left > 0 && matches!(order.answer, Answer::Refused) {
                (order.answer, order.answered_at) = (Answer::None, None);
            }
        }
    }
}

/// What an operator who looks at a run may want of it.
async fn choose(random: &mut Random, world: &World, ledger: &Ledger, detail: &Detail) -> Option<Act> {
    let state = detail.row.status.state;
    let any_step = |random: &mut Random| {
        (!detail.steps.is_empty()).then(|| random.pick(&detail.steps).path()).filter(|_| random.percent(60))
    };
    let fitting = random.percent(75);
    match state {
        State::NeedsDecision if fitting => return decision(random, world, ledger, detail).await.map(Act::Resolve),
        State::Ending if fitting && random.percent(40) => return Some(Act::Cancel),
        State::Blocked if fitting && random.percent(25) => return Some(Act::Cancel),
        State::Failed | State::Blocked if fitting => return Some(Act::Retry(any_step(random))),
        State::BackingOff if fitting && random.percent(60) => return Some(Act::SkipBackOff(any_step(random))),
        _ if detail.row.paused.is_some() && fitting => return Some(Act::Resume),
        _ => {}
    }
    Some(match random.below(20) {
        0 | 1 => Act::Cancel,
        2 => Act::Terminate,
        3..=6 => Act::Pause { stops_clock: random.percent(50) },
        7 | 8 => Act::Resume,
        9 | 10 => Act::Retry(any_step(random)),
        11 | 12 => Act::SkipBackOff(any_step(random)),
        13 | 14 => return decision(random, world, ledger, detail).await.map(Act::Resolve),
        _ => Act::Signal {
            name: random.pick(&["left", "right"]),
            message: Input { text: "message".to_owned(), number: random.next() },
        },
    })
}

/// A true word about a step in doubt, or the wish to ask again; about any step where none is in doubt.
pub(crate) async fn decision(random: &mut Random, world: &World, ledger: &Ledger, detail: &Detail) -> Option<Decision> {
    let in_doubt: Vec<&StepView> = detail.steps.iter().filter(|step| step.state == StepState::NeedsDecision).collect();
    let effects: Vec<&StepView> =
        detail.steps.iter().filter(|step| step.level.is_some_and(Level::has_effects)).collect();
    let step = match (in_doubt.is_empty(), effects.is_empty()) {
        (false, _) => random.pick(&in_doubt),
        (true, false) => random.pick(&effects),
        (true, true) => return None,
    };
    let key = step.key.as_deref().and_then(|key| Uuid::try_parse(key).ok())?;
    let journal = journals::of(world, detail.row.id).await;
    let over = journals::last_deadline(&journal, key)?.after(MARGIN);
    let text = Input::decode(step.request.clone()?).ok()?.text;
    let verdict = if world.clock().now() < over || world.services().will_act(key) {
        // No one can know yet, and the engine does not ask again yet.
        Verdict::AskAgain
    } else if ledger.of(key).acted > 0 {
        Verdict::Happened(answer(text).encode_to_vec().into())
    } else if random.percent(50) {
        Verdict::AskAgain
    } else {
        Verdict::Failed(Failure::new(Code::Aborted, "an operator saw that it did not happen"))
    };
    Some(Decision { step: step.path(), incarnation: step.incarnation, attempt: step.attempts, verdict })
}
