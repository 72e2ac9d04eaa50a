//! Turns the features of an edition into the labels, types and options that `proto2` and `proto3` have for them.

use std::collections::HashSet;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, OneofDescriptorProto,
    SourceCodeInfo,
};

use super::features::{DEFAULTS, Features, Presence};

/// Fields of descriptors, for the paths of places.
const MESSAGE_TYPE: i32 = 4;
const FILE_ENUM_TYPE: i32 = 5;
const FILE_EXTENSION: i32 = 7;
const FIELD: i32 = 2;
const NESTED_TYPE: i32 = 3;
const ENUM_TYPE: i32 = 4;
const EXTENSION: i32 = 6;
const UNINTERPRETED_OPTION: i32 = 999;

/// A line, counted from 1, and what is wrong there.
pub(super) type Mistake = (usize, String);

/// What the whole file decides for each of its elements.
struct Lowering {
    places: SourceCodeInfo,
    /// Whether a field has no presence: only `proto3` has such fields.
    implicit: bool,
    /// Names of the file's enums, which are not encoded as groups.
    enums: HashSet<String>,
}

/// Lowers the file, which was parsed as `proto2`.
pub(super) fn lower(file: &mut FileDescriptorProto) -> Result<(), Mistake> {
    let places = file.source_code_info.clone().unwrap_or_default();
    let features = match file.options.as_mut() {
        Some(options) => DEFAULTS.stated(&mut options.uninterpreted_option).map_err(|reason| (1, reason))?,
        None => DEFAULTS,
    };
    let mut lowering = Lowering { places, implicit: false, enums: HashSet::new() };
    lowering.enums.extend(file.enum_type.iter().map(|of| of.name().to_owned()));
    file.message_type.iter().for_each(|message| lowering.know_enums(message));

    // Twice: which of the two it becomes must be known before any field is lowered.
    let mut copy = file.clone();
    lowering.file(&mut copy, features)?;
    lowering.file(file, features)?;
    if lowering.implicit {
        file.syntax = Some(String::from("proto3"));
    }
    if let Some(places) = &mut file.source_code_info {
        // They would be looked for by the number of an option, and options have gone.
        places.location.retain(|place| !place.path.contains(&UNINTERPRETED_OPTION));
    }
    Ok(())
}

impl Lowering {
    fn know_enums(&mut self, message: &DescriptorProto) {
        self.enums.extend(message.enum_type.iter().map(|of| of.name().to_owned()));
        message.nested_type.iter().for_each(|nested| self.know_enums(nested));
    }

