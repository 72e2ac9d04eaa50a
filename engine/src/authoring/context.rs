//! The context of a run, which code builds its steps on. Each kind of step adds its methods where it is (`steps/`).

use std::sync::Arc;

use uuid::Uuid;

pub use crate::scope::ScheduleInfo;
use crate::scope::Scope;
use crate::step_id::{BranchId, ROOT};

/// One branch of a run. Steps are built on it one after the other; several at the same time need branches of their own
/// ([`Context::branch`], [`Context::fan_out`]) or are built together ([`Context::all`], [`Context::race`]).
#[derive(Debug)]
pub struct Context {
    pub(super) scope: Arc<Scope>,
    pub(super) branch: BranchId,
}

impl Context {
    pub(crate) fn root(scope: Arc<Scope>) -> Self {
        Self { scope, branch: ROOT }
    }

    pub(crate) fn on(scope: Arc<Scope>, branch: BranchId) -> Self {
        Self { scope, branch }
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
