//! Makes up a message for each method that answers with a stream: all its responses as one, which a step can keep and the
//! descriptors can read.

use std::collections::{BTreeMap, HashMap};

use heck::ToUpperCamelCase;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, SourceCodeInfo};

use crate::places::Places;

/// Fields of `FileDescriptorProto` and `DescriptorProto` that hold messages and fields, for the paths to their comments.
const MESSAGE_TYPE: i32 = 4;
const FIELD: i32 = 2;

/// The messages that were made up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    /// Names of messages, without their package, by the full names of methods.
    names: HashMap<String, String>,
    /// One for each package that has such methods.
    pub(crate) files: Vec<FileDescriptorProto>,
}

impl Collected {
    /// Makes them up for every method of the pool that takes one request, and adds them to the pool.
    ///
    /// # Errors
    /// The pool does not take them.
    pub(crate) fn add_to(pool: &mut DescriptorPool, places: &mut Places) -> Result<Self, crate::Error> {
        let mut collected = Self::default();
        let mut packages: BTreeMap<String, Vec<MethodDescriptor>> = BTreeMap::new();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            if method.is_server_streaming() && !method.is_client_streaming() {
                packages.entry(method.parent_service().package_name().to_owned()).or_default().push(method);
            }
        }
        for (package, methods) in packages {
            let mut file = FileDescriptorProto {
                name: Some(file_name(pool, &package)),
                package: Some(package.clone()),
                source_code_info: Some(SourceCodeInfo::default()),
                syntax: Some("proto3".to_owned()),
                ..FileDescriptorProto::default()
            };
            for method in methods {
                let name = name(places, &package, &method);
                collected.names.insert(method.full_name().to_owned(), name.clone());
                append(&mut file, name, &method);
            }
            collected.files.push(file);
        }
        pool.add_file_descriptor_protos(collected.files.iter().cloned())?;
        Ok(collected)
    }

    /// The name of the message for this method, without its package.
    pub(crate) fn name(&self, method: &str) -> Option<&str> {
        self.names.get(method).map(String::as_str)
    }
}

/// Of the method alone if that is free, else of its service too.
fn name(places: &mut Places, package: &str, method: &MethodDescriptor) -> String {
    let short = format!("{}Collected", method.name().to_upper_camel_case());
    let long = format!("{}{short}", method.parent_service().name().to_upper_camel_case());
    places.take(package, [short, long], &format!("all responses of {}", method.full_name()))
}

/// A file that no contract is in.
fn file_name(pool: &DescriptorPool, package: &str) -> String {
    let folder = package.replace('.', "/");
    let numbered = (2..).map(|number| format!("{folder}/collected_{number}.proto"));
    let mut names = std::iter::once(format!("{folder}/collected.proto")).chain(numbered);
    names.find(|name| pool.get_file_by_name(name).is_none()).unwrap_or_default()
}

fn append(file: &mut FileDescriptorProto, name: String, method: &MethodDescriptor) {
    let responses = FieldDescriptorProto {
        name: Some("responses".to_owned()),
        json_name: Some("responses".to_owned()),
        number: Some(1),
        label: Some(Label::Repeated.into()),
        r#type: Some(Type::Message.into()),
        type_name: Some(format!(".{}", method.output().full_name())),
        ..FieldDescriptorProto::default()
    };
    let from = method.output().parent_file().name().to_owned();
    if !file.dependency.contains(&from) {
        file.dependency.push(from);
    }
    let at = i32::try_from(file.message_type.len()).unwrap_or(i32::MAX);
    let comment = format!(" All responses of `{}`, in the order in which they came.\n", method.full_name());
    let location =
        |path, leading_comments| Location { path, span: vec![0; 3], leading_comments, ..Location::default() };
    file.source_code_info
        .get_or_insert_default()
        .location
        .extend([location(vec![MESSAGE_TYPE, at], Some(comment)), location(vec![MESSAGE_TYPE, at, FIELD, 0], None)]);
    file.message_type.push(DescriptorProto { name: Some(name), field: vec![responses], ..DescriptorProto::default() });
}
