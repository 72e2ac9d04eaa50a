//! Build script of `clients/`: turns everything under `proto/` into Rust. A new contract is a new file, nothing else.

#[path = "build/collected.rs"]
mod collected;
#[path = "build/generator.rs"]
mod generator;
#[path = "build/policy.rs"]
mod policy;
#[path = "build/redaction.rs"]
mod redaction;
#[path = "build/rpcs.rs"]
mod rpcs;
#[path = "build/sources.rs"]
mod sources;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo runs this in clients/, the package that names it.
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let contracts = here.join("../proto");
    // Contracts that no service of ours has but that the generator must take; the tests compile what comes out.
    let fixtures = here.join("tests/contracts");

    generator::generate(&contracts, &[], &out.join("contracts"))?;
    generator::generate(&fixtures, &[&contracts], &out.join("fixtures"))?;
    Ok(())
}
