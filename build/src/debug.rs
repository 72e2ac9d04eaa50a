//! Generates `Debug` where prost's own would show fields that are marked `debug_redact`, or names a crate that the
//! including crate need not have (it does for maps).

use std::fmt::Write;

use prost_build::Config;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};

use crate::names::{inner_scope, oneof_type, scope, snake, type_name};

/// Tells prost which messages have a `Debug` of ours. It leaves its own out of everything nested in them, so enums and
/// oneofs that hide nothing get the standard one.
pub(crate) fn configure(pool: &DescriptorPool, config: &mut Config) {
    config.skip_debug(pool.all_messages().filter(is_ours).map(|message| format!(".{}", message.full_name())));
    for message in pool.all_messages().filter(lacks_debug) {
        for nested in message.child_enums() {
            config.enum_attribute(format!(".{}", nested.full_name()), "#[derive(Debug)]");
        }
        for oneof in oneofs(&message).filter(|oneof| !hides(oneof)) {
            config.enum_attribute(format!(".{}", oneof.full_name()), "#[derive(Debug)]");
        }
    }
}

/// Writes the implementations, to stand beside the modules of the packages.
pub(crate) fn append(
    pool: &DescriptorPool,
    is_generated: impl Fn(&str) -> bool,
    runtime: &str,
    code: &mut String,
) -> std::fmt::Result {
    let ours = pool.all_messages().filter(|message| !message.is_map_entry() && lacks_debug(message));
    for message in
        ours.filter(|message| message.package_name() != "google.protobuf" && is_generated(message.parent_file().name()))
    {
        append_message(&message, runtime, code)?;
    }
    Ok(())
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

fn is_ours(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| is_redacted(&field) || field.is_map())
}

fn lacks_debug(message: &MessageDescriptor) -> bool {
    is_ours(message) || message.parent_message().is_some_and(|outer| lacks_debug(&outer))
}

fn oneofs(message: &MessageDescriptor) -> impl Iterator<Item = OneofDescriptor> {
    message.oneofs().filter(|oneof| !oneof.is_synthetic())
}

/// One member that is marked hides which of them is set, so all are hidden.
fn hides(oneof: &OneofDescriptor) -> bool {
    oneof.fields().any(|field| is_redacted(&field))
}

fn append_message(message: &MessageDescriptor, runtime: &str, code: &mut String) -> std::fmt::Result {
    let (scope, name) = (scope(message), type_name(message.name()));
    writeln!(code, "impl ::core::fmt::Debug for self::{scope}{name} {{")?;
    writeln!(code, "    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{")?;
    writeln!(code, "        f.debug_struct({name:?})")?;
    for field in message.fields() {
        if field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic()) {
            writeln!(code, "            .field({:?}, &{})", field.name(), shown(&field, runtime))?;
        }
    }
    for oneof in oneofs(message) {
        writeln!(code, "            .field({:?}, &self.{})", oneof.name(), snake(oneof.name()))?;
    }
    writeln!(code, "            .finish()\n    }}\n}}")?;

    for oneof in oneofs(message).filter(hides) {
        let inner = format!("{}{}", inner_scope(message), oneof_type(&oneof));
        writeln!(code, "impl ::core::fmt::Debug for self::{inner} {{")?;
        writeln!(code, "    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{")?;
        writeln!(code, "        f.write_str({runtime}::REDACTED)\n    }}\n}}")?;
    }
    Ok(())
}

fn shown(field: &FieldDescriptor, runtime: &str) -> String {
    let name = snake(field.name());
    if is_redacted(field) {
        return format!("::core::format_args!(\"{{}}\", {runtime}::REDACTED)");
    }
    match field.kind() {
        Kind::Enum(_) if is_plain(field) => format!("self.{name}()"),
        _ => format!("self.{name}"),
    }
}

/// Whether the field has a function of its name that answers with the enum.
fn is_plain(field: &FieldDescriptor) -> bool {
    !field.is_list() && !field.is_map() && !field.supports_presence()
}
