//! `orchestrator.admin.v1.ScheduleService`.

use engine::engine::{Backfill, Engine, EngineError};
use engine::schedule::Timetable;
use engine::store::{ListSchedules, Requester, Schedule, ScheduleRefusal, ScheduleRow};
use engine::time::Clock;
use prost::Message;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::messages::schedules as shown;
use super::requests::Violations;
use super::schedule_requests::Mask;
use super::{granted, pages, run_service, status};
use crate::proto::orchestrator::admin::v1;
use crate::proto::orchestrator::admin::v1::schedule_service_server::ScheduleService;

/// Next times that come with one schedule, and with each of a list.
const NEXT_TIMES: usize = 10;
const LISTED_TIMES: usize = 1;
const MAX_PREVIEW: u32 = 1_000;

pub(super) struct Schedules {
    engine: Engine,
    clock: Clock,
}

impl Schedules {
    pub(super) fn new(engine: Engine, clock: Clock) -> Self {
        Self { engine, clock }
    }

    fn show(&self, row: ScheduleRow) -> v1::Schedule {
        shown::schedule(row, self.engine.workflows(), self.clock.now(), NEXT_TIMES)
    }

    /// Reads a whole schedule.
    fn read(&self, given: v1::Schedule, mut violations: Violations) -> Result<Schedule, Status> {
        violations.schedule_name(&given.schedule);
        violations.workflow_name(&given.workflow);
        let workflow = self.engine.workflows().get(&given.workflow);
        let workflow = workflow.ok_or_else(|| status::unknown_workflow(&given.workflow))?;
        let input = violations.input(given.input_form, &workflow.input_type);
        let spec = violations.spec("schedule.spec", given.spec.unwrap_or_default());
        let policy = violations.policy(&given.policy.unwrap_or_default());
        let schedule = Schedule { name: given.schedule, workflow: given.workflow, input, spec, policy };
        violations.or(schedule)
    }

    /// The schedule as it would be stored.
    fn validated(&self, schedule: Schedule, source: Option<ScheduleRow>) -> Result<Response<v1::Schedule>, Status> {
        let schedule = self.engine.check_schedule(schedule).map_err(status::from_engine)?;
        let now = self.clock.now();
        let row = match source {
            Some(row) => ScheduleRow { schedule, ..row },
            None => ScheduleRow::of(schedule, now),
        };
        Ok(Response::new(self.show(row)))
    }

    async fn steer<F>(&self, work: impl FnOnce(Engine) -> F) -> Result<Response<v1::Schedule>, Status>
    where
        F: Future<Output = Result<ScheduleRow, EngineError>> + Send + 'static,
    {
        let row = run_service::to_the_end(work(self.engine.clone())).await?;
        Ok(Response::new(self.show(row)))
    }
}

/// Reads what every request to change a schedule has: which one, who asks and why, and the rest of it.
macro_rules! changing {
    ($schedules:expr, $request:expr) => {{
        let (metadata, extensions, mut request) = $request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        violations.schedule_name(&request.schedule);
        let request_id = std::mem::take(&mut request.request_id);
        let asked = violations.asked(&metadata, &access, &request.reason, &request_id, &request);
        granted::schedule(&$schedules.engine, &access, &request.schedule).await?;
        (violations, asked, request)
    }};
}

/// The generation that an etag names; none where none is said.
fn generation(violations: &mut Violations, field: &str, etag: &str) -> Option<u64> {
    if etag.is_empty() {
        return None;
    }
    let read = etag.parse().ok();
    if read.is_none() {
        violations.note(field, "expected the etag of an earlier answer");
    }
    read
}

fn backfill_id(violations: &mut Violations, id: &str) -> Uuid {
    let id = Uuid::try_parse(id).unwrap_or_default();
    if id.is_nil() {
        violations.note("backfill_id", "expected the id of a backfill, a UUID");
    }
    id
}

