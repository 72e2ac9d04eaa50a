//! `orchestrator.admin.v1.BulkService`: one thing, done to every run that a filter finds.

use std::pin::Pin;
use std::time::Duration;

use crate::proto::google::rpc;
use crate::proto::orchestrator::admin::v1::bulk_service_server::BulkService;
use crate::proto::orchestrator::admin::v1::{BulkAction, SteerRunsRequest, SteerRunsResponse};
use engine::State;
use engine::decision::{Decision, Verdict};
use engine::engine::{Engine, EngineError};
use engine::failure::{Code, Failure};
use engine::store::{BulkRequest, ListRuns, RequestKey, Requester, RunRow};
use engine::time::{Clock, Timestamp};
use engine::view::StepState;
use futures_util::Stream;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::{Builder, Uuid};

use super::requests::Violations;
use super::{granted, messages, status};
use crate::access::{self, Access, Role};

/// Runs that are listed together.
const PAGE: u32 = 200;
/// Answers that wait for the caller.
const AHEAD: usize = 16;
/// The method under which a request is remembered.
const ACTION: &str = "SteerRuns";
const DEFAULT_RATE: u32 = 50;
const MAX_RATE: u32 = 1_000;

pub(super) struct Bulk {
    engine: Engine,
    clock: Clock,
    closing: CancellationToken,
}

impl Bulk {
    pub(super) fn new(engine: Engine, clock: Clock, closing: CancellationToken) -> Self {
        Self { engine, clock, closing }
    }
}

/// A request, read.
struct Wish {
    action: BulkAction,
    filter: ListRuns,
    created_after: Timestamp,
    reason_prefix: String,
    validate_only: bool,
    rate: u32,
    most: usize,
    asked: Requester,
    access: Access,
    /// What is remembered of the first request, if this one repeats it.
    repeats: Option<BulkRequest>,
}

impl Wish {
    /// Refuses an action that the caller may do to no run.
    fn may(&self) -> Result<(), Status> {
        self.access.check_any_as(role(self.action)).map_err(|denied| status::denied(&denied))
    }

    /// Whether the run is one of those that the first request selected, if this one repeats it.
    async fn selects(&self, engine: &Engine, row: &RunRow) -> Result<bool, EngineError> {
        let Some(first) = self.repeats else { return Ok(true) };
        // Runs in these states change only when they leave them, or by a command.
        let stands = matches!(row.status.state, State::Blocked | State::NeedsDecision | State::Paused);
        let as_it_was = row.updated_at <= first.first_made;
        if !first.completed && (as_it_was || !(stands || row.status.state.is_end())) {
            return Ok(true);
        }
        let Some(method) = method(self.action) else { return Ok(false) };
        Ok(engine.answered(method, &asked_of(self, row.id, "")).await?.is_some())
    }
}

/// The method that the action makes on each run; `None` if it decides steps, which are another selection once they are
/// decided.
fn method(action: BulkAction) -> Option<&'static str> {
    Some(match action {
        BulkAction::Cancel => "CancelRun",
        BulkAction::Retry => "RetryRun",
        BulkAction::Pause => "PauseRun",
        BulkAction::Resume => "ResumeRun",
        BulkAction::SkipBackOff => "SkipBackOff",
        BulkAction::Terminate => "TerminateRun",
        BulkAction::Delete => "DeleteRun",
        BulkAction::Pin => "PinRun",
        BulkAction::Unpin => "UnpinRun",
        BulkAction::AskAgain | BulkAction::DecideFailed | BulkAction::Unspecified => return None,
    })
}

/// What the action takes: as much as the method that does it to one run.
fn role(action: BulkAction) -> Role {
    let method = method(action).unwrap_or("ResolveStep");
    access::role_of(&format!("/orchestrator.admin.v1.RunService/{method}")).unwrap_or(Role::Admin)
}

