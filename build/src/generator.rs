//! Compiles a tree of contracts into messages, tonic clients and servers, `Rpc` implementations and descriptors.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use prost::Message;
use prost_build::Module;
use prost_reflect::{DescriptorPool, FileDescriptor, Kind, MessageDescriptor};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use protox::Compiler;
use rules::{Rules, Unchecked};

use crate::Error;
use crate::collected::Collected;
use crate::debug;
use crate::modules::{LINTS, Modules};

use crate::places::Places;
use crate::policy::Policy;
use crate::roles;
use crate::rpcs::Rpcs;
use crate::sources::{self, Sources};

/// Writes to `out`, for all contracts below `root`:
/// - `mod.rs`, one module a package, nested like the packages, and `CONTRACTS`, the methods of each service;
/// - `descriptors.bin`, the descriptor set, with imports, comments, and the messages that streams are collected in.
///
/// `runtime` is the path of the crate that the code stands on. With `roles`, `mod.rs` has a table of the roles too, whose types
/// are in the module with that path.
///
/// Returns the rules of the contracts that are not checked.
pub(crate) fn generate(root: &Path, runtime: &str, roles: Option<&str>, out: &Path) -> Result<Vec<Unchecked>, Error> {
    let names = sources::find(root)?;
    let mut compiler = Compiler::with_file_resolver(Sources::of(root));
    compiler.include_imports(true).include_source_info(true).open_files(names).map_err(told)?;

    let sources = Sources::of(root);
    let mut pool = compiler.descriptor_pool();
    let needed = needed(&pool, |name| sources.is_embedded(name));
    // The types of google.protobuf come with prost.
    let is_generated = |file: &FileDescriptor| file.package_name() != "google.protobuf" && needed.contains(file.name());
    let mut places = Places::read(&pool, is_generated)?;
    let collected = Collected::add_to(&mut pool, &mut places)?;

    fs::create_dir_all(out)?;
    // Only the compiler's own encoding keeps the options that contracts extend; behind it, files are added to the list.
    let mut descriptors = compiler.encode_file_descriptor_set();
    FileDescriptorSet { file: collected.files.clone() }.encode(&mut descriptors)?;
    // What cannot be read again would be found by the program, at its start.
    let (_, unchecked) = Rules::read(&DescriptorPool::decode(descriptors.as_slice())?);
    fs::write(out.join("descriptors.bin"), descriptors)?;

    let mut files = compiler.file_descriptor_set().file;
    files.retain(|file| needed.contains(file.name()));
    files.extend(collected.files.iter().cloned());
    let runtime = format!("{runtime}::generated");
    let tables = Rc::new(RefCell::new(Vec::new()));
    let rpcs = Rpcs::new(runtime.clone(), Policy::read(pool.clone()), collected, places, Rc::clone(&tables));
    let mut config = prost_build::Config::new();
    config
        .enable_type_names()
        .prost_path(format!("{runtime}::prost"))
        .prost_types_path(format!("{runtime}::prost_types"))
        // A map has one encoding only where it is ordered; request hashes depend on it.
        .btree_map(["."])
        .bytes(["."])
        .service_generator(Box::new(rpcs));
    debug::configure(&pool, &mut config);

    let mut all = Modules::default();
    for (module, code) in of_packages(&mut config, files)? {
        all.add(module.iter().map(String::as_str), &code);
    }
    let mut code = String::new();
    all.write(&mut code)?;
    writeln!(code, "{LINTS}\nconst _: () = {{")?;
    debug::append(&pool, |file| needed.contains(file), &runtime, &mut code)?;
    writeln!(code, "}};")?;
    append_contracts(&runtime, &tables.borrow(), &mut code)?;
    if let Some(path) = roles {
        code.push_str(&roles::table(&pool, |file| !sources.is_embedded(file.name()), path)?);
    }
    fs::write(out.join("mod.rs"), code)?;
    Ok(unchecked)
}

/// The compiler says what is wrong in its own words, with the place; its short form has the words only.
fn told(error: protox::Error) -> Error {
    format!("{error:?}").into()
}

/// The code of each package, by its modules.
fn of_packages(
    config: &mut prost_build::Config,
    files: Vec<FileDescriptorProto>,
) -> Result<BTreeMap<Vec<String>, String>, Error> {
    let requests = files.into_iter().map(|file| (Module::from_protobuf_package_name(file.package()), file)).collect();
    let generated = config.generate(requests)?;
    Ok(generated.into_iter().map(|(module, code)| (module.parts().map(str::to_owned).collect(), code)).collect())
}

/// The files that need Rust: those of the folder, and of those that come with the generator the ones whose messages the
/// others name.
fn needed(pool: &DescriptorPool, is_embedded: impl Fn(&str) -> bool) -> HashSet<String> {
    let mut needed: HashSet<String> =
        pool.files().map(|file| file.name().to_owned()).filter(|name| !is_embedded(name)).collect();
    let of_folder: Vec<FileDescriptor> = pool.files().filter(|file| needed.contains(file.name())).collect();
    let mut messages: Vec<MessageDescriptor> = of_folder.iter().flat_map(all_messages).collect();
    let methods = of_folder.iter().flat_map(|file| file.services().collect::<Vec<_>>());
    for method in methods.flat_map(|service| service.methods().collect::<Vec<_>>()) {
        messages.extend([method.input(), method.output()]);
        needed.insert(method.input().parent_file().name().to_owned());
        needed.insert(method.output().parent_file().name().to_owned());
    }
    while let Some(message) = messages.pop() {
        for field in message.fields() {
            let file = match field.kind() {
                Kind::Message(of) => of.parent_file(),
                Kind::Enum(of) => of.parent_file(),
                _ => continue,
            };
            if needed.insert(file.name().to_owned()) {
                messages.extend(all_messages(&file));
            }
        }
    }
    needed
}

fn all_messages(file: &FileDescriptor) -> Vec<MessageDescriptor> {
    let mut all: Vec<MessageDescriptor> = file.messages().collect();
    let mut at = 0;
    while let Some(message) = all.get(at).cloned() {
        all.extend(message.child_messages());
        at += 1;
    }
    all
}

fn append_contracts(runtime: &str, tables: &[String], code: &mut String) -> std::fmt::Result {
    writeln!(code, "/// The contracts, for an orchestrator.\n{LINTS}")?;
    writeln!(code, "pub static CONTRACTS: {runtime}::Contracts = {runtime}::Contracts {{")?;
    writeln!(code, "    services: &[")?;
    for table in tables {
        writeln!(code, "        self::{table},")?;
    }
    writeln!(code, "    ],")?;
    writeln!(code, "    descriptors: ::core::include_bytes!(\"descriptors.bin\"),")?;
    writeln!(code, "}};")
}