    fn file(&mut self, file: &mut FileDescriptorProto, features: Features) -> Result<(), Mistake> {
        for (at, message) in numbered(&mut file.message_type) {
            self.message(message, features, &[MESSAGE_TYPE, at])?;
        }
        for (at, of) in numbered(&mut file.enum_type) {
            self.enumeration(of, features, &[FILE_ENUM_TYPE, at])?;
        }
        for (at, field) in numbered(&mut file.extension) {
            self.field(field, features, &[FILE_EXTENSION, at], None)?;
        }
        for service in &mut file.service {
            // Features of services and methods say nothing of how messages are written.
            if let Some(options) = &mut service.options {
                features.stated(&mut options.uninterpreted_option).map_err(|reason| (1, reason))?;
            }
            for options in service.method.iter_mut().filter_map(|method| method.options.as_mut()) {
                features.stated(&mut options.uninterpreted_option).map_err(|reason| (1, reason))?;
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &mut DescriptorProto, around: Features, path: &[i32]) -> Result<(), Mistake> {
        let features = match &mut message.options {
            // Made up by the parser, and encoded as it always was.
            Some(options) if options.map_entry() => return Ok(()),
            Some(options) => {
                around.stated(&mut options.uninterpreted_option).map_err(|reason| (self.line(path), reason))?
            }
            None => around,
        };
        for (at, nested) in numbered(&mut message.nested_type) {
            self.message(nested, features, &joined(path, [NESTED_TYPE, at]))?;
        }
        for (at, of) in numbered(&mut message.enum_type) {
            self.enumeration(of, features, &joined(path, [ENUM_TYPE, at]))?;
        }
        for (at, field) in numbered(&mut message.extension) {
            self.field(field, features, &joined(path, [EXTENSION, at]), None)?;
        }
        let mut of_oneofs = Vec::new();
        for oneof in &mut message.oneof_decl {
            of_oneofs.push(match &mut oneof.options {
                Some(options) => {
                    features.stated(&mut options.uninterpreted_option).map_err(|reason| (self.line(path), reason))?
                }
                None => features,
            });
        }
        let maps: Vec<String> = message.nested_type.iter().filter_map(map_entry).collect();
        let mut added = Vec::new();
        for (at, field) in numbered(&mut message.field) {
            let oneof = field.oneof_index.and_then(|of| of_oneofs.get(usize::try_from(of).ok()?)).copied();
            let is_map = maps.iter().any(|entry| field.type_name() == entry);
            if is_map {
                continue;
            }
            let wants_oneof = self.field(field, oneof.unwrap_or(features), &joined(path, [FIELD, at]), oneof)?;
            if wants_oneof && self.implicit {
                field.proto3_optional = Some(true);
                field.oneof_index = i32::try_from(message.oneof_decl.len() + added.len()).ok();
                added.push(OneofDescriptorProto { name: Some(format!("_{}", field.name())), options: None });
            }
        }
        message.oneof_decl.extend(added);
        Ok(())
    }

    fn enumeration(&self, of: &mut EnumDescriptorProto, around: Features, path: &[i32]) -> Result<(), Mistake> {
        let features = match &mut of.options {
            Some(options) => {
                around.stated(&mut options.uninterpreted_option).map_err(|reason| (self.line(path), reason))?
            }
            None => around,
        };
        for options in of.value.iter_mut().filter_map(|value| value.options.as_mut()) {
            features.stated(&mut options.uninterpreted_option).map_err(|reason| (self.line(path), reason))?;
        }
        let first = of.value.first().map_or(0, prost_types::EnumValueDescriptorProto::number);
        if first == 0 {
            return Ok(());
        }
        let name = of.name();
        if !features.closed_enum {
            return Err((self.line(path), format!("enum {name} is open, and its first value is not 0")));
        }
        if self.implicit {
            let reason = format!(
                "the first value of enum {name} is not 0, and the file has fields of implicit presence: both in one file \
                 cannot be lowered to proto2 or proto3; expected a value of 0, or the enum in a file of its own"
            );
            return Err((self.line(path), reason));
        }
        Ok(())
    }

    /// Lowers a field. Returns whether it has presence that `proto3` says with a oneof that the contract does not have.
    fn field(
        &mut self,
        field: &mut FieldDescriptorProto,
        around: Features,
        path: &[i32],
        oneof: Option<Features>,
    ) -> Result<bool, Mistake> {
        let features = match &mut field.options {
            Some(options) => {
                around.stated(&mut options.uninterpreted_option).map_err(|reason| (self.line(path), reason))?
            }
            None => around,
        };
        if field.options.as_ref().is_some_and(|options| options.uninterpreted_option.is_empty()) {
            field.options = None;
        }
        let is_scalar = field.r#type.is_some();
        if features.delimited && !is_scalar && !self.is_enum(field.type_name()) {
            field.set_type(Type::Group);
        }
        let is_message = !is_scalar && !self.is_enum(field.type_name());
        if field.label() == Label::Repeated {
            let packable = is_scalar && !matches!(field.r#type(), Type::String | Type::Bytes);
            if packable || !is_scalar && self.is_enum(field.type_name()) || !is_scalar && !features.packed {
                field.options.get_or_insert_default().packed = Some(features.packed);
            }
            return Ok(false);
        }
        if oneof.is_some() || field.extendee.is_some() {
            return Ok(false);
        }
        match features.presence {
            Presence::Required => {
                field.set_label(Label::Required);
                Ok(false)
            }
            Presence::Implicit if !is_message => {
                self.implicit = true;
                if field.default_value.is_some() {
                    let reason = format!("field {} has implicit presence and a default", field.name());
                    return Err((self.line(path), reason));
                }
                Ok(false)
            }
            // Messages always have presence; prost asks for it where they are groups.
            _ => Ok(!is_message || field.r#type == Some(Type::Group.into())),
        }
    }

    /// Whether the type is an enum of this file; what other files have is taken for a message.
    fn is_enum(&self, type_name: &str) -> bool {
        type_name.rsplit('.').next().is_some_and(|name| self.enums.contains(name))
    }

    fn line(&self, path: &[i32]) -> usize {
        let place = self.places.location.iter().find(|place| place.path == path);
        let line = place.and_then(|place| place.span.first()).copied().unwrap_or_default();
        usize::try_from(line).unwrap_or_default() + 1
    }
}

fn map_entry(nested: &DescriptorProto) -> Option<String> {
    nested.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry).then(|| nested.name().to_owned())
}

fn numbered<T>(items: &mut [T]) -> impl Iterator<Item = (i32, &mut T)> {
    items.iter_mut().enumerate().map(|(at, item)| (i32::try_from(at).unwrap_or(i32::MAX), item))
}

fn joined(path: &[i32], more: [i32; 2]) -> Vec<i32> {
    [path, more.as_slice()].concat()
}
