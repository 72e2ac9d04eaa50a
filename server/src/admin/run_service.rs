//! `orchestrator.admin.v1.RunService`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use crate::proto::orchestrator::admin::v1::get_step_request::Payload;
use crate::proto::orchestrator::admin::v1::run_service_server::RunService;
use crate::proto::orchestrator::admin::v1::{
    CancelRunRequest, CountRunsRequest, CountRunsResponse, DeleteRunRequest, GetRunRequest, GetStepRequest,
    ListRunsRequest, ListRunsResponse, ListStepsRequest, ListStepsResponse, PauseRunRequest, PinRunRequest,
    PreviewRetryRequest, PreviewRetryResponse, ResolveStepRequest, ResumeRunRequest, RetryRunRequest, Run,
    SignalRunRequest, SkipBackOffRequest, StartRunRequest, Step, TerminateRunRequest, UnpinRunRequest, WatchRunRequest,
};
use bytes::Bytes;
use engine::engine::{Engine, EngineError, Start, Started};
use engine::store::{ListRuns, RunRow};
use futures_util::Stream;
use prost::Message;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::requests::Violations;
use super::{granted, messages, pages, requests, resolution, status, steps, watch};

#[derive(Clone)]
pub(super) struct Runs {
    engine: Engine,
    /// Ends waits and streams.
    closing: CancellationToken,
    /// What watchers keep of journals.
    memory: Arc<Semaphore>,
}

impl Runs {
    pub(super) fn new(engine: Engine, closing: CancellationToken) -> Self {
        Self { engine, closing, memory: watch::memory() }
    }

    /// Starts the run. Says which one it is, and how long its end is waited for.
    async fn begin(&self, request: Request<StartRunRequest>) -> Result<(Started, Duration), Status> {
        // What is held for the bytes of the request is held until they are stored.
        let (metadata, held, request) = request.into_parts();
        let access = granted::of(&held)?;
        let mut violations = Violations::default();
        violations.workflow_name(&request.workflow);
        if request.workflow.is_empty() {
            violations.note("workflow", "expected the name of a workflow");
        }
        violations.or(())?;
        granted::workflow(&access, &request.workflow)?;
        let definition = self.engine.workflows().get(&request.workflow);
        let definition = definition.ok_or_else(|| status::unknown_workflow(&request.workflow))?;
        let requests::Start { workflow, input, asked, deadline, wait } =
            requests::start(&metadata, &access, request, &definition.input_type)?;

        // A start completes also if the caller goes away in the meantime.
        let started = self.engine.start(Start { workflow, input, asked: Some(asked), deadline }).await;
        let started = started.map_err(status::from_engine)?;
        Ok((started, wait))
    }

    /// The run once it ended; as it is when the time is up, or when this process goes.
    async fn ended_within(&self, id: Uuid, wait: Duration) -> Result<Run, Status> {
        if !wait.is_zero() {
            // Pinned here, because what it is handed to would keep it twice.
            let ended = pin!(self.engine.ended(id, wait));
            if let Some(ended) = self.closing.run_until_cancelled(ended).await
                && let Some(ended) = ended.map_err(status::from_engine)?
            {
                let types = self.engine.workflows().get(&ended.row.workflow);
                return Ok(messages::ended(&ended, types.map(AsRef::as_ref), &self.engine));
            }
        }
        // Boxed, because every call that waits would have room for it.
        Box::pin(self.row(id)).await.map(|row| self.shown(row))
    }

    /// Does what an operator asks of one run, and answers with the run.
    async fn steer<F>(&self, work: impl FnOnce(Engine) -> F) -> Result<Response<Run>, Status>
    where
        F: Future<Output = Result<RunRow, EngineError>> + Send + 'static,
    {
        let row = to_the_end(work(self.engine.clone())).await?;
        Ok(Response::new(self.shown(row)))
    }

    fn shown(&self, row: RunRow) -> Run {
        messages::run(row, &self.engine)
    }

