//! Small contracts that the tests of the mechanism stand on, and ones that the generator must take.

#![expect(clippy::allow_attributes, reason = "tonic writes them, also for services without a package")]

::transport::include_contracts!();

/// The contracts of one small orchestrator.
pub mod app {
    include!(concat!(env!("OUT_DIR"), "/app/mod.rs"));
}
