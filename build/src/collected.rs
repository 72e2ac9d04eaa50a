//! Makes up a message for each method that answers with a stream: all its responses as one, which a step can keep and the
//! descriptors can read.

use std::collections::{BTreeMap, HashMap};

use heck::ToUpperCamelCase;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, SourceCodeInfo};

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
    /// Where a contract has messages of these names already.
    pub(crate) fn add_to(pool: &mut DescriptorPool) -> Result<Self, crate::Error> {
        let mut collected = Self::default();
        let mut packages: BTreeMap<String, Vec<MethodDescriptor>> = BTreeMap::new();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            if method.is_server_streaming() && !method.is_client_streaming() {
                packages.entry(method.parent_service().package_name().to_owned()).or_default().push(method);
            }
        }
        for (package, methods) in packages {
            let mut file = FileDescriptorProto {
                name: Some(format!("{}/collected.proto", package.replace('.', "/"))),
                package: Some(package.clone()),
                source_code_info: Some(SourceCodeInfo::default()),
                syntax: Some("proto3".to_owned()),
                ..FileDescriptorProto::default()
            };
            for method in methods {
                let name = name(pool, &package, &method, &file);
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

/// Of the method alone where that is free, else of its service too.
fn name(pool: &DescriptorPool, package: &str, method: &MethodDescriptor, file: &FileDescriptorProto) -> String {
    let short = format!("{}Collected", method.name().to_upper_camel_case());
    let taken = pool.get_message_by_name(&format!("{package}.{short}")).is_some();
    if taken || file.message_type.iter().any(|message| message.name() == short) {
        return format!("{}{short}", method.parent_service().name().to_upper_camel_case());
    }
    short
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
