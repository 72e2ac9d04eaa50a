//! `orchestrator.admin.v1.WorkflowService`.

use crate::proto::orchestrator::admin::v1::workflow_service_server::WorkflowService;
use crate::proto::orchestrator::admin::v1::{
    GetWorkflowRequest, ListWorkflowsRequest, ListWorkflowsResponse, Workflow,
};
use engine::engine::{Engine, EngineError};
use engine::store::{ListSchedules, ScheduleRow};
use engine::time::Clock;
use tonic::{Request, Response, Status};

use super::requests::Violations;
use super::{granted, messages, pages, status};
use crate::descriptors;

/// Schedules that are shown with their workflows, at most.
const SCHEDULES: u32 = 10_000;

pub(super) struct Workflows {
    engine: Engine,
    clock: Clock,
}

impl Workflows {
    pub(super) fn new(engine: Engine, clock: Clock) -> Self {
        Self { engine, clock }
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, Status> {
        let all = ListSchedules { limit: SCHEDULES, ..ListSchedules::default() };
        self.engine.store().schedules(all).await.map_err(|error| status::from_engine(EngineError::Store(error)))
    }
}

#[tonic::async_trait]
impl WorkflowService for Workflows {
    async fn list_workflows(
        &self,
        request: Request<ListWorkflowsRequest>,
    ) -> Result<Response<ListWorkflowsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let page_size = violations.page_size(request.page_size) as usize;
        let after = pages::cursor(&request.page_token, b"workflows").unwrap_or_else(|expected| {
            violations.note("page_token", expected);
            None
        });
        let after = violations.or(after)?.unwrap_or_default();

        let stranded = if after.is_empty() { self.engine.stranded_runs().await } else { Ok(Vec::new()) };
        let stranded = stranded.map_err(status::from_engine)?;
        let schedules = self.schedules().await?;
        let now = self.clock.wall();
        let definitions = self.engine.workflows().iter().filter(|known| known.name.as_bytes() > after.as_slice());
        let definitions = definitions.filter(|known| access.sees(known.name));
        let mut workflows: Vec<Workflow> =
            definitions.take(page_size + 1).map(|known| messages::workflow(known, &schedules, now)).collect();
        let is_cut = pages::cut(&mut workflows, page_size);
        let next_page_token = match workflows.last() {
            Some(last) if is_cut => pages::token(last.workflow.as_bytes(), b"workflows"),
            _ => String::new(),
        };
        let stranded = stranded.into_iter().filter(|stranded| access.sees(&stranded.workflow));
        let stranded_runs = stranded.map(messages::stranded_runs).collect();
        Ok(Response::new(ListWorkflowsResponse { workflows, next_page_token, stranded_runs }))
    }

    async fn get_workflow(&self, request: Request<GetWorkflowRequest>) -> Result<Response<Workflow>, Status> {
        let (_, extensions, GetWorkflowRequest { workflow: name, .. }) = request.into_parts();
        let mut violations = Violations::default();
        violations.workflow_name(&name);
        violations.or(())?;
        granted::workflow(&granted::of(&extensions)?, &name)?;
        let definition = self.engine.workflows().get(&name).ok_or_else(|| status::unknown_workflow(&name))?;
        let mut workflow = messages::workflow(definition, &self.schedules().await?, self.clock.wall());
        let signals: Vec<String> = definition.signals.iter().map(|signal| signal.type_name()).collect();
        let types = [&definition.input_type, &definition.output_type].into_iter().chain(&signals);
        workflow.descriptors = Some(descriptors::files_of(&types.map(String::as_str).collect::<Vec<_>>()));
        Ok(Response::new(workflow))
    }
}
