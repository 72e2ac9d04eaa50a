//! Compiles a tree of contracts into messages, tonic clients and servers, `Rpc` implementations and descriptors.

use std::cell::RefCell;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use prost::Message;
use prost_types::FileDescriptorSet;
use protox::Compiler;
use protox::file::{ChainFileResolver, GoogleFileResolver, IncludeFileResolver};

use crate::Error;
use crate::collected::Collected;
use crate::debug;
use crate::embedded::{self, Embedded};
use crate::policy::Policy;
use crate::rpcs::Rpcs;
use crate::sources;

/// For everything that is generated.
const LINTS: &str = "#[allow(clippy::allow_attributes, clippy::all, deprecated, missing_docs, unreachable_pub)]";

/// Writes to `out`, for all contracts below `root`:
/// - `mod.rs`, one module a package, nested like the packages, and `SERVICES`, the methods of each service;
/// - `descriptors.bin`, the descriptor set, with imports, comments, and the messages that streams are collected in.
///
/// `runtime` is the path of the crate that the code stands on.
pub(crate) fn generate(root: &Path, runtime: &str, out: &Path) -> Result<(), Error> {
    let names = sources::find(root)?;
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(root.to_owned()));
    resolver.add(Embedded);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true).open_files(names)?;

    let mut pool = compiler.descriptor_pool();
    let collected = Collected::add_to(&mut pool)?;

    fs::create_dir_all(out)?;
    // Only the compiler's own encoding keeps the options that contracts extend; behind it, files are added to the list.
    let mut descriptors = compiler.encode_file_descriptor_set();
    FileDescriptorSet { file: collected.files.clone() }.encode(&mut descriptors)?;
    fs::write(out.join("descriptors.bin"), descriptors)?;

    let runtime = format!("{runtime}::generated");
    let tables = Rc::new(RefCell::new(Vec::new()));
    let tonic = tonic_prost_build::configure()
        .codec_path(format!("{runtime}::Codec"))
        // Clients are made over the channel of ours, never over tonic's.
        .build_transport(false)
        .service_generator();
    let policy = Policy::read(pool.clone());
    let mut files = compiler.file_descriptor_set();
    files.file.retain(|file| !embedded::has(file.name()));
    files.file.extend(collected.files.iter().cloned());

    let mut config = prost_build::Config::new();
    config
        .out_dir(out)
        .include_file("packages.rs")
        .enable_type_names()
        .prost_path(format!("{runtime}::prost"))
        .prost_types_path(format!("{runtime}::prost_types"))
        // A map has one encoding only where it is ordered; request hashes depend on it.
        .btree_map(["."])
        .bytes(["."])
        .service_generator(Box::new(Rpcs::new(runtime.clone(), tonic, policy, collected, Rc::clone(&tables))));
    debug::configure(&pool, &mut config);
    config.compile_fds(files)?;

    let packages = fs::read_to_string(out.join("packages.rs")).unwrap_or_default();
    let mut module = String::new();
    for line in packages.lines() {
        // Lints are for code that people write.
        if line.starts_with("pub mod ") {
            writeln!(module, "{LINTS}")?;
        }
        writeln!(module, "{line}")?;
    }
    writeln!(module, "{LINTS}\nconst _: () = {{")?;
    debug::append(&pool, &runtime, &mut module)?;
    writeln!(module, "}};")?;
    append_contracts(&runtime, &tables.borrow(), &mut module)?;
    fs::write(out.join("mod.rs"), module)?;
    Ok(())
}

fn append_contracts(runtime: &str, tables: &[String], code: &mut String) -> std::fmt::Result {
    writeln!(code, "/// The contracts: what an orchestrator is told of them.\n{LINTS}")?;
    writeln!(code, "pub static CONTRACTS: {runtime}::Contracts = {runtime}::Contracts {{")?;
    writeln!(code, "    services: &[")?;
    for table in tables {
        writeln!(code, "        self::{table},")?;
    }
    writeln!(code, "    ],")?;
    writeln!(code, "    descriptors: ::core::include_bytes!(\"descriptors.bin\"),")?;
    writeln!(code, "}};")
}
