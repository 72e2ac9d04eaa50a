//! A service to test: workflows, a transport that answers from a closure, and clients.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::store::sqlite::Sqlite;
use engine::store::{NewRun, Status};
use engine::time::Clock;
use engine::transport::{Attempt, Outcome, Reservation, Reserved, Reserving, Transport};
use engine::{Code, Failure, Safeguards, State};
use futures_util::future::BoxFuture;
use prost::Message;
use server::command_line::{self, Exit, Terminal};
use server::configuration::{Configuration, Own, Schedule, Schedules};
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::service_service_client::ServiceServiceClient;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use server::proto::orchestrator::admin::v1::workflow_service_client::WorkflowServiceClient;
use server::proto::orchestrator::admin::v1::{GetRunRequest, Run, StartRunRequest};
use server::serve::{Assembly, Listeners, Probes, Running};
use test_app::contracts::acme::users::v1::{GetUserResponse, User};
use tonic::transport::Channel;
use uuid::Uuid;

type Answer = dyn Fn(&str, &Attempt) -> Outcome + Send + Sync;

/// Every service at the same time: answers each call from a closure.
#[derive(Clone)]
pub(crate) struct Services(Arc<Answer>);

impl Services {
    pub(crate) fn new(answer: impl Fn(&str, &Attempt) -> Outcome + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    /// What these answer.
    pub(crate) fn answer(&self, path: &str, attempt: &Attempt) -> Outcome {
        (self.0)(path, attempt)
    }

    /// Services where all goes well.
    pub(crate) fn good() -> Self {
        Self::new(|path, _| {
            let user =
                User { user_id: String::from("u1"), email: String::from("ada@example.org"), name: String::from("Ada") };
            match path {
                "/acme.users.v1.UserService/GetUser" => done(&GetUserResponse { user: Some(user) }),
                _ => Outcome::Done(Bytes::new()),
            }
        })
    }

    /// Services that refuse every effect.
    pub(crate) fn refusing() -> Self {
        let good = Self::good();
        Self::new(move |path, attempt| match attempt.key {
            None => good.0(path, attempt),
            Some(_) => Outcome::Refused(Failure::new(Code::AlreadyExists, "there is one")),
        })
    }
}

fn done(message: &impl Message) -> Outcome {
    Outcome::Done(message.encode_to_vec().into())
}

impl Transport for Services {
    fn reserve(&self, path: &str, _: Uuid, _: Duration) -> Reserving {
        let right = Right { services: self.clone(), path: path.to_owned() };
        Box::pin(async move { Ok(Reserved::Ready(Box::new(right))) })
    }
}

struct Right {
    services: Services,
    path: String,
}

impl Reservation for Right {
    fn send(self: Box<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        Box::pin(async move { (self.services.0)(&self.path, &attempt) })
    }
}

/// A running service and how to reach it.
pub(crate) struct World {
    pub(crate) running: Running,
    pub(crate) admin: String,
    pub(crate) health: String,
}

impl World {
    pub(crate) async fn start(services: Services) -> Self {
        Self::configured(services, |_| {}).await
    }

    pub(crate) async fn configured(services: Services, change: impl FnOnce(&mut Configuration)) -> Self {
        let none = transport::Services::new(&test_app::contracts::CONTRACTS, []).unwrap();
        Self::assembled(Arc::new(services), Arc::new(none), change).await
    }

    /// A world over the transport that is used in earnest.
    pub(crate) async fn over(services: transport::Services) -> Self {
        let services = Arc::new(services);
        Self::assembled(services.clone(), services, |_| {}).await
    }

