//! Generates `Debug` for messages with fields that are marked `debug_redact`, which prost's own would show.

use std::fmt::Write;

use heck::ToUpperCamelCase;
use prost_build::Module;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

/// The messages that must not derive `Debug`, as prost wants their names. It leaves it out of nested ones as well.
pub(crate) fn hidden(pool: &DescriptorPool) -> Vec<String> {
    let hidden = pool.all_messages().filter(|message| message.fields().any(|field| is_redacted(&field)));
    hidden.map(|message| format!(".{}", message.full_name())).collect()
}

/// Writes the implementations, to stand beside the modules of the packages.
pub(crate) fn append(pool: &DescriptorPool, code: &mut String) -> std::fmt::Result {
    for message in pool.all_messages().filter(|message| !message.is_map_entry() && lacks_debug(message)) {
        append_message(&message, code)?;
    }
    Ok(())
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

fn lacks_debug(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| is_redacted(&field))
        || message.parent_message().is_some_and(|outer| lacks_debug(&outer))
}

fn append_message(message: &MessageDescriptor, code: &mut String) -> std::fmt::Result {
    let (scope, name) = (scope(message), message.name().to_upper_camel_case());
    writeln!(code, "impl ::std::fmt::Debug for {scope}{name} {{")?;
    writeln!(code, "    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {{")?;
    writeln!(code, "        f.debug_struct({name:?})")?;
    let oneofs: Vec<_> = message.oneofs().filter(|oneof| !oneof.is_synthetic()).collect();
    for field in message.fields() {
        if field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic()) {
            writeln!(code, "            .field({:?}, &{})", field.name(), shown(&field))?;
        }
    }
    for oneof in &oneofs {
        writeln!(code, "            .field({:?}, &self.{})", oneof.name(), snake(oneof.name()))?;
    }
    writeln!(code, "            .finish()\n    }}\n}}")?;

    let inner = format!("{scope}{}::", snake(message.name()));
    for oneof in oneofs {
        // One member that is marked hides which of them is set, so all are hidden.
        writeln!(code, "impl ::std::fmt::Debug for {inner}{} {{", oneof.name().to_upper_camel_case())?;
        writeln!(code, "    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {{")?;
        writeln!(code, "        f.write_str(::clients::REDACTED)\n    }}\n}}")?;
    }
    Ok(())
}

fn shown(field: &FieldDescriptor) -> String {
    let name = snake(field.name());
    if is_redacted(field) {
        return "::std::format_args!(\"{}\", ::clients::REDACTED)".to_owned();
    }
    match field.kind() {
        Kind::Enum(_) if !field.is_list() && !field.is_map() && !field.supports_presence() => format!("self.{name}()"),
        _ => format!("self.{name}"),
    }
}

/// The modules around a message, as prost nests them.
fn scope(message: &MessageDescriptor) -> String {
    match message.parent_message() {
        Some(outer) => format!("{}{}::", scope(&outer), snake(outer.name())),
        None => {
            let package = Module::from_protobuf_package_name(message.package_name());
            package.parts().map(|part| format!("{part}::")).collect()
        }
    }
}

/// As prost spells fields and modules, keywords included.
fn snake(name: &str) -> String {
    Module::from_protobuf_package_name(name).parts().collect()
}
