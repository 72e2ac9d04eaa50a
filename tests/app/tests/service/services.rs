//! The services that are called: the admin API, the command line and health say how they are doing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use engine::Level;
use futures_util::StreamExt;
use serde_json::Value;
use server::command_line::Exit;
use server::proto::orchestrator::admin::v1::method_policy::Repeats;
use server::proto::orchestrator::admin::v1::service::{BreakerState, ConnectionState};
use server::proto::orchestrator::admin::v1::{
    GetRunRequest, GetServiceRequest, ListServicesRequest, RunState, Service,
};
use test_app::users::Users;
use tokio::net::{TcpSocket, TcpStream};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use transport::policy::ServicePolicy;
use transport::{self, BreakerConfig, RateLimit, ServiceConfig};

use crate::support::{World, start};

const POLICY: &str = r#"{"methodConfig": [{"name": [{}], "timeout": "2s", "retryPolicy": {
    "maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"]
}}], "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.5}}"#;

fn config(name: &str, address: SocketAddr) -> ServiceConfig {
    ServiceConfig {
        name: name.to_owned(),
        prefixes: vec![format!("acme.{name}.v1")],
        address: format!("http://{address}"),
        policy: ServicePolicy::parse(POLICY).unwrap(),
        rate: Some(RateLimit { per_second: 500.0, burst: 50 }),
        breaker: BreakerConfig {
            pause: Duration::from_millis(50),
            max_pause: Duration::from_millis(100),
            probes: 1,
            slow_start: Duration::from_millis(100),
            ..BreakerConfig::default()
        },
        ..ServiceConfig::default()
    }
}

/// Where no call goes.
const UNUSED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A socket that refuses connections and keeps its address for us until it is dropped.
fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn world(addresses: &[(&str, SocketAddr)]) -> World {
    let configs = addresses.iter().map(|(name, address)| config(name, *address));
    World::over(transport::Services::new(&test_app::contracts::CONTRACTS, configs).unwrap()).await
}

async fn shown(world: &World, name: &str) -> Service {
    let request = GetServiceRequest { service: name.to_owned() };
    world.services().await.get_service(request).await.unwrap().into_inner()
}

