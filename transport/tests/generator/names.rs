//! Names of contracts that would be one name in Rust, and names that the generator makes up.

use engine::rpc::Rpc;
use prost::Message;
use prost_reflect::DescriptorPool;
use test_contracts::CONTRACTS;
use test_contracts::LookRequest;
use test_contracts::acme::depot::v1::{Box, r#box};
use test_contracts::acme::names::v1 as names;
use test_contracts::acme::rounds::v1::{FollowRoundCollected, FollowRoundRequest};
use test_contracts::fixture::functions::v1 as functions;
use test_contracts::fixture::merged::{Outer, outer};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(CONTRACTS.descriptors).unwrap()
}

fn path<R: Rpc>() -> &'static str {
    R::METHOD.path
}

#[test]
fn what_is_nested_in_a_message_and_a_package_of_its_name_share_a_module() {
    let boxed = Box { content: Some(r#box::Content::Size(r#box::Size { width: 3 })) };
    assert_eq!(Box::decode(boxed.encode_to_vec().as_slice()).unwrap(), boxed);

    let inner = outer::Inner {
        colour: outer::inner::Colour::Unspecified.into(),
        kind: Some(outer::inner::Kind::Leaf(outer::inner::Leaf { name: String::from("l") })),
    };
    let branch = outer::Branch { name: String::from("b") };
    let all = Outer { inner: Some(inner), branch: Some(branch), hidden: String::from("Secret") };
    assert_eq!(Outer::decode(all.encode_to_vec().as_slice()).unwrap(), all);
    assert!(!format!("{all:?}").contains("Secret"));
}

#[test]
fn a_file_of_the_name_of_a_made_up_one_keeps_its_place_and_all_descriptors_are_readable() {
    assert_eq!(path::<FollowRoundRequest>(), "/acme.rounds.v1.RoundService/FollowRound");
    let collected = FollowRoundCollected { responses: Vec::new() };
    assert!(collected.encode_to_vec().is_empty());
    let pool = pool();
    assert!(pool.get_message_by_name("acme.rounds.v1.FollowRoundCollected").is_some());
    let written = pool.get_file_by_name("acme/rounds/v1/collected.proto").unwrap();
    assert!(written.services().next().is_some(), "the file that a person wrote");
}

#[test]
fn made_up_types_take_names_that_nothing_else_has() {
    let thing = names::Thing { name: String::from("t"), ..Default::default() };
    assert_eq!(names::NameServiceOpenCall(thing.clone()).into_request(), thing);
    assert_eq!(path::<names::NameServiceOpenCall>(), "/acme.names.v1.NameService/Open");
    assert_eq!(path::<names::CloseCall>(), "/acme.names.v1.NameService/Close");
    assert_eq!(path::<names::WatchCall>(), "/acme.names.v1.NameService/Watch");
    let collected = names::NameServiceWatchCollected { responses: vec![thing] };
    assert!(!collected.encode_to_vec().is_empty());
    // Those of the contract are as they were.
    assert_eq!(names::OpenCall::Unspecified as i32, names::WatchCollected::Unspecified as i32);

    assert_eq!(path::<functions::CrowdMeetCall2>(), "/fixture.functions.v1.Crowd/Meet");
    assert_eq!(path::<functions::GreetCall>(), "/fixture.functions.v1.Crowd/Greet");
    assert!(functions::CrowdGreetCollected { responses: Vec::new() }.encode_to_vec().is_empty());
}

#[test]
fn every_made_up_message_is_among_the_descriptors_under_its_name() {
    let pool = pool();
    for entry in CONTRACTS.methods() {
        let Some(collected) = entry.collected else { continue };
        assert!(pool.get_message_by_name(collected).is_some(), "{collected} of {}", entry.method.path);
    }
}

#[test]
fn methods_may_have_the_names_of_functions_of_every_client() {
    let paths: Vec<&str> = CONTRACTS.methods().map(|entry| entry.method.path).collect();
    for method in ["New", "WithInterceptor", "SendCompressed", "Connect", "GetHTTP", "GetHttp", "Self", "Clone"] {
        let path = format!("/fixture.functions.v1.ClientService/{method}");
        assert_eq!(paths.iter().filter(|known| **known == path).count(), 1, "{path}");
    }
    // Each has a function of its own in the client.
    use functions::client_service_client::ClientServiceClient;
    async fn call_each(mut client: ClientServiceClient<transport::channel::Direct>) -> Result<(), tonic::Status> {
        client.new_(functions::NewRequest {}).await?;
        client.get_http(functions::GetHttpRequest {}).await?;
        client.get_http_(functions::GetRequest {}).await?;
        Ok(())
    }
    let client = ClientServiceClient::new(transport::channel::connect("http://127.0.0.1:1").unwrap());
    drop(call_each(client));
}

#[test]
fn packages_may_have_the_names_of_crates_and_of_our_modules() {
    let paths: Vec<&str> = CONTRACTS.methods().map(|entry| entry.method.path).collect();
    for package in [
        "channel",
        "policy",
        "methods",
        "transport",
        "telemetry",
        "codec",
        "clients",
        "engine",
        "std",
        "core",
        "alloc",
        "prost",
        "tonic",
        "crate",
        "self",
        "server",
        "stack",
        "generated",
        "bytes",
        "http",
        "proto",
    ] {
        assert!(paths.iter().any(|path| path.starts_with(&format!("/{package}.v1."))), "{package}");
    }
    use test_contracts::policy::v1::CheckPolicyRequest;
    use test_contracts::std::v1::CheckStdRequest;
    assert_eq!(path::<CheckPolicyRequest>(), "/policy.v1.PolicyService/CheckPolicy");
    assert_eq!(format!("{:?}", CheckStdRequest::default()), "CheckStdRequest { text: [redacted], more: {} }");
    assert_eq!(path::<test_contracts::crate_::v1::CheckCrateRequest>(), "/crate.v1.CrateService/CheckCrate");
}

#[test]
fn a_service_may_have_no_package_and_a_package_no_version() {
    assert_eq!(path::<LookRequest>(), "/LarderService/Look");
    assert_eq!(path::<test_contracts::pantry::PeekRequest>(), "/pantry.PantryService/Peek");
    assert_eq!(path::<test_contracts::acme::cellar::v1::CoolRequest>(), "/Acme.Cellar.V1.CellarService/Cool");
}
