//! Generates everything under `proto/`, and apart from it everything under `app/`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    orchestrator_build::Contracts::of("proto").runtime("::transport").generate();
    let folder = |variable: &str| std::env::var(variable).map(PathBuf::from);
    let (manifest, out) = (folder("CARGO_MANIFEST_DIR")?, folder("OUT_DIR")?);
    orchestrator_build::Contracts::of("app").runtime("::transport").generate_to(&manifest, &out.join("app"))
}
