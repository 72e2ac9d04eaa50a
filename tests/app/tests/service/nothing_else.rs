//! The listeners serve health, the admin API and reflection, and nothing else.

use bytes::Bytes;
use futures_util::StreamExt;
use test_app::contracts::acme::users::v1::GetUserRequest;
use test_app::contracts::acme::users::v1::user_service_client::UserServiceClient;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{Services, World};

const ADMIN: [&str; 7] = [
    "orchestrator.admin.v1.AuditService",
    "orchestrator.admin.v1.ScheduleService",
    "orchestrator.admin.v1.BulkService",
    "orchestrator.admin.v1.ReplicaService",
    "orchestrator.admin.v1.RunService",
    "orchestrator.admin.v1.WorkflowService",
    "orchestrator.admin.v1.ServiceService",
];
const REFLECTION: [&str; 2] = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
const HEALTH: &str = "grpc.health.v1.Health";

async fn reflected(address: &str) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(World::channel(address).await);
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    names
}

/// What a call to this path is answered with; the body is an empty message.
async fn called(address: &str, path: &str) -> Code {
    let mut client = tonic::client::Grpc::new(World::channel(address).await);
    client.ready().await.unwrap();
    let path = path.parse().unwrap();
    let answer = client.unary(tonic::Request::new(()), path, tonic_prost::ProstCodec::<(), ()>::default()).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn reflection_names_what_is_served_and_nothing_more() {
    let world = World::configured(Services::good(), |configuration| configuration.health.reflection = true).await;
    let mut admin: Vec<&str> = ADMIN.into_iter().chain(REFLECTION).collect();
    admin.sort_unstable();
    assert_eq!(reflected(&world.admin).await, admin);
    let mut health: Vec<&str> = REFLECTION.into_iter().chain([HEALTH]).collect();
    health.sort_unstable();
    assert_eq!(reflected(&world.health).await, health);
}

#[tokio::test]
async fn every_other_method_of_every_contract_is_unimplemented_on_both_listeners() {
    let world = World::start(Services::good()).await;
    for entry in test_app::contracts::CONTRACTS.methods() {
        let method = entry.method;
        assert_eq!(called(&world.health, method.path).await, Code::Unimplemented, "{} on health", method.path);
        if !ADMIN.contains(&method.service) {
            assert_eq!(called(&world.admin, method.path).await, Code::Unimplemented, "{} on admin", method.path);
        }
    }
    for path in ["/grpc.health.v1.Health/Check", "/", "/metrics", "/healthz"] {
        assert_eq!(called(&world.admin, path).await, Code::Unimplemented, "{path} on admin");
    }
    for path in ["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/", "/metrics", "/healthz"] {
        assert_eq!(called(&world.health, path).await, Code::Unimplemented, "{path} on health");
    }
}

#[tokio::test]
async fn a_domain_call_is_unimplemented_for_a_typed_client_too() {
    let world = World::start(Services::good()).await;
    let request = GetUserRequest { user_id: String::from("u1") };
    let status = UserServiceClient::new(World::channel(&world.admin).await).get_user(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn health_turns_serving_and_its_watch_ends_on_a_drain() {
    let world = World::start(Services::good()).await;
    let mut client = HealthClient::new(World::channel(&world.health).await);
    let mut watch = client.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    loop {
        if watch.next().await.unwrap().unwrap().status() == ServingStatus::Serving {
            break;
        }
    }
    for service in ["", "readiness", "liveness"] {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service:?}");
    }
    world.running.drain().await;
    let rest: Vec<_> = watch.filter_map(|answer| async { answer.ok() }).collect().await;
    assert_eq!(rest.last().map(|answer| answer.status()), Some(ServingStatus::NotServing));
}

#[tokio::test]
async fn plain_http_is_not_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start(Services::good()).await;
    for address in [world.running.admin_address(), world.running.health_address()] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!Bytes::from(answer).starts_with(b"HTTP/1.1 2"));
    }
}
