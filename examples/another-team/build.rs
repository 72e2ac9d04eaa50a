//! Generates everything under `proto/`. A new contract is a new file, nothing else.

fn main() {
    orchestrator_build::contracts("proto");
}
