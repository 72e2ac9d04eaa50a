//! What proto names become in Rust: the rules of prost, and whether two names become one.

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_build::Module;
use prost_reflect::{MessageDescriptor, OneofDescriptor};

/// A name in the letters of a field or a module, keywords included.
pub(crate) fn snake(name: &str) -> String {
    sanitized(&name.to_snake_case())
}

/// The name of a field.
pub(crate) fn field_name(name: &str) -> String {
    snake(name)
}

/// The name of a type.
pub(crate) fn type_name(name: &str) -> String {
    sanitized(&name.to_upper_camel_case())
}

/// The name of the type of a oneof: where a nested type has it already, prost appends to it.
pub(crate) fn oneof_type(oneof: &OneofDescriptor) -> String {
    let message = oneof.parent_message();
    let name = type_name(oneof.name());
    let mut nested = message.child_messages().map(|nested| type_name(nested.name()));
    let taken =
        nested.any(|nested| nested == name) || message.child_enums().any(|nested| type_name(nested.name()) == name);
    if taken { format!("{name}OneOf") } else { name }
}

/// The modules of a package, outermost first.
pub(crate) fn modules(package: &str) -> Vec<String> {
    Module::from_protobuf_package_name(package).parts().map(str::to_owned).collect()
}

/// The modules around a message, each with `::` behind it.
pub(crate) fn scope(message: &MessageDescriptor) -> String {
    match message.parent_message() {
        Some(outer) => format!("{}{}::", scope(&outer), snake(outer.name())),
        None => modules(message.package_name()).iter().map(|part| format!("{part}::")).collect(),
    }
}

/// As prost does it: its own function spells packages, whose parts are names like any other.
fn sanitized(name: &str) -> String {
    // `Self` is a keyword only in this spelling, which no package has.
    match name {
        "Self" => String::from("Self_"),
        name if name.starts_with(|first: char| first.is_ascii_uppercase()) => name.to_owned(),
        name if name.starts_with(|first: char| first.is_numeric()) => format!("_{name}"),
        name => Module::from_protobuf_package_name(name).parts().collect(),
    }
}
