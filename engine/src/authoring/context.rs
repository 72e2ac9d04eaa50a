//! What a workflow may say: the vocabulary of its run, as steps.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use prost::{Message, Name};
use uuid::Uuid;

use crate::authoring::steps::all::{JoinSteps, settle};
use crate::authoring::steps::branch::Branch;
use crate::authoring::steps::call::Call;
use crate::authoring::steps::child::Child;
use crate::authoring::steps::fan_out::{FanOut, Unkeyed};
use crate::authoring::steps::pages::Pages;
use crate::authoring::steps::race::{Race, RaceSteps};
use crate::authoring::steps::record::{self, Record};
use crate::authoring::steps::signal::Signal;
use crate::authoring::steps::sleep::Sleep;
use crate::authoring::workflow::Workflow;
use crate::failure::Failure;
use crate::rpc::{Paged, Rpc};
pub use crate::scope::ScheduleInfo;
use crate::scope::Scope;
use crate::step_id::{BranchId, ROOT};
use crate::time::Timestamp;

/// One branch of a run. Steps are built on it one after the other; several at the same time need branches of their own
/// ([`Context::branch`], [`Context::fan_out`]) or are built together ([`Context::all`], [`Context::race`]).
#[derive(Debug)]
pub struct Context {
    scope: Arc<Scope>,
    branch: BranchId,
}

impl Context {
    pub(crate) fn root(scope: Arc<Scope>) -> Self {
        Self { scope, branch: ROOT }
    }

    pub(crate) fn on(scope: Arc<Scope>, branch: BranchId) -> Self {
        Self { scope, branch }
    }

    /// Calls a service: the typed gRPC call, journaled, keyed, with a deadline and tried again as its contract
    /// allows.
    pub fn call<R: Rpc>(&self, request: R) -> Call<R> {
        Call::build(Arc::clone(&self.scope), self.branch, request)
    }

    /// Reads a list page by page (AIP-158), each page a call of its own: `ctx.pages(request).up_to(1_000).await?`. The
    /// request says where to begin and how large a page is. Generated for every method with the fields of AIP-158.
    pub fn pages<R: Paged>(&self, request: R) -> Pages<'_, R> {
        Pages::build(self, request)
    }

    /// Makes steps at the same time, and waits until every one has settled before it reports the first error
    /// in their order. Takes a tuple of up to eight steps, or a `Vec` of equal ones.
    ///
    /// # Errors
    /// The failure of the first step, in order, that failed.
    pub async fn all<T: JoinSteps>(&self, steps: T) -> Result<T::Values, Failure> {
        settle(steps).await
    }

    /// Several steps in a row as one: they stand on a branch of their own, and so may continue beside others.
    ///
    /// ```
    /// # use engine::{Context, Failure};
    /// # use std::time::Duration;
    /// async fn both(ctx: &Context) -> Result<(), Failure> {
    ///     let twice = ctx.branch("twice", |ctx| async move {
    ///         ctx.sleep("first", Duration::from_secs(1)).await?;
    ///         ctx.sleep("second", Duration::from_secs(1)).await
    ///     });
    ///     ctx.all((twice, ctx.sleep("once", Duration::from_secs(2)))).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn branch<'b, F, Fut, T>(&self, name: &'static str, body: F) -> Branch<'b, T>
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T, Failure>> + Send + 'b,
    {
        Branch::build(Arc::clone(&self.scope), self.branch, name, body)
    }

    /// Makes steps at the same time, and continues with the first that settles, well or badly. Takes a tuple of two to
    /// four steps, or a `Vec` of equal ones.
    ///
    /// Waits that lost are withdrawn. Calls that lost are not made if they were not sent yet; an effect that was
    /// continues, is journaled, and has settled before the run ends.
    pub fn race<A: RaceSteps>(&self, arms: A) -> Race<A> {
        Race::build(Arc::clone(&self.scope), self.branch, arms)
    }

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

    /// Waits. The run continues after this long, whatever crashes in between; a long wait costs no memory.
    pub fn sleep(&self, name: &'static str, span: Duration) -> Sleep {
        Sleep::build(Arc::clone(&self.scope), self.branch, name, span)
    }

    /// A run of its own, of another workflow or of the same: started when it is awaited, in this run's own append, and
    /// over with the child's result. A child that fails is a failure of this step. Where this run fails or is
    /// cancelled, its children are asked to end too; it does not end before they have.
    pub fn child<W: Workflow>(&self, name: &'static str, input: W::Input) -> Child<W> {
        Child::build(Arc::clone(&self.scope), self.branch, name, input)
    }

    /// Waits for a message that somebody sends the run under this name, and that the workflow declares among its
    /// [`SIGNALS`](crate::Workflow::SIGNALS). One that came early was kept; of several the oldest comes first.
    ///
    /// ```
    /// # use engine::{Context, Failure};
    /// # use std::time::Duration;
    /// # #[derive(Clone, PartialEq, prost::Message)] struct Paid {}
    /// # impl prost::Name for Paid { const NAME: &'static str = "Paid"; const PACKAGE: &'static str = "p"; }
    /// async fn paid(ctx: &Context) -> Result<bool, Failure> {
    ///     let paid: Option<Paid> = ctx.signal("payment").within(Duration::from_secs(24 * 3_600)).await?;
    ///     Ok(paid.is_some())
    /// }
    /// ```
    pub fn signal<M: Message + Name + Default>(&self, name: &'static str) -> Signal<M> {
        Signal::build(Arc::clone(&self.scope), self.branch, name)
    }

    /// The time, written down: a replay sees the same. Never goes backwards within a run.
    pub fn now(&self) -> Timestamp {
        record::now(&self.scope, self.branch)
    }

    /// A local value, written down once. The closure runs at least once; what it returned first to reach the
    /// journal is what every replay sees.
    pub fn record<T, F>(&self, name: &'static str, make: F) -> Record<T, F>
    where
        T: Message + Default,
        F: FnOnce() -> T,
    {
        Record::build(Arc::clone(&self.scope), self.branch, name, make)
    }

    /// Whether the run was created by this version of its workflow or a later one: what came with version `n` is done
    /// where `ctx.version_at_least(n)`, and runs that older code created continue as it left them.
    ///
    /// ```
    /// # use engine::{Context, Failure};
    /// # use std::time::Duration;
    /// async fn remind(ctx: &Context) -> Result<(), Failure> {
    ///     // Version 2 waits for two days; runs that version 1 created wait for one, as their journals say.
    ///     let days = if ctx.version_at_least(2) { 2 } else { 1 };
    ///     ctx.sleep("cool-off", Duration::from_secs(days * 24 * 3_600)).await
    /// }
    /// ```
    ///
    /// The answer is in the run's first fact, so it is the same for as long as the run lives. The oldest version is 1.
    pub fn version_at_least(&self, version: u32) -> bool {
        self.scope.version >= version
    }

    /// The tick of a schedule that started the run; none where somebody else did. It is in the run's first fact, so it is
    /// the same for as long as the run lives.
    ///
    /// ```
    /// # use engine::Context;
    /// fn covers_a_day(ctx: &Context) -> bool {
    ///     let previous = ctx.schedule().and_then(|tick| Some(tick.nominal.since(tick.previous_success?)));
    ///     previous.is_some_and(|since| since.as_secs() >= 24 * 3_600)
    /// }
    /// ```
    pub fn schedule(&self) -> Option<&ScheduleInfo> {
        self.scope.schedule.as_ref()
    }

    /// The id of the run.
    pub fn run_id(&self) -> Uuid {
        self.scope.run
    }
}