fn read(request: Request<SteerRunsRequest>, now: Timestamp) -> Result<Wish, Status> {
    let (metadata, extensions, mut request) = request.into_parts();
    let access = granted::of(&extensions)?;
    let mut violations = Violations::default();
    let action = request.action();
    if action == BulkAction::Unspecified {
        violations.note("action", "expected what to do");
    }
    violations.workflow_name(&request.workflow);
    let states = violations.states(&request.states);
    let condition = violations.run_filter(&request.filter);
    if request.workflow.is_empty() && states.is_empty() && condition.is_empty() {
        violations.note("states", "expected states, a workflow or a filter: not all runs there are");
    }
    let created_after = violations.time("created_after", request.created_after).unwrap_or_default();
    let created_before = violations.time("created_before", request.created_before).unwrap_or(now);
    let rate = violations.bounded("max_rate", request.max_rate, DEFAULT_RATE, MAX_RATE);
    let most = violations.bounded("max_runs", request.max_runs, u32::MAX, u32::MAX);
    let request_id = std::mem::take(&mut request.request_id);
    let asked = violations.asked(&metadata, &access, &request.reason, &request_id, &request);
    let filter = ListRuns {
        workflow: Some(request.workflow).filter(|name| !name.is_empty()),
        states,
        before: Some(first_id(created_before)),
        granted: access.granted(),
        filter: condition,
        limit: PAGE,
        ..ListRuns::default()
    };
    violations.or(Wish {
        action,
        filter,
        created_after,
        reason_prefix: request.reason_prefix,
        validate_only: request.validate_only,
        rate,
        most: most as usize,
        asked,
        access,
        repeats: None,
    })
}

/// The smallest id of a run that was created then: ids begin with the time in milliseconds.
fn first_id(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_micros().div_euclid(1_000)).unwrap_or(0);
    Uuid::from_u128(u128::from(millis) << 80)
}

#[tonic::async_trait]
impl BulkService for Bulk {
    type SteerRunsStream = Pin<Box<dyn Stream<Item = Result<SteerRunsResponse, Status>> + Send>>;