/// Looks until the service is as it is wanted.
async fn until(world: &World, wanted: impl Fn(&Service) -> bool) -> Service {
    for _ in 0..1_000 {
        let service = shown(world, "users").await;
        if wanted(&service) {
            return service;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", shown(world, "users").await)
}

/// Listens on the socket, and connects who comes there with the other address.
fn bridge(from: TcpSocket, to: SocketAddr) {
    let listener = from.listen(16).unwrap();
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut there = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_down_is_shown_with_the_runs_that_wait_and_is_used_again_when_it_is_back() {
    let (socket, address) = refusing();
    let world = world(&[("users", address)]).await;
    let untried = shown(&world, "users").await;
    assert_eq!(untried.breaker_state(), BreakerState::Untried);
    assert_eq!((untried.connection_state(), untried.down_time), (ConnectionState::Idle, None));

    let mut runs = world.runs().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(runs.start_run(start("test.greet", 0)).await.unwrap().into_inner().run_id);
    }
    let down = until(&world, |service| service.waiting_runs == 3 && service.down_time.is_some()).await;
    assert!(matches!(down.breaker_state(), BreakerState::Open | BreakerState::HalfOpen));
    assert_eq!((down.connection_state(), down.waiting_calls), (ConnectionState::TransientFailure, 3));
    let error = down.last_error.unwrap();
    assert_eq!(error.code, Code::Unavailable as i32);
    assert!(error.message.contains("cannot connect to"), "{}", error.message);
    assert!(down.last_error_time.is_some() && down.attempts_per_second > 0.0 && down.failures_per_second > 0.0);

    let get = |id: &str| GetRunRequest { run_id: id.to_owned(), ..GetRunRequest::default() };
    let run = runs.get_run(get(&ids[0])).await.unwrap().into_inner();
    assert_eq!((run.state(), run.steps.len()), (RunState::BackingOff, 0));
    assert!(run.reason.starts_with("SERVICE_DOWN: users is not called since 20"), "{}", run.reason);
    let (exit, out, _) = world.command(&["services", "list"]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("TRANSIENT_FAILURE") && out.contains("UNAVAILABLE: users"), "{out}");

    bridge(socket, Users::default().serve().await.unwrap());
    for id in &ids {
        // It has no such user, which is an answer.
        let mut watch = runs
            .watch_run(server::proto::orchestrator::admin::v1::WatchRunRequest {
                run_id: id.clone(),
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner();
        let mut last = None;
        while let Some(run) = watch.next().await {
            last = Some(run.unwrap());
        }
        let last = last.unwrap();
        assert_eq!(last.error.map(|error| error.code), Some(Code::NotFound as i32));
        assert_eq!(last.steps[0].attempts, 1);
    }
    let back = until(&world, |service| service.breaker_state() == BreakerState::Closed).await;
    assert_eq!((back.connection_state(), back.down_time), (ConnectionState::Ready, None));
    assert_eq!((back.waiting_calls, back.waiting_runs, back.in_flight), (0, 0, 0));
}

#[tokio::test]
async fn the_policy_of_each_method_is_shown_and_what_is_unknown_is_not_found() {
    let world = world(&[("users", UNUSED), ("ai", UNUSED)]).await;
    let users = shown(&world, "users").await;
    assert_eq!(
        (users.packages.as_slice(), users.max_calls_per_second),
        (["acme.users.v1".to_owned()].as_slice(), 500.0)
    );
    assert_eq!((users.burst, users.max_in_flight), (50, 1_024));
    assert_eq!((users.retry_tokens, users.max_retry_tokens), (Some(10.0), Some(10.0)));
    let get_user = users.methods.iter().find(|method| method.method.ends_with("/GetUser")).unwrap();
    assert_eq!((get_user.level.as_str(), get_user.repeats()), ("NO_SIDE_EFFECTS", Repeats::All));
    assert_eq!((get_user.timeout.unwrap().seconds, get_user.max_timeout.unwrap().seconds), (2, 2));
    assert_eq!((get_user.max_request_bytes, get_user.max_response_bytes), (4 << 20, 4 << 20));
    let retry = get_user.retry_policy.as_ref().unwrap();
    assert_eq!(
        (retry.max_attempts, retry.retryable_status_codes.as_slice()),
        (3, ["UNAVAILABLE".to_owned()].as_slice())
    );
    assert!(users.methods.iter().all(|method| method.method.starts_with("/acme.users.v1.UserService/")));
    let write_text = &shown(&world, "ai").await.methods;
    assert!(write_text.iter().any(|method| method.level == "UNKNOWN" && method.repeats() == Repeats::Unsent));

    assert!(write_text.iter().all(|method| !method.level_configured && method.dedupe_horizon.is_none()));

    let get = |name: &str| GetServiceRequest { service: name.to_owned() };
    let mut client = world.services().await;
    assert_eq!(client.get_service(get("journal")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.get_service(get(&"x".repeat(201))).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_level_that_is_configured_is_shown_as_such() {
    let day = Level::Keyed { horizon: Duration::from_hours(24) };
    let levels = [("/acme.ai.v1.AiService/WriteText", day)].into();
    let config = ServiceConfig { levels, ..config("ai", UNUSED) };
    let world = World::over(transport::Services::new(&test_app::contracts::CONTRACTS, [config]).unwrap()).await;
    let ai = shown(&world, "ai").await;
    let write_text = ai.methods.iter().find(|method| method.method.ends_with("/WriteText")).unwrap();
    assert_eq!((write_text.level.as_str(), write_text.level_configured), ("KEYED", true));
    assert_eq!((write_text.repeats(), write_text.dedupe_horizon.unwrap().seconds), (Repeats::Harmless, 86_400));
    let (_, out, _) = world.command(&["services", "show", "ai"]).await;
    assert!(out.contains("KEYED 24h (configured)") && !out.contains("NO_SIDE_EFFECTS (configured)"), "{out}");
}

#[tokio::test]
async fn services_are_listed_by_name_page_by_page() {
    let addresses = [("users", UNUSED), ("ai", UNUSED), ("journal", UNUSED)];
    let world = world(&addresses).await;
    let mut client = world.services().await;
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client.list_services(ListServicesRequest { page_size: 2, page_token }).await.unwrap().into_inner();
        assert!(page.services.iter().all(|service| service.methods.is_empty()));
        names.push(page.services.into_iter().map(|service| service.service).collect::<Vec<_>>());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, [vec!["ai", "journal"], vec!["users"]]);
    let foreign = ListServicesRequest { page_size: -1, page_token: String::from("xyz") };
    assert_eq!(client.list_services(foreign).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_command_line_shows_tables_and_json() {
    let world = world(&[("users", UNUSED)]).await;
    let (exit, out, talk) = world.command(&["services", "list"]).await;
    assert_eq!((exit, talk.as_str()), (Exit::Ok, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("SERVICE  ADDRESS") && lines[0].ends_with("LAST ERROR"), "{out}");
    assert!(lines[1].starts_with("users    http://127.0.0.1:") && lines[1].contains("UNTRIED"), "{out}");

    let (exit, out, _) = world.command(&["services", "show", "users"]).await;
    assert_eq!(exit, Exit::Ok);
    for part in [
        "Breaker    UNTRIED",
        "Rate       at most 500.0 a second, 50 at the same time",
        "Retries    10.0 of 10.0 tokens left",
        "/acme.users.v1.UserService/GetUser",
        "3 attempts, 100ms to 1s, UNAVAILABLE",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    let (exit, out, _) = world.command(&["services", "show", "users", "--output", "json"]).await;
    assert_eq!(exit, Exit::Ok);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((json["service"].as_str(), json["breakerState"].as_str()), (Some("users"), Some("UNTRIED")));
    assert_eq!(world.command(&["services", "show", "nobody"]).await.0, Exit::Usage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_of_each_service_and_stays_ready_while_one_is_down() {
    let (socket, address) = refusing();
    let world = world(&[("users", address)]).await;
    let mut client = HealthClient::new(World::channel(&world.health).await);
    let asked = |name: &str| HealthCheckRequest { service: name.to_owned() };
    let mut watch = client.watch(asked("service/users")).await.unwrap().into_inner();
    let mut seen = async |wanted| loop {
        if watch.next().await.unwrap().unwrap().status() == wanted {
            break;
        }
    };
    seen(ServingStatus::Unknown).await;
    world.runs().await.start_run(start("test.greet", 0)).await.unwrap();
    seen(ServingStatus::NotServing).await;
    let mut check = async |name: &str| client.check(asked(name)).await.map(|answer| answer.into_inner().status());
    assert_eq!(check("service/users").await.unwrap(), ServingStatus::NotServing);
    for name in ["", "readiness", "liveness"] {
        assert_eq!(check(name).await.unwrap(), ServingStatus::Serving, "{name:?}");
    }
    assert_eq!(check("service/ai").await.unwrap_err().code(), Code::NotFound);

    bridge(socket, Users::default().serve().await.unwrap());
    seen(ServingStatus::Serving).await;
}
