//! A grant of some workflows holds wherever something of a run or a schedule is shown or changed, and for as long as a call
//! lasts.

use std::time::Duration;

use server::access::{Grants, Role, Tokens};
use server::configuration::{Grant, Schedule, StaticToken};
use server::proto::orchestrator::admin::v1::audit_service_client::AuditServiceClient;
use server::proto::orchestrator::admin::v1::bulk_service_client::BulkServiceClient;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::schedule_service_client::ScheduleServiceClient;
use server::proto::orchestrator::admin::v1::workflow_service_client::WorkflowServiceClient;
use server::proto::orchestrator::admin::v1::*;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::access::{grant, static_token};
use crate::support::{Services, World, start};

type Interceptor = Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send>;
type Logged = InterceptedService<Channel, Interceptor>;

const RUN: &str = "orchestrator.admin.v1.RunService";

fn tokens() -> Vec<StaticToken> {
    ["all", "naps", "greets"].map(|name| static_token(name, name)).to_vec()
}

fn granted() -> Vec<Grant> {
    vec![
        grant("token:all", Role::Admin, &[]),
        grant("token:naps", Role::Admin, &["test.nap"]),
        // Two grants: sees more than it steers.
        grant("token:greets", Role::Operator, &["test.gr"]),
        grant("token:greets", Role::Viewer, &["test.nap"]),
    ]
}

async fn world() -> World {
    World::configured(Services::good(), |configuration| {
        configuration.admin.tokens = tokens();
        configuration.admin.grants = granted();
        let naps =
            Schedule { workflow: String::from("test.nap"), every: Duration::from_secs(3_600), ..Schedule::default() };
        configuration.schedules.0.insert(String::from("naps"), naps);
    })
    .await
}

/// Clients of somebody.
struct As {
    channel: Channel,
    token: &'static str,
}

impl As {
    async fn of(world: &World, token: &'static str) -> Self {
        Self { channel: World::channel(&world.admin).await, token }
    }

    fn logged(&self) -> Logged {
        let value: tonic::metadata::MetadataValue<_> = format!("Bearer {}", self.token).parse().unwrap();
        InterceptedService::new(
            self.channel.clone(),
            Box::new(move |mut request: Request<()>| {
                request.metadata_mut().insert("authorization", value.clone());
                Ok(request)
            }) as Interceptor,
        )
    }

    fn runs(&self) -> RunServiceClient<Logged> {
        RunServiceClient::new(self.logged())
    }

    fn schedules(&self) -> ScheduleServiceClient<Logged> {
        ScheduleServiceClient::new(self.logged())
    }

    async fn start(&self, workflow: &str) -> Result<String, Status> {
        let request = StartRunRequest { input_form: None, ..start(workflow, 0) };
        self.runs().start_run(request).await.map(|run| run.into_inner().run_id)
    }

    async fn listed(&self) -> Vec<String> {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListRunsRequest { page_size: 2, page_token, ..ListRunsRequest::default() };
            let page = self.runs().list_runs(request).await.unwrap().into_inner();
            assert!(page.runs.len() <= 2);
            found.extend(page.runs.into_iter().map(|run| run.workflow));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    }
}

fn code<T>(told: Result<T, Status>) -> Code {
    told.err().map_or(Code::Ok, |told| told.code())
}

#[tokio::test]
async fn lists_show_what_is_granted_and_nothing_else() {
    let world = world().await;
    let (all, naps) = (As::of(&world, "all").await, As::of(&world, "naps").await);
    for workflow in ["test.nap", "test.greet", "test.greet", "test.greet", "test.greet", "test.greet", "test.nap"] {
        all.start(workflow).await.unwrap();
    }
    assert_eq!(all.listed().await.len(), 7);
    assert_eq!(naps.listed().await, ["test.nap", "test.nap"]);
    let count = async |of: &As, filter: &str| {
        let request = CountRunsRequest { filter: filter.to_owned() };
        of.runs().count_runs(request).await.unwrap().into_inner().total_count
    };
    assert_eq!((count(&all, "").await, count(&naps, "").await), (7, 2));
    // What is not granted is no part of what a filter takes in.
    assert_eq!(count(&naps, "workflow = test.greet OR NOT workflow = test.greet").await, 2);

    let workflows = WorkflowServiceClient::new(naps.logged()).list_workflows(ListWorkflowsRequest::default()).await;
    let workflows: Vec<String> = workflows.unwrap().into_inner().workflows.into_iter().map(|of| of.workflow).collect();
    assert_eq!(workflows, ["test.nap"]);
    let schedules = naps.schedules().list_schedules(ListSchedulesRequest::default()).await.unwrap().into_inner();
    assert!(schedules.schedules.iter().all(|schedule| schedule.workflow == "test.nap"), "{schedules:?}");
    assert_eq!(schedules.schedules.len(), 1);
    let audit = |of: &As| {
        let mut client = AuditServiceClient::new(of.logged());
        async move {
            let entries = client.list_audit_entries(ListAuditEntriesRequest::default()).await.unwrap().into_inner();
            entries.audit_entries
        }
    };
    assert_eq!(audit(&all).await.len(), 7);
    let entries = audit(&naps).await;
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry.workflow == "test.nap" && entry.caller == "token:all"), "{entries:?}");
    world.running.drain().await;
}

