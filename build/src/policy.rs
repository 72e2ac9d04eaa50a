//! Reads from the contracts what the generated code must know of a method beyond its types.

use std::collections::{HashMap, HashSet};

use prost_build::Method;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, Value};
use prost_types::method_options::IdempotencyLevel;

/// `UUID4` of `google.api.FieldInfo.Format`.
const UUID4: i32 = 1;

/// What all contracts together say.
pub(crate) struct Policy {
    pool: DescriptorPool,
    /// Request messages of more than one method that is called, by full name.
    shared: HashSet<String>,
}

/// The field that takes the idempotency key (AIP-155).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestId {
    /// `string request_id`
    Plain,
    /// `optional string request_id`
    Optional,
}

impl Policy {
    pub(crate) fn read(pool: DescriptorPool) -> Self {
        let mut uses: HashMap<String, usize> = HashMap::new();
        for service in pool.services() {
            for method in service.methods().filter(|method| !method.is_client_streaming()) {
                *uses.entry(method.input().full_name().to_owned()).or_default() += 1;
            }
        }
        let shared = uses.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect();
        Self { pool, shared }
    }

    pub(crate) fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// Whether the request message can stand for the method: it is generated here, and no other method takes it.
    pub(crate) fn owns_its_request(&self, method: &Method) -> bool {
        let generated_here = !method.input_type.starts_with("::") && method.input_type != "()";
        generated_here && !self.shared.contains(full_name(&method.input_proto_type))
    }

    /// The value of `engine::rpc::Level` for what the contract says. A contract that says nothing promises nothing.
    pub(crate) fn level(&self, service: &str, method: &Method) -> String {
        let level = match method.options.idempotency_level() {
            IdempotencyLevel::NoSideEffects => "NoSideEffects",
            IdempotencyLevel::Idempotent => "Idempotent",
            IdempotencyLevel::IdempotencyUnknown => match self.dedupe_horizon(service, &method.proto_name) {
                Some(seconds) => return format!("Keyed {{ horizon: ::std::time::Duration::from_secs({seconds}) }}"),
                None => "Unknown",
            },
        };
        level.to_owned()
    }

    /// How many seconds the service remembers a key, where the contract says that it does (`options.proto`).
    fn dedupe_horizon(&self, service: &str, method: &str) -> Option<u64> {
        let option = self.pool.get_extension_by_name("orchestrator.options.v1.idempotency_key")?;
        let service = self.pool.get_service_by_name(service)?;
        let options = service.methods().find(|other| other.name() == method)?.options();
        if !options.has_extension(&option) {
            return None;
        }
        let key = options.get_extension(&option);
        let horizon = key.as_message()?.get_field_by_name("dedupe_horizon")?.into_owned();
        let seconds = horizon.as_message()?.get_field_by_name("seconds")?.as_i64()?;
        u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)
    }

    /// The `request_id` field of the method's request, where the contract annotates one with the format UUID4.
    ///
    /// The name counts too: a UUID under any other name is an id of something else.
    pub(crate) fn request_id(&self, method: &Method) -> Option<RequestId> {
        let request: MessageDescriptor = self.pool.get_message_by_name(full_name(&method.input_proto_type))?;
        let field = request.get_field_by_name("request_id")?;
        if field.kind() != Kind::String
            || field.is_list()
            || field.containing_oneof().is_some_and(|o| !o.is_synthetic())
        {
            return None;
        }
        let field_info = self.pool.get_extension_by_name("google.api.field_info")?;
        let options = field.options();
        let annotation = options.get_extension(&field_info);
        let format = annotation.as_message()?.get_field_by_name("format")?.into_owned();
        match format {
            Value::EnumNumber(UUID4) if field.supports_presence() => Some(RequestId::Optional),
            Value::EnumNumber(UUID4) => Some(RequestId::Plain),
            _ => None,
        }
    }
}

fn full_name(proto_type: &str) -> &str {
    proto_type.trim_start_matches('.')
}