    async fn assembled(
        transport: Arc<dyn Transport>,
        services: Arc<transport::Services>,
        change: impl FnOnce(&mut Configuration),
    ) -> Self {
        let mut configuration = Configuration::default();
        configuration.health.listen.set_port(0);
        configuration.health.interval = Duration::from_millis(20);
        configuration.admin.listen.set_port(0);
        configuration.drain.grace = Duration::from_secs(1);
        let hourly =
            Schedule { workflow: String::from("test.greet"), every: Duration::from_secs(3_600), ..Schedule::default() };
        configuration.schedules = Schedules([(String::from("hourly"), hourly)].into());
        change(&mut configuration);

        let workflows = (test_app::APP.workflows)(&Own::default()).unwrap();
        let clock = Clock::system();
        let (health, listeners) = Listeners::bind(&configuration).await.unwrap();
        let probes = Probes::start(health, &configuration.health).unwrap();
        test_app::APP.install().unwrap();
        let running = Running::start(Assembly {
            configuration,
            own: Own::default(),
            probes,
            listeners,
            store: Arc::new(Sqlite::in_memory(clock.clone()).unwrap()),
            safeguards: Safeguards::default(),
            transport,
            services,
            workflows,
            clock,
        })
        .unwrap();
        let admin = format!("http://{}", running.admin_address());
        let health = format!("http://{}", running.health_address());
        Self { running, admin, health }
    }

    pub(crate) async fn channel(address: &str) -> Channel {
        Channel::from_shared(address.to_owned()).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(Self::channel(&self.admin).await)
    }

    pub(crate) async fn workflows(&self) -> WorkflowServiceClient<Channel> {
        WorkflowServiceClient::new(Self::channel(&self.admin).await)
    }

    pub(crate) async fn services(&self) -> ServiceServiceClient<Channel> {
        ServiceServiceClient::new(Self::channel(&self.admin).await)
    }

    /// Starts a run and waits for its end.
    pub(crate) async fn greet(&self) -> Run {
        self.runs().await.start_run(start("test.greet", 10)).await.unwrap().into_inner()
    }

    /// A run that another release left, of this workflow and version.
    pub(crate) async fn leave(&self, workflow: &str, version: u32) -> String {
        let (id, now) = (Uuid::now_v7(), Clock::system().now());
        let status = Status {
            state: State::Pending,
            reason: String::new(),
            ending_as: None,
            wake_at: Some(now),
            awaits: Vec::new(),
            steps: 0,
            error: None,
        };
        let run = NewRun {
            id,
            workflow: workflow.to_owned(),
            workflow_version: version,
            created_at: now,
            deadline: now.after(Duration::from_secs(3_600)),
            origin: None,
            previous_success: None,
            change: None,
            parent: None,
            claimed: false,
            entry: Bytes::new(),
            facts: 0,
            status,
        };
        self.running.engine().writable_store().create(run).await.unwrap();
        id.to_string()
    }

    /// A run with its steps.
    pub(crate) async fn show(&self, run: &str) -> Run {
        let request = GetRunRequest { run_id: run.to_owned(), ..GetRunRequest::default() };
        self.runs().await.get_run(request).await.unwrap().into_inner()
    }

    /// Waits until a run has ended.
    pub(crate) async fn until_ended(&self, run: &str) {
        let id = run.parse().unwrap();
        assert!(self.running.engine().ended(id, Duration::from_secs(10)).await.unwrap().is_some());
    }

    /// Runs the command line against this service; returns exit code, data and talk.
    pub(crate) async fn command(&self, arguments: &[&str]) -> (Exit, String, String) {
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.insert(0, String::from("orchestrator"));
        arguments.extend([String::from("--server"), self.admin.clone()]);
        tokio::task::spawn_blocking(move || command(&arguments)).await.unwrap()
    }
}

/// Runs the command line; returns exit code, data and talk.
pub(crate) fn command(arguments: &[String]) -> (Exit, String, String) {
    let (mut out, mut talk) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, talk: &mut talk };
    let exit = command_line::run(&test_app::APP, arguments.iter().map(Into::into), &mut terminal);
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
}

/// A start with an input, which waits up to so many seconds.
pub(crate) fn start(workflow: &str, wait: i64) -> StartRunRequest {
    StartRunRequest {
        workflow: workflow.to_owned(),
        input_form: Some(InputForm::InputJson(String::from("{\"limit\": 7}"))),
        wait: Some(prost_types::Duration { seconds: wait, nanos: 0 }),
        ..StartRunRequest::default()
    }
}