#[tokio::test]
async fn a_run_of_another_workflow_looks_as_one_that_does_not_exist_to_every_method() {
    let world = world().await;
    let (all, naps) = (As::of(&world, "all").await, As::of(&world, "naps").await);
    let greet = all.start("test.greet").await.unwrap();
    let nap = all.start("test.nap").await.unwrap();
    let unknown = Uuid::now_v7().to_string();
    let told = async |of: &As, run: &str| {
        let (run_id, mut runs) = (run.to_owned(), of.runs());
        macro_rules! each {
            ($($method:ident($request:ident { $($field:ident: $value:expr),* })),* $(,)?) => {
                vec![$((stringify!($method), {
                    let request = $request { run_id: run_id.clone(), $($field: $value,)* ..$request::default() };
                    runs.$method(request).await.map(drop).map_err(|told| (told.code(), told.message().to_owned()))
                })),*]
            };
        }
        each![
            get_run(GetRunRequest {}),
            list_steps(ListStepsRequest {}),
            get_step(GetStepRequest { step: String::from("s") }),
            watch_run(WatchRunRequest {}),
            preview_retry(PreviewRetryRequest {}),
            signal_run(SignalRunRequest { signal: String::from("s") }),
            cancel_run(CancelRunRequest {}),
            retry_run(RetryRunRequest {}),
            pause_run(PauseRunRequest {}),
            resume_run(ResumeRunRequest {}),
            skip_back_off(SkipBackOffRequest {}),
            pin_run(PinRunRequest {}),
            unpin_run(UnpinRunRequest {}),
            resolve_step(ResolveStepRequest { step: String::from("s") }),
            terminate_run(TerminateRunRequest {}),
            delete_run(DeleteRunRequest {}),
        ]
    };
    let of_others = told(&naps, &greet).await;
    let methods = server::proto::ROLES.iter().filter(|rule| rule.path.starts_with(&format!("/{RUN}/"))).count();
    assert_eq!(of_others.len() + 3, methods, "StartRun, ListRuns and CountRuns are asked elsewhere, all others here");
    for (method, told) in &of_others {
        let (code, message) = told.clone().unwrap_err();
        assert_eq!(code, Code::PermissionDenied, "{method}: {message}");
    }
    assert_eq!(of_others, told(&naps, &unknown).await);
    for (method, told) in told(&naps, &nap).await {
        assert_ne!(told.map_err(|(code, _)| code), Err(Code::PermissionDenied), "{method}");
    }
    assert_eq!(code(naps.start("test.greet").await), Code::PermissionDenied);
    assert_eq!(code(naps.start("test.nothing").await), Code::PermissionDenied);
    assert_eq!(code(naps.start("test.nap").await), Code::Ok);
    world.running.drain().await;
}

#[tokio::test]
async fn a_role_for_some_workflows_is_not_one_for_others() {
    let world = world().await;
    let (all, greets) = (As::of(&world, "all").await, As::of(&world, "greets").await);
    let nap = all.start("test.nap").await.unwrap();
    let run_id = nap.clone();
    assert_eq!(code(greets.runs().get_run(GetRunRequest { run_id, ..GetRunRequest::default() }).await), Code::Ok);
    let run_id = nap.clone();
    let cancel = greets.runs().cancel_run(CancelRunRequest { run_id, ..CancelRunRequest::default() }).await;
    assert_eq!(code(cancel), Code::PermissionDenied);
    // A repeated deletion of what is gone is still held against the workflow.
    let naps = As::of(&world, "naps").await;
    let of = |run_id: &str| CancelRunRequest { run_id: run_id.to_owned(), ..CancelRunRequest::default() };
    naps.runs().cancel_run(of(&nap)).await.unwrap();
    world.until_ended(&nap).await;
    let delete =
        DeleteRunRequest { run_id: nap, request_id: Uuid::new_v4().to_string(), ..DeleteRunRequest::default() };
    naps.runs().delete_run(delete.clone()).await.unwrap();
    naps.runs().delete_run(delete.clone()).await.unwrap();
    assert_eq!(code(greets.runs().delete_run(delete).await), Code::PermissionDenied);
    world.running.drain().await;
}

