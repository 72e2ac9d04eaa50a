//! Generates everything under `proto/`.

fn main() {
    orchestrator_build::Contracts::of("proto").runtime("::transport").generate();
}
