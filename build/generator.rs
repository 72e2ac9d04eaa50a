//! Compiles a tree of contracts into messages, tonic clients and servers, `Rpc` implementations and descriptors.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use prost::Message;
use prost_types::FileDescriptorSet;
use protox::Compiler;

use crate::collected::Collected;
use crate::policy::Policy;
use crate::redaction;
use crate::rpcs::Rpcs;
use crate::sources;

/// The stored messages, which the engine generates for itself.
const JOURNAL: &str = "orchestrator.journal.v1";

/// Writes to `out`, for all contracts below `root`:
/// - `mod.rs`, one module a package, nested like the packages, and `SERVICES`, the methods of each service;
/// - `descriptors.bin`, the descriptor set, with imports, comments, and the messages that streams are collected in.
///
/// `imports` are further folders that the contracts may import from.
pub(crate) fn generate(root: &Path, imports: &[&Path], out: &Path) -> Result<(), Box<dyn Error>> {
    let mut compiler = Compiler::new(std::iter::once(root).chain(imports.iter().copied()))?;
    compiler.include_imports(true).include_source_info(true).open_files(sources::find(root)?)?;

    let mut pool = compiler.descriptor_pool();
    let collected = Collected::add_to(&mut pool)?;

    fs::create_dir_all(out)?;
    // Only the compiler's own encoding keeps the options that contracts extend; behind it, files are added to the list.
    let mut descriptors = compiler.encode_file_descriptor_set();
    FileDescriptorSet { file: collected.files.clone() }.encode(&mut descriptors)?;
    fs::write(out.join("descriptors.bin"), descriptors)?;

    let tables = Rc::new(RefCell::new(Vec::new()));
    let tonic = tonic_prost_build::configure()
        .codec_path("::clients::codec::Codec")
        // Clients are made over the channel of ours, never over tonic's.
        .build_transport(false)
        .service_generator();
    let policy = Policy::read(pool.clone());
    let mut files = compiler.file_descriptor_set();
    files.file.retain(|file| file.package() != JOURNAL);
    files.file.extend(collected.files.iter().cloned());

    let mut config = prost_build::Config::new();
    config
        .out_dir(out)
        .include_file("packages.rs")
        .enable_type_names()
        // A map has one encoding only where it is ordered; request hashes depend on it.
        .btree_map(["."])
        .bytes(["."])
        .skip_debug(redaction::hidden(&pool))
        .extern_path(format!(".{JOURNAL}"), "::engine::journal_v1")
        .service_generator(Box::new(Rpcs::new(tonic, policy, collected, Rc::clone(&tables))));
    config.compile_fds(files)?;

    let mut module = fs::read_to_string(out.join("packages.rs"))?;
    redaction::append(&pool, &mut module)?;
    append_services(&tables.borrow(), &mut module)?;
    fs::write(out.join("mod.rs"), module)?;
    Ok(())
}

fn append_services(tables: &[String], code: &mut String) -> std::fmt::Result {
    writeln!(code, "/// The methods of every service that take one request, a slice for each.")?;
    writeln!(code, "pub static SERVICES: &[&[::clients::methods::MethodEntry]] = &[")?;
    for table in tables {
        writeln!(code, "    {table},")?;
    }
    writeln!(code, "];")
}
