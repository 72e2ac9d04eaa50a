//! Generates the stored messages of `orchestrator.journal.v1`; the engine compiles no other contract.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let files = ["journal.proto", "schedules.proto"].map(|file| root.join("orchestrator/journal/v1").join(file));
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let descriptors = protox::compile(&files, [&root])?;
    prost_build::Config::new().enable_type_names().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