#[tokio::test]
async fn schedules_of_other_workflows_can_be_neither_seen_nor_changed_nor_made() {
    let world = world().await;
    let naps = As::of(&world, "naps").await;
    let mut schedules = naps.schedules();
    for schedule in ["hourly", "nothing"] {
        let schedule = schedule.to_owned();
        macro_rules! refused {
            ($($method:ident($request:ident)),* $(,)?) => {
                $(
                    let request = $request { schedule: schedule.clone(), ..$request::default() };
                    assert_eq!(code(schedules.$method(request).await), Code::PermissionDenied, "{}", stringify!($method));
                )*
            };
        }
        refused![
            delete_schedule(DeleteScheduleRequest),
            pause_schedule(PauseScheduleRequest),
            resume_schedule(ResumeScheduleRequest),
            trigger_schedule(TriggerScheduleRequest),
            backfill_schedule(BackfillScheduleRequest),
            list_backfills(ListBackfillsRequest),
            preview_schedule(PreviewScheduleRequest),
            list_ticks(ListTicksRequest),
        ];
        let get = GetScheduleRequest { schedule: schedule.clone() };
        assert_eq!(code(schedules.get_schedule(get).await), Code::PermissionDenied);
        let backfill_id = Uuid::new_v4().to_string();
        let get = GetBackfillRequest { schedule: schedule.clone(), backfill_id: backfill_id.clone() };
        assert_eq!(code(schedules.get_backfill(get).await), Code::PermissionDenied);
        let cancel = CancelBackfillRequest { schedule: schedule.clone(), backfill_id, ..Default::default() };
        assert_eq!(code(schedules.cancel_backfill(cancel).await), Code::PermissionDenied);
        let changed = server::proto::orchestrator::admin::v1::Schedule { schedule, ..Default::default() };
        let update = UpdateScheduleRequest { schedule: Some(changed), ..UpdateScheduleRequest::default() };
        assert_eq!(code(schedules.update_schedule(update).await), Code::PermissionDenied);
    }
    let given = |name: &str, workflow: &str| server::proto::orchestrator::admin::v1::Schedule {
        schedule: name.to_owned(),
        workflow: workflow.to_owned(),
        spec: Some(ScheduleSpec {
            rules: vec![ScheduleRule {
                kind: Some(schedule_rule::Kind::Cron(CronRule {
                    pattern: String::from("0 9 * * *"),
                    ..CronRule::default()
                })),
            }],
            ..ScheduleSpec::default()
        }),
        ..Default::default()
    };
    let create = |workflow| CreateScheduleRequest { schedule: Some(given("own", workflow)), ..Default::default() };
    assert_eq!(code(schedules.create_schedule(create("test.greet")).await), Code::PermissionDenied);
    assert_eq!(code(schedules.create_schedule(create("test.nap")).await), Code::Ok);
    // It cannot be turned into one of another workflow.
    let update = UpdateScheduleRequest { schedule: Some(given("own", "test.greet")), ..Default::default() };
    assert_eq!(code(schedules.update_schedule(update).await), Code::PermissionDenied);
    world.running.drain().await;
}

#[tokio::test]
async fn many_runs_are_steered_only_where_each_may_be_and_only_as_its_own_method_allows() {
    let world = world().await;
    let (all, naps, greets) =
        (As::of(&world, "all").await, As::of(&world, "naps").await, As::of(&world, "greets").await);
    for workflow in ["test.nap", "test.wait", "test.nap"] {
        all.start(workflow).await.unwrap();
    }
    let steered = async |of: &As, action: BulkAction| {
        let states = vec![RunState::Pending, RunState::Running, RunState::Waiting, RunState::Cancelled];
        let request = SteerRunsRequest {
            action: action.into(),
            states: states.into_iter().map(i32::from).collect(),
            validate_only: true,
            ..SteerRunsRequest::default()
        };
        let mut stream = BulkServiceClient::new(of.logged()).steer_runs(request).await?.into_inner();
        let mut found = Vec::new();
        while let Some(answer) = stream.message().await? {
            found.push(answer.workflow);
        }
        Ok::<_, Status>(found)
    };
    assert_eq!(steered(&all, BulkAction::Cancel).await.unwrap().len(), 3);
    assert_eq!(steered(&naps, BulkAction::Cancel).await.unwrap(), ["test.nap", "test.nap"]);
    assert_eq!(steered(&naps, BulkAction::Delete).await.unwrap().len(), 2);
    // Sees naps, and may cancel greetings only; may delete nothing.
    assert_eq!(steered(&greets, BulkAction::Cancel).await.unwrap(), Vec::<String>::new());
    assert_eq!(code(steered(&greets, BulkAction::Delete).await), Code::PermissionDenied);
    assert_eq!(code(steered(&greets, BulkAction::Terminate).await), Code::PermissionDenied);
    world.running.drain().await;
}

