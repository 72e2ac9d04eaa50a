//! What must hold for every contract under `proto/`, also for those that are not written yet.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, HashMap};

use clients::guras::notifications::v1::SendPushRequest;
use engine::rpc::Level;
use prost::Message;
use prost_reflect::{Cardinality, DescriptorPool, Kind, MethodDescriptor};
use prost_types::method_options::IdempotencyLevel;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(clients::CONTRACTS.descriptors).unwrap()
}

/// Every method that takes one request.
fn methods_of(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    let one = |method: &MethodDescriptor| !method.is_client_streaming();
    pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).filter(one).collect()
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

fn stated_level(method: &MethodDescriptor) -> Option<IdempotencyLevel> {
    let level = method.method_descriptor_proto().options.as_ref()?.idempotency_level?;
    IdempotencyLevel::try_from(level).ok()
}

/// Whether the contract says that the method acts once for each key.
fn remembers_keys(method: &MethodDescriptor) -> bool {
    let option = method.parent_pool().get_extension_by_name("orchestrator.options.v1.idempotency_key");
    option.is_some_and(|option| method.options().has_extension(&option))
}

#[test]
fn every_method_that_takes_one_request_can_be_called() {
    let pool = pool();
    let called = methods_of(&pool);
    assert!(called.len() > 40, "only {} methods were found", called.len());
    for method in &called {
        let path = path(method);
        let entry = clients::CONTRACTS.find(&path).unwrap_or_else(|| panic!("{path} has no entry"));
        assert_eq!(entry.method.path, path);
        assert_eq!(entry.method.name, method.name());
        assert_eq!(entry.method.service, method.parent_service().full_name());
        assert_eq!(entry.collected.is_some(), method.is_server_streaming());
    }
    assert_eq!(clients::CONTRACTS.methods().count(), called.len());
}

#[test]
fn a_path_that_no_contract_has_is_not_found() {
    assert!(clients::CONTRACTS.find("/guras.users.v1.UserService/Nope").is_none());
    assert!(clients::CONTRACTS.find("").is_none());
}

#[test]
fn the_level_of_every_method_is_the_one_its_contract_states() {
    let pool = pool();
    for method in methods_of(&pool) {
        let generated = clients::CONTRACTS.find(&path(&method)).unwrap().method.level;
        let expected = match stated_level(&method).unwrap_or_default() {
            IdempotencyLevel::NoSideEffects => Level::NoSideEffects,
            IdempotencyLevel::Idempotent => Level::Idempotent,
            IdempotencyLevel::IdempotencyUnknown if remembers_keys(&method) => {
                // How long is checked by what the generator makes of fixtures.
                assert!(matches!(generated, Level::Keyed { .. }), "{} states no horizon of its keys", path(&method));
                continue;
            }
            IdempotencyLevel::IdempotencyUnknown => Level::Unknown,
        };
        assert_eq!(generated, expected, "{}", path(&method));
    }
}

#[test]
fn every_method_that_we_call_states_its_level() {
    let pool = pool();
    for method in &methods_of(&pool) {
        assert!(stated_level(method).is_some(), "{} does not state its idempotency_level", path(method));
    }
}

#[test]
fn every_request_message_that_we_send_belongs_to_one_method() {
    let pool = pool();
    let mut owners: HashMap<String, String> = HashMap::new();
    for method in &methods_of(&pool) {
        if let Some(other) = owners.insert(method.input().full_name().to_owned(), path(method)) {
            panic!("{} is the request of {other} and of {}", method.input().full_name(), path(method));
        }
    }
}

#[test]
fn every_list_is_paged() {
    let pool = pool();
    for method in methods_of(&pool).iter().filter(|method| method.name().starts_with("List")) {
        let kind = |message: prost_reflect::MessageDescriptor, field: &str| {
            message.get_field_by_name(field).map(|field| field.kind())
        };
        let path = path(method);
        assert_eq!(kind(method.input(), "page_size"), Some(Kind::Int32), "page_size of {path}");
        assert_eq!(kind(method.input(), "page_token"), Some(Kind::String), "page_token of {path}");
        assert_eq!(kind(method.output(), "next_page_token"), Some(Kind::String), "next_page_token of {path}");
        // AIP-158: what is paged comes first; another list may say something of the whole.
        let first = method.output().get_field(1).map(|field| field.cardinality());
        assert_eq!(first, Some(Cardinality::Repeated), "the first field of what {path} answers");
    }
}

#[test]
fn personal_data_is_marked_wherever_it_appears() {
    const PERSONAL: [&str; 7] = ["email", "firebase_user_id", "token", "content", "notes", "prompt", "text"];
    // A teaching is no user's text.
    const PUBLIC: [&str; 1] = ["guras.teachers.v1.Teaching.text"];
    let pool = pool();
    let mut marked = 0;
    for field in pool.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>()) {
        if !field.full_name().starts_with("guras.") || !PERSONAL.contains(&field.name()) {
            continue;
        }
        if !PUBLIC.contains(&field.full_name()) {
            let options = field.options();
            let redacted = options.get_field_by_name("debug_redact").and_then(|value| value.as_bool());
            assert_eq!(redacted, Some(true), "{} is not marked debug_redact", field.full_name());
            marked += 1;
        }
    }
    assert!(marked >= 10, "only {marked} fields were looked at");
}

#[test]
fn only_annotated_request_ids_take_the_key() {
    let takes_key: Vec<&str> = clients::CONTRACTS
        .methods()
        .filter(|entry| entry.method.request_id.is_some())
        .map(|entry| entry.method.path)
        .collect();
    assert_eq!(
        BTreeMap::from_iter(takes_key.iter().map(|path| (*path, ()))),
        BTreeMap::from([
            ("/guras.journal.v1.JournalService/CreateEntry", ()),
            ("/guras.meditation.v1.MeditationService/SaveRecommendations", ()),
            ("/guras.users.v1.UserService/CreateUser", ()),
        ])
    );
}

#[test]
fn a_message_with_a_map_has_one_encoding() {
    let keys = ["zeta", "alpha", "mu", "b", "a", "omega"];
    let data = |keys: &mut dyn Iterator<Item = &&str>| keys.map(|key| (key.to_string(), key.to_uppercase())).collect();
    let there = SendPushRequest { data: data(&mut keys.iter()), ..Default::default() };
    let back = SendPushRequest { data: data(&mut keys.iter().rev()), ..Default::default() };
    assert_eq!(there.encode_to_vec(), back.encode_to_vec());

    let decoded = SendPushRequest::decode(there.encode_to_vec().as_slice()).unwrap();
    assert_eq!(decoded.data.keys().collect::<Vec<_>>(), ["a", "alpha", "b", "mu", "omega", "zeta"]);
}

#[test]
fn the_descriptors_carry_the_comments_of_the_contracts() {
    let pool = pool();
    let file = pool.get_file_by_name("guras/notifications/v1/notifications.proto").unwrap();
    let source = file.file_descriptor_proto().source_code_info.as_ref().unwrap();
    assert!(source.location.iter().any(|location| location.leading_comments().contains("quiet hours")));
}
