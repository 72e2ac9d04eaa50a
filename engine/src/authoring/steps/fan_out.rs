//! The same work for many items, each on a keyed branch of its own.

use std::future::{Future, IntoFuture};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::authoring::context::Context;
use crate::failure::{Code, Failure};
use crate::history::JournaledKind;
use crate::identity;
use crate::journal::Kind;
use crate::journal_v1::FanOutStarted;
use crate::limits::Limit;
use crate::scope::{Fault, Lookup, Scope};
use crate::step_id::{BranchId, StepId};

mod results;

pub use results::{FanOutResults, ItemResult};

impl Context {
    /// Runs `body` once for every item, each on a keyed branch of its own, some at a time. Continues when one fails.
    ///
    /// A key comes next, with [`FanOut::key`] or [`FanOut::secret_key`]; without one it is not a future.
    pub fn fan_out<I, F, Fut, T>(&self, name: &'static str, items: I, body: F) -> FanOut<I::Item, F, Unkeyed>
    where
        I: IntoIterator,
        F: FnMut(Context, I::Item) -> Fut,
        Fut: Future<Output = Result<T, Failure>> + Send,
    {
        FanOut::build(Arc::clone(&self.scope), self.branch, name, items.into_iter().collect(), body)
    }
}

/// Marks a fan-out whose key is still to be said.
#[derive(Debug)]
pub struct Unkeyed(());

/// The key of every item.
#[derive(Debug)]
pub struct Keys(Vec<String>);

/// A fan-out that was built; give it a key and await it.
#[must_use = "a fan-out begins when it is awaited"]
#[derive(Debug)]
pub struct FanOut<I, F, K> {
    scope: Arc<Scope>,
    branch: BranchId,
    position: u32,
    name: &'static str,
    items: Vec<I>,
    body: F,
    limit: usize,
    keys: K,
}

/// Branches that continue at the same time where nothing is said.
const DEFAULT_LIMIT: usize = 32;

impl<I, F> FanOut<I, F, Unkeyed> {
    pub(crate) fn build(scope: Arc<Scope>, branch: BranchId, name: &'static str, items: Vec<I>, body: F) -> Self {
        let position = scope.build(branch, name);
        Self { scope, branch, position, name, items, body, limit: DEFAULT_LIMIT, keys: Unkeyed(()) }
    }

    /// What tells one item from the others, in this run and after every crash. It is part of the branch's path
    /// and so is shown in logs and by the admin API.
    pub fn key(self, key: impl Fn(&I) -> String) -> FanOut<I, F, Keys> {
        let keys = self.items.iter().map(key).collect();
        self.with_keys(keys)
    }

    /// The same for a key that must not be shown, such as a field marked `debug_redact`: paths carry its hash.
    pub fn secret_key(self, key: impl Fn(&I) -> String) -> FanOut<I, F, Keys> {
        let keys = self.items.iter().map(|item| identity::redacted(&key(item))).collect();
        self.with_keys(keys)
    }

    fn with_keys(self, keys: Vec<String>) -> FanOut<I, F, Keys> {
        let Self { scope, branch, position, name, items, body, limit, .. } = self;
        FanOut { scope, branch, position, name, items, body, limit, keys: Keys(keys) }
    }
}

impl<I, F, K> FanOut<I, F, K> {
    /// How many branches continue at the same time; 32 where nothing is said, at least 1.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.max(1);
        self
    }
}

impl<I, F> FanOut<I, F, Keys> {
    /// Opens the fan-out: checks it against the journal and the limits, and finds the keys that come twice.
    /// None where the run cannot continue.
    fn open(&self) -> Option<Vec<u32>> {
        let place = self.scope.place(self.branch, self.position, self.name);
        let width = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let duplicates = Scope::duplicates(self.keys.0.iter().map(String::as_str));
        match self.scope.reach_at_once(self.branch, &place)?.1 {
            // A limit that was lowered fails no run for what it has done already.
            Lookup::New => {
                if let Some(failure) = self.refused(&place, width) {
                    self.scope.fail(Fault::Limit(failure));
                    return None;
                }
                let max = self.scope.limits.fan_out_width;
                self.scope.counts(Limit::FanOutWidth, width.into(), max.into(), &place);
                let stored = FanOutStarted { place: Some(place.stored()), width, duplicates: duplicates.clone() };
                self.scope.write(Kind::FanOutStarted(stored));
            }
            Lookup::Journaled(past) => {
                let same = matches!(&past.kind, JournaledKind::FanOut { width: journaled, duplicates: known }
                    if *journaled == width && *known == duplicates);
                if !same {
                    let code = format!("{place} over {width} items, {} of them duplicates", duplicates.len());
                    self.scope.fail(Fault::Mismatch { journal: format!("{place} as {}", past.kind), code });
                    return None;
                }
            }
        }
        Some(duplicates)
    }

    fn refused(&self, place: &StepId, width: u32) -> Option<Failure> {
        let limits = &self.scope.limits;
        let message = if width > limits.fan_out_width {
            format!("{place} has {width} items, the limit fan_out_width is {}", limits.fan_out_width)
        } else {
            let key = self.keys.0.iter().find(|key| key.len() > limits.name_bytes)?;
            format!("{place} has a key of {} bytes, the limit name_bytes is {}", key.len(), limits.name_bytes)
        };
        Some(Failure::new(Code::ResourceExhausted, message).at(place.step_ref()))
    }
}

impl<I, F, Fut, T> IntoFuture for FanOut<I, F, Keys>
where
    I: Send + 'static,
    F: FnMut(Context, I) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    type Output = FanOutResults<T>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Some(duplicates) = self.open() else { return std::future::pending().await };
            self.scope.occupy(self.branch);
            let ordinal = self.scope.count_branches(self.branch, self.name);
            let Self { scope, branch, name, items, mut body, limit, keys, .. } = self;
            let mut outcomes: Vec<Option<ItemResult<T>>> = (0..items.len()).map(|_| None).collect();
            for index in duplicates {
                outcomes[index as usize] = Some(ItemResult::Duplicate);
            }
            let mut waiting = items.into_iter().enumerate();
            let mut going = FuturesUnordered::new();
            loop {
                while going.len() < limit
                    && let Some((index, item)) = waiting.next()
                {
                    if outcomes[index].is_none() {
                        let child = scope.open_item(branch, name, ordinal, &keys.0[index]);
                        let work = body(Context::on(Arc::clone(&scope), child), item);
                        going.push(async move { (index, work.await) });
                    }
                }
                let Some((index, result)) = going.next().await else { break };
                outcomes[index] = Some(match result {
                    Ok(value) => ItemResult::Done(value),
                    Err(failure) => ItemResult::Failed(failure),
                });
            }
            scope.leave(branch);
            let outcomes = keys.0.into_iter().zip(outcomes.into_iter().flatten()).collect();
            FanOutResults::new(outcomes)
        })
    }
}
