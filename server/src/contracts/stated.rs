//! What a contract states of a method, read from its descriptor: of ours as of those of a server.

use std::time::Duration;

use engine::rpc::Level;
use prost_reflect::{DescriptorPool, MethodDescriptor, Value};
use prost_types::method_options::IdempotencyLevel;

use crate::duration::format as format_duration;

/// `UUID4` of `google.api.FieldInfo.Format`.
const UUID4: i32 = 1;

/// How often the contract lets a call be repeated.
pub(crate) fn level(method: &MethodDescriptor) -> Level {
    let options = method.method_descriptor_proto().options.as_ref();
    let level = options.map(prost_types::MethodOptions::idempotency_level).unwrap_or_default();
    match level {
        IdempotencyLevel::NoSideEffects => Level::NoSideEffects,
        IdempotencyLevel::Idempotent => Level::Idempotent,
        IdempotencyLevel::IdempotencyUnknown => {
            horizon(method).map_or(Level::Unknown, |horizon| Level::Keyed { horizon })
        }
    }
}

/// How long the contract says that a key is remembered.
fn horizon(method: &MethodDescriptor) -> Option<Duration> {
    let option = method.parent_pool().get_extension_by_name("orchestrator.options.v1.idempotency_key")?;
    let options = method.options();
    if !options.has_extension(&option) {
        return None;
    }
    let key = options.get_extension(&option);
    let horizon = key.as_message()?.get_field_by_name("dedupe_horizon")?.into_owned();
    let seconds = horizon.as_message()?.get_field_by_name("seconds")?.as_i64()?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// Whether the contract annotates a `request_id` field that takes the key (AIP-155).
pub(crate) fn takes_key(method: &MethodDescriptor) -> bool {
    let annotation = || {
        let field = method.input().get_field_by_name("request_id")?;
        let info = field.parent_pool().get_extension_by_name("google.api.field_info")?;
        let options = field.options();
        let format = options.get_extension(&info).as_message()?.get_field_by_name("format")?.into_owned();
        Some(matches!(format, Value::EnumNumber(UUID4)))
    };
    annotation().unwrap_or_default()
}

/// Whether the files carry any option that is not protobuf's own.
pub(crate) fn has_options_of_others(pool: &DescriptorPool) -> bool {
    let of_method = |method: MethodDescriptor| method.options().extensions().next().is_some();
    let of_field = |field: prost_reflect::FieldDescriptor| field.options().extensions().next().is_some();
    pool.services().any(|service| service.methods().any(of_method))
        || pool.all_messages().any(|message| message.fields().any(of_field))
}

/// Levels in the order of what they allow.
pub(crate) fn strength(level: Level) -> (u8, Duration) {
    match level {
        Level::Unknown => (0, Duration::ZERO),
        Level::Keyed { horizon } => (1, horizon),
        Level::Idempotent => (2, Duration::ZERO),
        Level::NoSideEffects => (3, Duration::ZERO),
    }
}

/// A level in the words of a contract.
pub(crate) fn told(level: Level) -> String {
    match level {
        Level::Unknown => String::from("IDEMPOTENCY_UNKNOWN"),
        Level::Keyed { horizon } => format!("a key that is remembered for {}", format_duration(horizon)),
        Level::Idempotent => String::from("IDEMPOTENT"),
        Level::NoSideEffects => String::from("NO_SIDE_EFFECTS"),
    }
}