    async fn steer_runs(&self, request: Request<SteerRunsRequest>) -> Result<Response<Self::SteerRunsStream>, Status> {
        let now = self.clock.now();
        let mut wish = read(request, now)?;
        wish.may()?;
        if wish.asked.request.is_some() && !wish.validate_only {
            let remembered = self.engine.bulk_request(ACTION, wish.asked.clone(), false).await;
            let before = remembered.map_err(status::from_engine)?;
            if before.first_made < now {
                let first = first_id(before.first_made);
                wish.filter.before = wish.filter.before.map(|id| id.min(first));
                wish.repeats = Some(before);
            }
        }
        let (answers, stream) = mpsc::channel(AHEAD);
        let (engine, closing) = (self.engine.clone(), self.closing.clone());
        tokio::spawn(async move {
            let steered = closing.run_until_cancelled(steer(&engine, wish, &answers)).await;
            let error = match steered {
                Some(Ok(())) => return,
                Some(Err(error)) => error,
                None => status::draining(),
            };
            // A caller that has gone needs no answer.
            let _gone = answers.send(Err(error)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

async fn steer(
    engine: &Engine,
    mut wish: Wish,
    answers: &mpsc::Sender<Result<SteerRunsResponse, Status>>,
) -> Result<(), Status> {
    let mut ticks = interval(Duration::from_secs(1) / wish.rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut steered = 0;
    loop {
        let page = engine.store().list(wish.filter.clone()).await;
        let page = page.map_err(|error| status::from_engine(EngineError::Store(error)))?;
        let Some(last) = page.last() else { break };
        wish.filter.before = Some(last.id);
        for row in page {
            if row.created_at < wish.created_after || steered == wish.most {
                return completed(engine, &wish).await.map_err(status::from_engine);
            }
            // Looked at for each run: what is granted may be taken back meanwhile.
            wish.may()?;
            if wish.access.check_as(role(wish.action), &row.workflow).is_err() {
                continue;
            }
            let stranded = engine.stranded(&row);
            if !stranded.as_ref().unwrap_or(&row.status.reason).starts_with(&wish.reason_prefix) {
                continue;
            }
            if !wish.selects(engine, &row).await.map_err(status::from_engine)? {
                continue;
            }
            steered += 1;
            let done = if wish.validate_only {
                Ok(())
            } else {
                ticks.tick().await;
                one(engine, &wish, &row).await
            };
            if answers.send(Ok(answer(row, engine, done))).await.is_err() {
                return Ok(());
            }
        }
    }
    completed(engine, &wish).await.map_err(status::from_engine)
}

/// All runs were changed: a request that repeats this one changes no others.
async fn completed(engine: &Engine, wish: &Wish) -> Result<(), EngineError> {
    if wish.asked.request.is_some() && !wish.validate_only {
        engine.bulk_request(ACTION, wish.asked.clone(), true).await?;
    }
    Ok(())
}

fn answer(row: RunRow, engine: &Engine, done: Result<(), EngineError>) -> SteerRunsResponse {
    let error = done.err().map(|error| {
        let status = status::from_engine(error);
        rpc::Status { code: status.code().into(), message: status.message().to_owned(), details: Vec::new() }
    });
    let run = messages::run(row, engine);
    SteerRunsResponse { run_id: run.run_id, workflow: run.workflow, state: run.state, error }
}

/// The request id of one run among many: the same for the same request.
fn asked_of(wish: &Wish, run: Uuid, step: &str) -> Requester {
    let mut asked = wish.asked.clone();
    if let Some(key) = &mut asked.request {
        let mut hasher = Sha256::new();
        hasher.update(key.id.as_bytes());
        hasher.update(run.as_bytes());
        hasher.update(step.as_bytes());
        let digest: [u8; 32] = hasher.finalize().into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        *key = RequestKey { id: Builder::from_random_bytes(bytes).into_uuid(), hash: key.hash };
    }
    asked
}

async fn one(engine: &Engine, wish: &Wish, row: &RunRow) -> Result<(), EngineError> {
    let (run, asked) = (row.id, asked_of(wish, row.id, ""));
    match wish.action {
        BulkAction::Cancel => engine.cancel(run, asked).await.map(drop),
        BulkAction::Retry => engine.retry(run, asked).await.map(drop),
        BulkAction::Pause => engine.pause(run, false, asked).await.map(drop),
        BulkAction::Resume => engine.resume(run, asked).await.map(drop),
        BulkAction::SkipBackOff => engine.skip_back_off(run, None, asked).await.map(drop),
        BulkAction::Terminate => engine.terminate(run, asked).await.map(drop),
        BulkAction::Delete => engine.delete(run, asked).await,
        BulkAction::Pin => engine.pin(run, true, asked).await.map(drop),
        BulkAction::Unpin => engine.pin(run, false, asked).await.map(drop),
        BulkAction::AskAgain => decide(engine, wish, run, &Verdict::AskAgain).await,
        BulkAction::DecideFailed => {
            let failure = Failure::new(Code::Aborted, wish.asked.reason.clone());
            decide(engine, wish, run, &Verdict::Failed(failure)).await
        }
        BulkAction::Unspecified => Ok(()),
    }
}

/// Decides every step of the run that needs it.
async fn decide(engine: &Engine, wish: &Wish, run: Uuid, verdict: &Verdict) -> Result<(), EngineError> {
    let detail = engine.detail(run).await?;
    for step in detail.steps.iter().filter(|step| step.state == StepState::NeedsDecision) {
        let (incarnation, attempt) = (step.incarnation, step.attempts);
        let decision = Decision { step: step.path(), incarnation, attempt, verdict: verdict.clone() };
        engine.resolve(run, decision, asked_of(wish, run, &step.path())).await?;
    }
    Ok(())
}
