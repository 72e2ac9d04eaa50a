//! `contracts check` with servers whose contracts are ours, or are not any more.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod servers;

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;
use prost_types::method_options::IdempotencyLevel;
use server::command_line::{self, Exit, Terminal};

use servers::{Version, contracts, file, grpcio, method, served};

/// What the command says: its exit, data and talk.
async fn check(arguments: &[&str]) -> (Exit, String, String) {
    let arguments: Vec<String> =
        ["orchestrator", "contracts", "check"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let said = tokio::task::spawn_blocking(move || {
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let mut terminal = Terminal { out: &mut out, talk: &mut talk };
        let exit = command_line::run(&test_app::APP, arguments.into_iter().map(Into::into), &mut terminal);
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
    });
    said.await.unwrap()
}

/// Every kind of difference in the contract of users.
fn changed() -> FileDescriptorSet {
    let mut contracts = contracts();
    let users = file(&mut contracts, "acme/users/v1/users.proto");
    users.service[0].method.retain(|method| method.name() != "GetUser");
    let create = method(users, "CreateUser").options.as_mut().unwrap();
    create.set_idempotency_level(IdempotencyLevel::IdempotencyUnknown);
    let user = users.message_type.iter_mut().find(|message| message.name() == "User").unwrap();
    user.field.retain(|field| field.number() != 2);
    user.field[0].set_type(Type::Int64);
    contracts
}

#[tokio::test]
async fn methods_that_say_nothing_are_listed() {
    let (exit, out, talk) = check(&[]).await;
    assert_eq!(exit, Exit::Findings);
    assert!(out.starts_with("SERVICE") && out.contains("acme.ai.v1.AiService/WriteText"), "{out}");
    assert!(talk.contains("RPC_SAME_IDEMPOTENCY_LEVEL"), "{talk}");
    assert!(!out.contains("GetUser") && talk.contains("option idempotency_level = IDEMPOTENT;"), "{out}{talk}");

    let (exit, out, _) = check(&["--all", "--output", "json"]).await;
    assert_eq!(exit, Exit::Findings);
    let all: serde_json::Value = serde_json::from_str(&out).unwrap();
    let user =
        all["findings"].as_array().unwrap().iter().find(|row| row["method"] == "acme.users.v1.UserService/GetUser");
    assert_eq!((&user.unwrap()["service"], &user.unwrap()["level"]), (&"users".into(), &"NO_SIDE_EFFECTS".into()));
    assert!(!out.contains("bench.") && !out.contains("demo.") && !out.contains("orchestrator."), "{out}");
}

#[tokio::test]
async fn a_method_that_the_configuration_states_is_no_finding() {
    let configured = ["--set", "services.ai.methods.write_text.level=idempotent"];
    let json = ["--set", configured[1], "--all", "--output", "json"];
    let (_, out, talk) = check(&json).await;
    assert!(talk.contains("of 1 methods the configuration says it, not their contracts"), "{talk}");
    let all: serde_json::Value = serde_json::from_str(&out).unwrap();
    let rows = all["findings"].as_array().unwrap();
    let configured_rows: Vec<_> = rows.iter().filter(|row| row["configured"] == true).collect();
    let [row] = configured_rows.as_slice() else { panic!("{out}") };
    assert_eq!((&row["method"], &row["level"]), (&"acme.ai.v1.AiService/WriteText".into(), &"IDEMPOTENT".into()));
    let (_, out, _) = check(&configured).await;
    assert!(!out.contains("acme.ai.v1.AiService/WriteText"), "{out}");
    let (_, out, _) = check(&["--set", configured[1], "--all"]).await;
    assert!(out.contains("IDEMPOTENT (configured)"), "{out}");
}

#[tokio::test]
async fn a_server_with_our_contracts_has_no_errors_in_either_version_of_reflection() {
    for version in [Version::V1, Version::V1Alpha] {
        let address = served(contracts(), "acme.users.v1.UserService", version).await;
        let (exit, out, talk) = check(&["--against", &address]).await;
        assert_eq!(exit, Exit::Ok, "{out}{talk}");
        assert!(talk.starts_with("compared acme.users.v1.UserService: 0 errors"), "{talk}");
        assert!(!out.contains("error: "), "{out}");
    }
}

#[tokio::test]
async fn a_server_with_other_contracts_is_told_apart_finding_by_finding() {
    let address = served(changed(), "acme.users.v1.UserService", Version::V1).await;
    let (exit, out, talk) = check(&["--against", &address]).await;
    assert_eq!(exit, Exit::Findings, "{out}{talk}");
    for expected in [
        "error: acme.users.v1.UserService/GetUser: the server does not have this method",
        "error: acme.users.v1.UserService/CreateUser: we would repeat it as IDEMPOTENT, and the server says IDEMPOTENCY_UNKNOWN",
        "error: acme.users.v1.User.",
        "the server does not have this field (number 2)",
        "its type is string for us, and int64 at the server",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    let (exit, json, _) = check(&["--against", &address, "--output", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((exit, json["findings"][0]["severity"].as_str()), (Exit::Findings, Some("ERROR")));
}

#[tokio::test]
async fn a_service_can_be_named_by_its_key() {
    let address = served(contracts(), "acme.users.v1.UserService", Version::V1).await;
    let at = format!("services.users.address={address}");
    let (exit, out, talk) = check(&["--against", "users", "--set", &at]).await;
    assert_eq!(exit, Exit::Ok, "{out}{talk}");
    let (exit, out, _) = check(&["--against", "ai", "--set", &at.replace("users", "ai")]).await;
    assert_eq!(exit, Exit::Findings);
    assert!(out.contains("error: acme.ai.v1.AiService: the server does not have this service"), "{out}");
    let (exit, _, talk) = check(&["--against", "users"]).await;
    assert_eq!(exit, Exit::Usage);
    assert!(talk.contains("services.users.address is not configured"), "{talk}");
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_says_why() {
    let (exit, _, talk) = check(&["--against", "nowhere"]).await;
    assert_eq!(exit, Exit::Usage, "{talk}");
    // Bound, so that it is ours alone, and not listening, so that it refuses.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let refusing = format!("http://{}", socket.local_addr().unwrap());
    let (exit, _, talk) = check(&["--against", &refusing]).await;
    assert_eq!(exit, Exit::Unreachable, "{talk}");
    let other = served(contracts(), "orchestrator.admin.v1.RunService", Version::V1).await;
    let (exit, _, talk) = check(&["--against", &other]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("none of the services that we call; it has "), "{talk}");
    let silent = servers::without_reflection().await;
    let (exit, _, talk) = check(&["--against", &silent]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("the server has no reflection"), "{talk}");
}

#[tokio::test]
async fn a_server_of_another_implementation_is_compared_too() {
    let Some(ours) = grpcio(test_app::contracts::CONTRACTS.descriptors, "acme.users.v1.UserService").await else {
        return;
    };
    let (exit, out, talk) = check(&["--against", &ours.address]).await;
    assert_eq!((exit, out.as_str()), (Exit::Ok, ""), "{talk}");

    let other = grpcio(&prost::Message::encode_to_vec(&changed()), "acme.users.v1.UserService").await.unwrap();
    let (exit, out, _) = check(&["--against", &other.address]).await;
    assert_eq!(exit, Exit::Findings);
    assert!(out.contains("error: acme.users.v1.UserService/GetUser: the server does not have this method"), "{out}");
}
