//! Build script of `clients/`: turns everything under `proto/` into Rust. A new contract is a new file, nothing else.

fn main() {
    orchestrator_build::Contracts::of("../proto").runtime("::transport").generate();
}
