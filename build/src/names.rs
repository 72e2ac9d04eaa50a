//! What proto names become in Rust, by the rules of prost.

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_build::Module;
use prost_reflect::{EnumDescriptor, MessageDescriptor, OneofDescriptor};

/// A name in the letters of a field or a module, keywords included.
pub(crate) fn snake(name: &str) -> String {
    sanitized(&name.to_snake_case())
}

/// The name of a type, or of a variant of a oneof.
pub(crate) fn type_name(name: &str) -> String {
    sanitized(&name.to_upper_camel_case())
}

/// The name of the type of a oneof: prost appends to it if a nested type has the name already.
pub(crate) fn oneof_type(oneof: &OneofDescriptor) -> String {
    let message = oneof.parent_message();
    let name = type_name(oneof.name());
    let mut nested = message.child_messages().map(|nested| type_name(nested.name()));
    let taken =
        nested.any(|nested| nested == name) || message.child_enums().any(|nested| type_name(nested.name()) == name);
    if taken { format!("{name}OneOf") } else { name }
}

/// The name of the variant of an enum's value: without the name of the enum if it begins with that.
pub(crate) fn variant(of: &EnumDescriptor, value: &str) -> String {
    let (of, value) = (type_name(of.name()), type_name(value));
    let stripped = value.strip_prefix(of.as_str()).filter(|rest| rest.starts_with(char::is_uppercase));
    sanitized(stripped.unwrap_or(&value))
}

/// The modules of a package, outermost first.
pub(crate) fn modules(package: &str) -> Vec<String> {
    Module::from_protobuf_package_name(package).parts().map(str::to_owned).collect()
}

/// The modules of a package, each with `::` behind it.
pub(crate) fn package_scope(package: &str) -> String {
    modules(package).iter().map(|part| format!("{part}::")).collect()
}

/// The modules around a message, each with `::` behind it.
pub(crate) fn scope(message: &MessageDescriptor) -> String {
    match message.parent_message() {
        Some(outer) => inner_scope(&outer),
        None => package_scope(message.package_name()),
    }
}

/// The modules around what is nested in a message.
pub(crate) fn inner_scope(message: &MessageDescriptor) -> String {
    format!("{}{}::", scope(message), snake(message.name()))
}

/// The module of a service's client or server, as tonic spells it: every capital letter begins a word.
pub(crate) fn service_module(service: &str, kind: &str) -> String {
    let mut name = String::new();
    let mut letters = service.chars().peekable();
    while let Some(letter) = letters.next() {
        name.push(letter.to_ascii_lowercase());
        if letters.peek().is_some_and(|next| next.is_uppercase()) {
            name.push('_');
        }
    }
    format!("{name}_{kind}")
}

fn sanitized(name: &str) -> String {
    match name {
        // A keyword in this spelling only, which no package has.
        "Self" => String::from("Self_"),
        // prost's own function is there for packages, whose parts are spelled as all names are.
        name if name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_') => {
            Module::from_protobuf_package_name(name).parts().collect()
        }
        name if name.starts_with(char::is_numeric) => format!("_{name}"),
        name => name.to_owned(),
    }
}
