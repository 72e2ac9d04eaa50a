//! Methods that read a list page by page (AIP-158), and the `Paged` implementation of each.

use prost_build::{Method, Service};
use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use prost_types::method_options::IdempotencyLevel;

use crate::names;

/// Returns the implementation for a method whose messages have the fields of AIP-158, and that has no side effects.
///
/// `call` is the type that stands for the method, and `request` the path from it to its request message: empty, or `.0`.
pub(crate) fn implementation(
    pool: &DescriptorPool,
    runtime: &str,
    service: &Service,
    method: &Method,
    (call, request): (&str, &str),
) -> Option<String> {
    if method.server_streaming || method.options.idempotency_level() != IdempotencyLevel::NoSideEffects {
        return None;
    }
    let message = |name: &str| pool.get_message_by_name(name.trim_start_matches('.'));
    let (input, output) = (message(&method.input_proto_type)?, message(&method.output_proto_type)?);
    is_plain(&input, "page_size", &Kind::Int32).then_some(())?;
    is_plain(&input, "page_token", &Kind::String).then_some(())?;
    is_plain(&output, "next_page_token", &Kind::String).then_some(())?;
    let list = list_of(&output)?;
    let item = item_type(service, &list)?;
    let items = names::snake(list.name());
    Some(format!(
        "impl {runtime}::engine::rpc::Paged for {call} {{
    type Item = {item};
    fn page_size(&self) -> i32 {{ self{request}.page_size }}
    fn set_page_size(&mut self, page_size: i32) {{ self{request}.page_size = page_size; }}
    fn set_page_token(&mut self, page_token: ::std::string::String) {{ self{request}.page_token = page_token; }}
    fn into_page(response: Self::Response) -> (::std::vec::Vec<Self::Item>, ::std::string::String) {{
        (response.{items}, response.next_page_token)
    }}
}}
"
    ))
}

/// Whether the message has this field, once and without presence of its own.
fn is_plain(message: &MessageDescriptor, name: &str, kind: &Kind) -> bool {
    message.get_field_by_name(name).is_some_and(|field| {
        field.cardinality() != Cardinality::Repeated && !field.supports_presence() && field.kind() == *kind
    })
}

/// The one list of a response.
fn list_of(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    let mut lists = message.fields().filter(|field| field.cardinality() == Cardinality::Repeated);
    let list = lists.next().filter(|list| !list.is_map())?;
    lists.next().is_none().then_some(list)
}

/// The Rust type of an item, as the module of the service names it; `None` if prost keeps that type elsewhere.
fn item_type(service: &Service, list: &FieldDescriptor) -> Option<String> {
    let name = match list.kind() {
        Kind::Message(message) => {
            if message.package_name().starts_with("google.protobuf") {
                return None;
            }
            let up = "super::".repeat(names::modules(&service.package).len());
            return Some(format!("{up}{}{}", names::scope(&message), names::type_name(message.name())));
        }
        Kind::String => "::std::string::String",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Enum(_) => "i32",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "i64",
        Kind::Uint32 | Kind::Fixed32 => "u32",
        Kind::Uint64 | Kind::Fixed64 => "u64",
        Kind::Bool => "bool",
        Kind::Float => "f32",
        Kind::Double => "f64",
        Kind::Bytes => return None,
    };
    Some(name.to_owned())
}