#[tokio::test]
async fn a_grant_that_is_taken_back_ends_the_watches_that_it_allowed_and_no_others() {
    let world = world().await;
    let (all, naps, greets) =
        (As::of(&world, "all").await, As::of(&world, "naps").await, As::of(&world, "greets").await);
    let run_id = all.start("test.wait").await.unwrap();
    let nap = all.start("test.nap").await.unwrap();
    let of = |run_id: &str| WatchRunRequest { run_id: run_id.to_owned(), ..WatchRunRequest::default() };
    let mut kept = all.runs().watch_run(of(&run_id)).await.unwrap().into_inner();
    let mut lost = naps.runs().watch_run(of(&nap)).await.unwrap().into_inner();
    let mut unknown = greets.runs().watch_run(of(&nap)).await.unwrap().into_inner();
    for watch in [&mut kept, &mut lost, &mut unknown] {
        assert!(watch.message().await.unwrap().is_some());
    }
    let note = &mut |_, _| panic!("no mistake was expected");
    // One loses its grant, the other its token.
    let fewer = Grants::read(&granted().into_iter().filter(|of| of.who != "token:naps").collect::<Vec<_>>(), note);
    let tokens: Vec<StaticToken> = tokens().into_iter().filter(|token| token.name != "greets").collect();
    assert!(world.running.guard().replace(Tokens::read(&tokens, note), fewer));
    let ended = async |watch: &mut tonic::Streaming<Run>| loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Code::Ok,
            Err(told) => return told.code(),
        }
    };
    assert_eq!(ended(&mut lost).await, Code::PermissionDenied);
    assert_eq!(ended(&mut unknown).await, Code::Unauthenticated);
    assert_eq!(code(naps.start("test.nap").await), Code::PermissionDenied);
    all.runs().cancel_run(CancelRunRequest { run_id, ..CancelRunRequest::default() }).await.unwrap();
    assert_eq!(ended(&mut kept).await, Code::Ok);
    world.running.drain().await;
}

#[tokio::test]
async fn one_principal_cannot_keep_out_another_and_is_told_when_to_come_back() {
    let world = World::configured(Services::good(), |configuration| {
        configuration.admin.tokens = tokens();
        configuration.admin.grants = granted();
        configuration.admin.max_calls_per_principal = 2;
    })
    .await;
    let (all, naps) = (As::of(&world, "all").await, As::of(&world, "naps").await);
    let nap = all.start("test.nap").await.unwrap();
    let request = WatchRunRequest { run_id: nap, ..WatchRunRequest::default() };
    let mut watches = Vec::new();
    for _ in 0..2 {
        watches.push(naps.runs().watch_run(request.clone()).await.unwrap().into_inner());
    }
    let refused = naps.start("test.nap").await.unwrap_err();
    let details = refused.get_error_details();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(details.error_info().unwrap().reason, "PRINCIPAL_LIMIT");
    assert!(details.retry_info().is_some() && details.quota_failure().is_some());
    assert_eq!(code(all.start("test.nap").await), Code::Ok);
    // A watch that its caller leaves makes room.
    watches.pop();
    let since = std::time::Instant::now();
    while code(naps.start("test.nap").await) != Code::Ok {
        assert!(since.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    world.running.drain().await;
}

#[tokio::test]
async fn the_reason_of_a_start_is_in_the_audit_trail_beside_who_started_it() {
    let world = world().await;
    let all = As::of(&world, "all").await;
    let request =
        StartRunRequest { input_form: None, reason: String::from("asked by support"), ..start("test.nap", 0) };
    all.runs().start_run(request.clone()).await.unwrap();
    let entries = AuditServiceClient::new(all.logged()).list_audit_entries(ListAuditEntriesRequest::default()).await;
    let entry = entries.unwrap().into_inner().audit_entries.remove(0);
    assert_eq!((entry.caller.as_str(), entry.reason.as_str()), ("token:all", "asked by support"));
    let long = StartRunRequest { reason: "x".repeat(501), ..request };
    assert_eq!(code(all.runs().start_run(long).await), Code::InvalidArgument);
    world.running.drain().await;
}
