//! What must hold for every method of the admin API, also for those that are not written yet.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use prost_reflect::{Cardinality, DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(server::proto::CONTRACTS.descriptors).unwrap();
    let services = pool.services().filter(|service| service.full_name().starts_with("orchestrator."));
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

#[test]
fn every_list_is_paged() {
    let kind = |message: MessageDescriptor, field: &str| message.get_field_by_name(field).map(|field| field.kind());
    let methods = methods();
    let lists: Vec<&MethodDescriptor> = methods.iter().filter(|method| method.name().starts_with("List")).collect();
    assert!(lists.len() >= 4, "only {} lists were found", lists.len());
    for method in lists {
        let path = method.full_name();
        assert_eq!(kind(method.input(), "page_size"), Some(Kind::Int32), "page_size of {path}");
        assert_eq!(kind(method.input(), "page_token"), Some(Kind::String), "page_token of {path}");
        assert_eq!(kind(method.output(), "next_page_token"), Some(Kind::String), "next_page_token of {path}");
        // AIP-158: what is paged comes first; another list may say something of the whole.
        let first = method.output().get_field(1).map(|field| field.cardinality());
        assert_eq!(first, Some(Cardinality::Repeated), "the first field of what {path} answers");
    }
}

/// Whether the contract says that the field is a UUID, and what it says of whether it has to be set.
fn annotations(field: &prost_reflect::FieldDescriptor) -> String {
    field.options().to_string()
}

#[test]
fn every_change_has_a_reason_and_a_request_id() {
    let changes: Vec<MethodDescriptor> = methods().into_iter().filter(|method| !is_read(method)).collect();
    assert!(changes.len() > 15, "only {} changes were found", changes.len());
    for method in changes {
        let path = method.full_name();
        let field = |name: &str| method.input().get_field_by_name(name).unwrap_or_else(|| panic!("{name} of {path}"));
        assert_eq!(field("reason").kind(), Kind::String, "reason of {path}");
        let request_id = annotations(&field("request_id"));
        assert!(request_id.contains("UUID4"), "request_id of {path}: {request_id}");
    }
}

fn is_read(method: &MethodDescriptor) -> bool {
    method.options().to_string().contains("NO_SIDE_EFFECTS")
}

#[test]
fn every_field_of_a_request_says_whether_it_is_required() {
    let mut required = 0;
    for method in methods() {
        for field in method.input().fields().filter(|field| field.containing_oneof().is_none()) {
            let said = annotations(&field);
            let behaviors = said.matches("OPTIONAL").count() + said.matches("REQUIRED").count();
            assert_eq!(behaviors, 1, "{}: {said}", field.full_name());
            required += said.matches("REQUIRED").count();
        }
    }
    assert!(required > 20, "only {required} are required");
}