    async fn row(&self, id: Uuid) -> Result<RunRow, Status> {
        let row = self.engine.store().run(id).await.map_err(|error| status::from_engine(EngineError::Store(error)))?;
        row.ok_or_else(|| status::from_engine(EngineError::NotFound(id)))
    }
}

/// Reads what every request to steer a run has: which run, who asks and why, and the rest of it.
macro_rules! steering {
    ($runs:expr, $request:expr) => {{
        let (metadata, extensions, mut request) = $request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let run = violations.run_id(&request.run_id);
        let request_id = std::mem::take(&mut request.request_id);
        let asked = violations.asked(&metadata, &access, &request.reason, &request_id, &request);
        violations.or(())?;
        granted::run(&$runs.engine, &access, run).await?;
        (run, asked, request)
    }};
}

/// Refuses what cannot be the path of a step.
fn path(field: &str, text: &str) -> Result<(), Status> {
    let mut violations = Violations::default();
    violations.step(field, text);
    violations.or(())
}

/// Runs to its end what a caller asked for, also if the caller goes away in the meantime.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
) -> Result<T, Status> {
    tokio::spawn(work).await.map_err(|_| status::lost())?.map_err(status::from_engine)
}

#[tonic::async_trait]
impl RunService for Runs {
    // Written out, because an `async fn` would keep the request until the run has ended.
    fn start_run<'s, 'f>(
        &'s self,
        request: Request<StartRunRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Run>, Status>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        // Boxed, because a call that waits would hold the room that its start took.
        let begun = Box::pin(self.begin(request));
        Box::pin(async move {
            let (Started { id, row, new }, wait) = begun.await?;
            // A run that was removed meanwhile is answered as it was.
            if wait.is_zero() || (!new && row.status.state.is_end()) {
                return Ok(Response::new(self.shown(*row)));
            }
            drop(row);
            self.ended_within(id, wait).await.map(Response::new)
        })
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<Run>, Status> {
        let (_, extensions, request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let id = violations.run_id(&request.run_id);
        let max_steps = violations.max_steps(request.max_steps) as usize;
        let wants_all = violations.wants_all(request.view);
        violations.or(())?;
        granted::run(&self.engine, &access, id).await?;
        let run = if !request.step.is_empty() {
            watch::with_step(&self.engine, id, &request.step).await?
        } else if wants_all {
            watch::detailed(&self.engine, id, max_steps).await?
        } else {
            self.shown(self.row(id).await?)
        };
        Ok(Response::new(run))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        let (_, extensions, mut request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let limit = violations.page_size(request.page_size);
        violations.workflow_name(&request.workflow);
        let states = violations.states(&request.states);
        let filter = violations.run_filter(&request.filter);
        let oldest_first = violations.oldest_first(&request.order_by);
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let arguments = request.encode_to_vec();
        let from = match pages::cursor(&token, &arguments) {
            Ok(cursor) => cursor.and_then(|cursor| Uuid::from_slice(&cursor).ok()),
            Err(expected) => {
                violations.note("page_token", expected);
                None
            }
        };
        violations.or(())?;

        let workflow = Some(request.workflow).filter(|name| !name.is_empty());
        let (before, after) = if oldest_first { (None, from) } else { (from, None) };
        let granted = access.granted();
        let filter = ListRuns { workflow, states, granted, filter, before, after, oldest_first, limit: limit + 1 };
        let full_scan = filter.is_scan();
        let rows = self.engine.store().list(filter).await;
        let rows = rows.map_err(|error| status::from_engine(EngineError::Store(error)))?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let mut runs: Vec<Run> = rows.into_iter().map(|row| messages::listed(row, &self.engine)).collect();
        let is_cut = pages::cut(&mut runs, limit as usize);
        let last = runs.len().checked_sub(1).and_then(|last| ids.get(last)).filter(|_| is_cut);
        let next_page_token = last.map_or_else(String::new, |last| pages::token(last.as_bytes(), &arguments));
        Ok(Response::new(ListRunsResponse { runs, next_page_token, full_scan }))
    }

    async fn count_runs(&self, request: Request<CountRunsRequest>) -> Result<Response<CountRunsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let filter = violations.run_filter(&request.filter);
        violations.or(())?;
        let filter = ListRuns { granted: access.granted(), filter, ..ListRuns::default() }.condition();
        let counts = self.engine.store().count(filter).await;
        let counts = counts.map_err(|error| status::from_engine(EngineError::Store(error)))?;
        Ok(Response::new(messages::counts(counts)))
    }

    async fn list_steps(&self, request: Request<ListStepsRequest>) -> Result<Response<ListStepsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let page = steps::Page::read(request)?;
        granted::run(&self.engine, &access, page.run()).await?;
        page.list(&self.engine).await.map(Response::new)
    }

    async fn get_step(&self, request: Request<GetStepRequest>) -> Result<Response<Step>, Status> {
        let (_, extensions, request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let run = violations.run_id(&request.run_id);
        violations.step("step", &request.step);
        let payload = Payload::try_from(request.payload).unwrap_or_else(|_| {
            violations.note("payload", format!("{} is no payload", request.payload));
            Payload::Unspecified
        });
        violations.or(())?;
        granted::run(&self.engine, &access, run).await?;
        steps::one(&self.engine, run, &request.step, payload).await.map(Response::new)
    }

    type WatchRunStream = Pin<Box<dyn Stream<Item = Result<Run, Status>> + Send>>;

    async fn watch_run(&self, request: Request<WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let (_, extensions, request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let id = violations.run_id(&request.run_id);
        let max_steps = violations.max_steps(request.max_steps) as usize;
        let wants_all = violations.wants_all(request.view);
        violations.or(())?;
        granted::run(&self.engine, &access, id).await?;
        // An unknown run is an error of the call, not of its stream.
        let workflow = self.row(id).await?.workflow;
        let look = watch::Look { run: id, max_steps: wants_all.then_some(max_steps) };
        let stream = watch::stream(self.engine.clone(), look, Arc::clone(&self.memory), self.closing.clone());
        Ok(Response::new(granted::while_granted(access, workflow, stream)))
    }

    async fn cancel_run(&self, request: Request<CancelRunRequest>) -> Result<Response<Run>, Status> {
        let (run, asked, _) = steering!(self, request);
        self.steer(|engine| async move { engine.cancel(run, asked).await }).await
    }

    async fn signal_run(&self, request: Request<SignalRunRequest>) -> Result<Response<Run>, Status> {
        // What is held for the bytes of the request is held until they are stored.
        let (metadata, held, mut request) = request.into_parts();
        let access = granted::of(&held)?;
        let mut violations = Violations::default();
        let id = violations.run_id(&request.run_id);
        violations.name("signal", &request.signal);
        if request.signal.is_empty() {
            violations.note("signal", "expected the name of a signal");
        }
        let request_id = std::mem::take(&mut request.request_id);
        let asked = violations.asked(&metadata, &access, &request.reason, &request_id, &request);
        violations.or(())?;
        granted::run(&self.engine, &access, id).await?;
        let SignalRunRequest { signal: name, message_form, .. } = request;
        let before = self.engine.answered("SignalRun", &asked).await.map_err(status::from_engine)?;
        if let Some(row) = before {
            return Ok(Response::new(self.shown(row)));
        }
        let workflow = self.row(id).await?.workflow;
        let definition = self.engine.workflows().get(&workflow).ok_or_else(|| status::unknown_workflow(&workflow))?;
        // An unknown signal is for the engine to refuse, which names the known ones.
        let message = match definition.signal(&name) {
            Some(signal) => requests::message(message_form, &signal.type_name())?,
            None => Bytes::new(),
        };
        let engine = self.engine.clone();
        let row = to_the_end(async move { engine.signal(id, &name, message, asked).await }).await?;
        Ok(Response::new(self.shown(row)))
    }

    async fn retry_run(&self, request: Request<RetryRunRequest>) -> Result<Response<Run>, Status> {
        let (run, asked, request) = steering!(self, request);
        path("from_step", &request.from_step)?;
        self.steer(|engine| async move {
            match request.from_step.as_str() {
                "" => engine.retry(run, asked).await,
                step => engine.retry_from(run, step, asked).await,
            }
        })
        .await
    }

    async fn preview_retry(
        &self,
        request: Request<PreviewRetryRequest>,
    ) -> Result<Response<PreviewRetryResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let run = violations.run_id(&request.run_id);
        violations.step("from_step", &request.from_step);
        violations.or(())?;
        granted::run(&self.engine, &access, run).await?;
        let step = Some(request.from_step.as_str()).filter(|step| !step.is_empty());
        let again = self.engine.preview_retry(run, step).await.map_err(status::from_engine)?;
        Ok(Response::new(PreviewRetryResponse { steps: again.into_iter().map(messages::retried).collect() }))
    }

    async fn pause_run(&self, request: Request<PauseRunRequest>) -> Result<Response<Run>, Status> {
        let (run, asked, request) = steering!(self, request);
        self.steer(|engine| async move { engine.pause(run, request.stop_clock, asked).await }).await
    }

    async fn resume_run(&self, request: Request<ResumeRunRequest>) -> Result<Response<Run>, Status> {
        let (run, asked, _) = steering!(self, request);
        self.steer(|engine| async move { engine.resume(run, asked).await }).await
    }

    async fn skip_back_off(&self, request: Request<SkipBackOffRequest>) -> Result<Response<Run>, Status> {
        let (run, asked, request) = steering!(self, request);
        path("step", &request.step)?;
        let step = Some(request.step).filter(|step| !step.is_empty());
        self.steer(|engine| async move { engine.skip_back_off(run, step, asked).await }).await
    }

    async fn terminate_run(&self, request: Request<TerminateRunRequest>) -> Result<Response<Run>, Status> {
        let (run, asked, _) = steering!(self, request);
        self.steer(|engine| async move { engine.terminate(run, asked).await }).await
    }

    async fn delete_run(&self, request: Request<DeleteRunRequest>) -> Result<Response<()>, Status> {
        let (run, asked, _) = steering!(self, request);
        let engine = self.engine.clone();
        to_the_end(async move { engine.delete(run, asked).await }).await.map(Response::new)
    }

    async fn pin_run(&self, request: Request<PinRunRequest>) -> Result<Response<Run>, Status> {
        let (run, asked, _) = steering!(self, request);
        self.steer(|engine| async move { engine.pin(run, true, asked).await }).await
    }

    async fn unpin_run(&self, request: Request<UnpinRunRequest>) -> Result<Response<Run>, Status> {
        let (run, asked, _) = steering!(self, request);
        self.steer(|engine| async move { engine.pin(run, false, asked).await }).await
    }

    async fn resolve_step(&self, request: Request<ResolveStepRequest>) -> Result<Response<Run>, Status> {
        // What is held for the bytes of the request is held until they are stored.
        let (metadata, held, mut request) = request.into_parts();
        let access = granted::of(&held)?;
        let mut violations = Violations::default();
        let id = violations.run_id(&request.run_id);
        violations.step("step", &request.step);
        let request_id = std::mem::take(&mut request.request_id);
        let asked = violations.asked(&metadata, &access, &request.reason, &request_id, &request);
        violations.or(())?;
        granted::run(&self.engine, &access, id).await?;
        let run = self.engine.detail(id).await.map_err(status::from_engine)?;
        let decision = resolution::decision(request, &run, Violations::default())?;
        let engine = self.engine.clone();
        let row = to_the_end(async move { engine.resolve(id, decision, asked).await }).await?;
        Ok(Response::new(self.shown(row)))
    }
}
