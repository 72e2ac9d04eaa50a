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