#[tonic::async_trait]
impl ScheduleService for Schedules {
    async fn list_schedules(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let (_, extensions, mut request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let limit = violations.page_size(request.page_size);
        violations.workflow_name(&request.workflow);
        let missed_since = violations.time("missed_since", request.missed_since);
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let arguments = request.encode_to_vec();
        let after = pages::cursor(&token, &arguments).unwrap_or_else(|expected| {
            violations.note("page_token", expected);
            None
        });
        violations.or(())?;
        let workflow = Some(request.workflow).filter(|name| !name.is_empty());
        let after = after.and_then(|name| String::from_utf8(name).ok());
        let granted = access.granted();
        let filter = ListSchedules { name: None, workflow, granted, missed_since, after, limit: limit + 1 };
        let rows = self.engine.store().schedules(filter).await;
        let rows = rows.map_err(|error| status::from_engine(EngineError::Store(error)))?;
        let now = self.clock.now();
        let show = |row| shown::schedule(row, self.engine.workflows(), now, LISTED_TIMES);
        let mut schedules: Vec<v1::Schedule> = rows.into_iter().map(show).collect();
        let is_cut = pages::cut(&mut schedules, limit as usize);
        let last = schedules.last().filter(|_| is_cut);
        let next_page_token = last.map_or_else(String::new, |last| pages::token(last.schedule.as_bytes(), &arguments));
        Ok(Response::new(v1::ListSchedulesResponse { schedules, next_page_token }))
    }

    async fn get_schedule(&self, request: Request<v1::GetScheduleRequest>) -> Result<Response<v1::Schedule>, Status> {
        let (_, extensions, v1::GetScheduleRequest { schedule: name, .. }) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        violations.schedule_name(&name);
        violations.or(())?;
        granted::schedule(&self.engine, &access, &name).await?;
        let row = self.engine.schedule(&name).await.map_err(status::from_engine)?;
        Ok(Response::new(self.show(row)))
    }

    async fn create_schedule(
        &self,
        request: Request<v1::CreateScheduleRequest>,
    ) -> Result<Response<v1::Schedule>, Status> {
        let (metadata, extensions, mut request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let request_id = std::mem::take(&mut request.request_id);
        let asked = violations.asked(&metadata, &access, &request.reason, &request_id, &request);
        granted::workflow(&access, request.schedule.as_ref().map_or("", |schedule| &schedule.workflow))?;
        if let Some(row) = self.answered("CreateSchedule", &asked).await? {
            return Ok(Response::new(row));
        }
        let schedule = self.read(request.schedule.unwrap_or_default(), violations)?;
        if request.validate_only {
            return self.validated(schedule, None);
        }
        self.steer(|engine| async move { engine.create_schedule(schedule, asked).await }).await
    }

    async fn update_schedule(
        &self,
        request: Request<v1::UpdateScheduleRequest>,
    ) -> Result<Response<v1::Schedule>, Status> {
        let (metadata, extensions, mut request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let request_id = std::mem::take(&mut request.request_id);
        let asked = violations.asked(&metadata, &access, &request.reason, &request_id, &request);
        let mask = Mask::read(request.update_mask, &mut violations);
        let given = request.schedule.unwrap_or_default();
        let said = generation(&mut violations, "schedule.etag", &given.etag);
        violations.schedule_name(&given.schedule);
        violations.or(())?;
        granted::schedule(&self.engine, &access, &given.schedule).await?;
        if let Some(row) = self.answered("UpdateSchedule", &asked).await? {
            return Ok(Response::new(row));
        }
        let stored = self.engine.schedule(&given.schedule).await.map_err(status::from_engine)?;
        // What the mask leaves alone is what was just read: that must still be so.
        let generation = said.unwrap_or(stored.generation);
        let input = stored.schedule.input.clone();
        let keeps_input = !mask.has("input");
        let whole = mask.apply(given, self.show(stored.clone()));
        granted::workflow(&access, &stored.schedule.workflow)?;
        granted::workflow(&access, &whole.workflow)?;
        let mut schedule = self.read(whole, Violations::default())?;
        if keeps_input {
            // What is shown leaves out what is marked as secret.
            schedule.input = input;
        }
        if request.validate_only {
            return self.validated(schedule, Some(stored));
        }
        self.steer(move |engine| async move { engine.update_schedule(schedule, Some(generation), asked).await }).await
    }

    async fn delete_schedule(&self, request: Request<v1::DeleteScheduleRequest>) -> Result<Response<()>, Status> {
        let (mut violations, asked, request) = changing!(self, request);
        let generation = generation(&mut violations, "etag", &request.etag);
        violations.or(())?;
        let engine = self.engine.clone();
        run_service::to_the_end(async move { engine.delete_schedule(request.schedule, generation, asked).await })
            .await?;
        Ok(Response::new(()))
    }

    async fn pause_schedule(
        &self,
        request: Request<v1::PauseScheduleRequest>,
    ) -> Result<Response<v1::Schedule>, Status> {
        let (violations, asked, request) = changing!(self, request);
        violations.or(())?;
        self.steer(|engine| async move { engine.pause_schedule(request.schedule, asked).await }).await
    }

    async fn resume_schedule(
        &self,
        request: Request<v1::ResumeScheduleRequest>,
    ) -> Result<Response<v1::Schedule>, Status> {
        let (violations, asked, request) = changing!(self, request);
        violations.or(())?;
        self.steer(|engine| async move { engine.resume_schedule(request.schedule, asked).await }).await
    }

    async fn trigger_schedule(
        &self,
        request: Request<v1::TriggerScheduleRequest>,
    ) -> Result<Response<v1::TriggerScheduleResponse>, Status> {
        let (mut violations, asked, request) = changing!(self, request);
        let overlap = violations.overlap("overlap_limit", request.overlap(), request.overlap_limit);
        violations.or(())?;
        let engine = self.engine.clone();
        let triggered =
            run_service::to_the_end(async move { engine.trigger_schedule(request.schedule, overlap, asked).await })
                .await?;
        Ok(Response::new(v1::TriggerScheduleResponse {
            outcome: triggered.outcome.map_or(v1::TickOutcome::Unspecified, shown::outcome).into(),
            run_id: triggered.run.map(|run| run.to_string()).unwrap_or_default(),
        }))
    }

    async fn backfill_schedule(
        &self,
        request: Request<v1::BackfillScheduleRequest>,
    ) -> Result<Response<v1::Backfill>, Status> {
        let (mut violations, asked, request) = changing!(self, request);
        let mut required = |field, value| {
            let read = violations.time(field, value);
            if value.is_none() {
                violations.note(field, "expected a time");
            }
            read.unwrap_or_default()
        };
        let from = required("start_time", request.start_time);
        let until = required("end_time", request.end_time);
        let at_once = violations.count("max_at_once", request.max_at_once).max(1);
        let per_minute = violations.count("max_per_minute", request.max_per_minute);
        violations.or(())?;
        let (engine, name) = (self.engine.clone(), request.schedule);
        let backfill = Backfill { from, until, at_once, per_minute };
        let row = if request.validate_only {
            engine.plan_backfill(&name, &backfill).await.map_err(status::from_engine)?
        } else {
            run_service::to_the_end(async move { engine.backfill_schedule(name, backfill, asked).await }).await?
        };
        Ok(Response::new(shown::backfill(&row)))
    }

    async fn cancel_backfill(
        &self,
        request: Request<v1::CancelBackfillRequest>,
    ) -> Result<Response<v1::Backfill>, Status> {
        let (mut violations, asked, request) = changing!(self, request);
        let id = backfill_id(&mut violations, &request.backfill_id);
        violations.or(())?;
        let engine = self.engine.clone();
        let row =
            run_service::to_the_end(async move { engine.cancel_backfill(request.schedule, id, asked).await }).await?;
        Ok(Response::new(shown::backfill(&row)))
    }

    async fn get_backfill(&self, request: Request<v1::GetBackfillRequest>) -> Result<Response<v1::Backfill>, Status> {
        let (_, extensions, request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        violations.schedule_name(&request.schedule);
        let id = backfill_id(&mut violations, &request.backfill_id);
        violations.or(())?;
        granted::schedule(&self.engine, &access, &request.schedule).await?;
        let row = self.engine.schedule(&request.schedule).await.map_err(status::from_engine)?;
        let found = self.backfills(row.uid).await?.into_iter().find(|backfill| backfill.id == id);
        let unknown = || status::from_engine(ScheduleRefusal::NoBackfill(id).into());
        Ok(Response::new(shown::backfill(&found.ok_or_else(unknown)?)))
    }

    async fn list_backfills(
        &self,
        request: Request<v1::ListBackfillsRequest>,
    ) -> Result<Response<v1::ListBackfillsResponse>, Status> {
        let (_, extensions, mut request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        violations.schedule_name(&request.schedule);
        let limit = violations.page_size(request.page_size) as usize;
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let arguments = request.encode_to_vec();
        let last = match pages::cursor(&token, &arguments) {
            Ok(cursor) => cursor.and_then(|cursor| Uuid::from_slice(&cursor).ok()),
            Err(expected) => {
                violations.note("page_token", expected);
                None
            }
        };
        violations.or(())?;
        granted::schedule(&self.engine, &access, &request.schedule).await?;
        let row = self.engine.schedule(&request.schedule).await.map_err(status::from_engine)?;
        let all = self.backfills(row.uid).await?;
        let read = last.and_then(|last| all.iter().position(|backfill| backfill.id == last)).map_or(0, |at| at + 1);
        let page = &all[read..all.len().min(read + limit)];
        let next_page_token = match page.last() {
            Some(last) if read + page.len() < all.len() => pages::token(last.id.as_bytes(), &arguments),
            _ => String::new(),
        };
        let backfills = page.iter().map(shown::backfill).collect();
        Ok(Response::new(v1::ListBackfillsResponse { backfills, next_page_token }))
    }

    async fn preview_schedule(
        &self,
        request: Request<v1::PreviewScheduleRequest>,
    ) -> Result<Response<v1::PreviewScheduleResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let from = violations.time("start_time", request.start_time);
        let until = violations.time("end_time", request.end_time);
        let most = violations.bounded("max_times", request.max_times, 10, MAX_PREVIEW) as usize;
        if request.spec.is_some() != request.schedule.is_empty() {
            violations.note("spec", "expected the name of a schedule, or a spec");
        }
        let spec = request.spec.map(|spec| violations.spec("spec", spec));
        violations.or(())?;
        if spec.is_none() {
            granted::schedule(&self.engine, &access, &request.schedule).await?;
        }
        let spec = match spec {
            Some(spec) => spec,
            None => self.engine.schedule(&request.schedule).await.map_err(status::from_engine)?.schedule.spec,
        };
        let timetable = Timetable::new(spec).map_err(|error| {
            let mut violations = Violations::default();
            violations.note("spec", error.to_string());
            violations.or(()).err().unwrap_or_else(status::lost)
        })?;
        let from = from.unwrap_or_else(|| self.clock.now());
        Ok(Response::new(shown::preview(&timetable, from, until, most)))
    }

    async fn list_ticks(
        &self,
        request: Request<v1::ListTicksRequest>,
    ) -> Result<Response<v1::ListTicksResponse>, Status> {
        let (_, extensions, mut request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        violations.schedule_name(&request.schedule);
        let limit = violations.page_size(request.page_size);
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let arguments = request.encode_to_vec();
        let before = match pages::cursor(&token, &arguments) {
            Ok(cursor) => cursor.and_then(|cursor| cursor.try_into().ok()).map(u64::from_be_bytes),
            Err(expected) => {
                violations.note("page_token", expected);
                None
            }
        };
        violations.or(())?;
        granted::schedule(&self.engine, &access, &request.schedule).await?;
        let rows = self.engine.ticks(&request.schedule, before, limit + 1).await.map_err(status::from_engine)?;
        let mut ticks: Vec<v1::Tick> = rows.into_iter().map(shown::tick).collect();
        let is_cut = pages::cut(&mut ticks, limit as usize);
        let next_page_token = match ticks.last() {
            Some(last) if is_cut => pages::token(&last.tick_number.to_be_bytes(), &arguments),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListTicksResponse { ticks, next_page_token }))
    }
}

impl Schedules {
    /// The answer to the same request, made before.
    async fn answered(&self, method: &'static str, asked: &Requester) -> Result<Option<v1::Schedule>, Status> {
        let row = self.engine.answered_schedule(method, asked).await.map_err(status::from_engine)?;
        Ok(row.map(|row| self.show(row)))
    }

    async fn backfills(&self, schedule: Uuid) -> Result<Vec<engine::store::BackfillRow>, Status> {
        let rows = self.engine.store().backfills(schedule).await;
        rows.map_err(|error| status::from_engine(EngineError::Store(error)))
    }
}
