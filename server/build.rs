//! Generates the contracts of this crate.

fn main() {
    orchestrator_build::Contracts::of("proto").runtime("::transport").with_roles("crate::access").generate();
}
